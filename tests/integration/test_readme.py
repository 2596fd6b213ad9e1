"""The README's examples run as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)

PRINTED = [
    "John Trader 0\ntaken: users ('username',)\n",
    "True False 1.10010000\nbot-0001 closed\n1 None\n",
    "2\n['XETR']\n",
    "incremental 0\n",
    None,  # the revision's name, which changes with the schema
]


def test_every_example_has_its_expected_output() -> None:
    assert len(EXAMPLES) == len(PRINTED)


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_an_example_prints_what_it_should(number: int, tmp_path: Path) -> None:
    for _ in range(2):  # as a user would
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", EXAMPLES[number]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
            env={"PYTHONPATH": str(README.parent), "PATH": ""},
        )
        assert done.stderr == ""
        assert done.returncode == 0
        expected = PRINTED[number]
        assert done.stdout == expected if expected else re.fullmatch(r"\w+\n", done.stdout)
