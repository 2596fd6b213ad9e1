"""What export and import have in common: names of files, and numbers of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hqt_async_db.backup.formats.packing import SUFFIXES
from hqt_async_db.cli.printing import print_json, print_table, say
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from hqt_async_db.backup.export import FileFormat

FORMAT_HELP: Final = "By default the name of a file tells; for all tables json."

_FORMATS: Final[dict[str, FileFormat]] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}


def form_told_by(path: Path) -> FileFormat | None:
    """Return the format that the name of a file tells, None if it tells of none."""
    suffixes = [suffix for suffix in path.suffixes if suffix not in SUFFIXES.values()]
    return _FORMATS.get(suffixes[-1] if suffixes else "")


def format_of(path: Path, form: FileFormat | None) -> FileFormat:
    """Return the format that was asked for, or that the name of a file tells."""
    found = form or form_told_by(path)
    if found is None:
        hint = f"{path.name} ends with none of {', '.join(_FORMATS)}; give --format"
        raise InvalidInputError(hint, field="format")
    return found


def refuse_guard(form: FileFormat) -> None:
    """Refuse to guard against formulas what no spreadsheet takes for one."""
    if form != "csv":
        hint = f"--formula-guard is for CSV, and this is {form}"
        raise InvalidInputError(hint, field="formula_guard")


def tell_rows(rows: dict[str, int], done: str, path: Path, *, as_json: bool) -> None:
    """Print how many rows of each table were moved."""
    total = sum(rows.values())
    if as_json:
        print_json({"path": path, "tables": rows, "total_rows": total})
        return
    if len(rows) > 1:
        print_table(("table", "rows"), rows.items())
    say(f"{total:,} rows {done} {path}")
