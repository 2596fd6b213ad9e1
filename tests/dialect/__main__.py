"""Run the suite on both dialects, print what came out, and fail where ours is worse."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from tests.dialect import outcomes

_HERE: Final = Path(__file__).parent
_STOCK: Final = "aiosqlite"
_OURS: Final = "hqt"
# A run takes 10 s to 1 min.
_TIMEOUT_S: Final = 900.0


def run(driver: str, place: Path, arguments: list[str]) -> dict[str, outcomes.Outcome]:
    """Run the suite on one dialect; its files stay in ``place``.

    Args:
        driver: What follows ``sqlite+`` in the dialect's name.
        place: An empty directory.
        arguments: Further arguments of pytest.

    Raises:
        CalledProcessError: pytest could not run the tests.
    """
    report = place / "report.xml"
    command: list[str | Path] = [sys.executable, "-m", "pytest"]
    command += ["-c", _HERE / "test.cfg", _HERE / "suite.py"]
    command += ["--dburi", f"sqlite+{driver}:///{place}/main.db", "--junit-xml", report, *arguments]
    sys.stdout.write(f"\nsqlite+{driver}\n")
    sys.stdout.flush()
    # The plugin attaches a file in the working directory.
    path = os.pathsep.join(filter(None, (str(_HERE.parents[1]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, cwd=place, env=os.environ | {"PYTHONPATH": path}, check=False, timeout=_TIMEOUT_S
    )
    if done.returncode not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        done.check_returncode()
    return outcomes.read(report)


def main(arguments: list[str]) -> int:
    """Return 0 if ours passes and runs whatever the stock dialect does, 1 otherwise."""
    results = {}
    for driver in (_STOCK, _OURS):
        with tempfile.TemporaryDirectory(prefix="dialect-") as place:
            results[driver] = run(driver, Path(place), arguments)
    stock, ours = results[_STOCK], results[_OURS]
    worse = list(outcomes.shortfalls(stock, ours))
    better = list(outcomes.gains(stock, ours))
    lines = [f"\n{f'sqlite+{driver}:':18}{outcomes.figures(results[driver])}" for driver in results]
    lines += [f"\n\nBetter on sqlite+{_OURS}: {len(better)}", *(f"\n  {line}" for line in better)]
    lines += [f"\nWorse on sqlite+{_OURS}: {len(worse)}", *(f"\n  {line}" for line in worse), "\n"]
    sys.stdout.writelines(lines)
    return 1 if worse or not ours else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
