"""What commands print where nobody sits at a terminal."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import pytest

from hqt_async_db.cli.printing import print_table
from tests.integration.test_cli.conftest import start

if TYPE_CHECKING:
    from pathlib import Path

_VALUES = ("x" * 500, "[b] many words " * 30 + "[/b]", 1_000_000)


def test_a_table_in_a_pipe_has_a_line_for_each_row_and_all_of_it() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_table(("name", "text", "rows"), [_VALUES, (None, "", 5)])
    lines = out.getvalue().splitlines()
    assert len(lines) == 6
    first = [cell.strip() for cell in lines[3].strip("│").split("│")]
    assert first == [_VALUES[0], _VALUES[1], "1,000,000"]
    assert max(map(len, lines)) < 1000


def test_a_table_on_a_narrow_terminal_is_folded_and_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "40")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_table(("name", "rows"), [(_VALUES[0], 5)])
    assert out.getvalue().count("x") == 500
    assert "…" not in out.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_stdout_has_no_bytes_for_is_escaped(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", f"{encoding}:strict")
    url = f"sqlite:///{tmp_path}/Δ.db"
    for command in ("upgrade", "stats", "history"):
        process = start(command, url=url)
        printed, complained = process.communicate(timeout=15)
        assert (process.returncode, complained) == (0, "")
        if command == "upgrade":
            # Where Python says ASCII, Click writes sentences as UTF-8.
            assert ("\\u0394.db" if encoding == "cp1252" else "Δ.db") in printed
