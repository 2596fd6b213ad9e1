"""Who is compared with whom, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.bulk_cases import tools
from benchmarks.bulk_cases.ours import BACKUP, COPY, CSV, IMPORT_CSV, JSON_LINES, PARQUET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.processes import Lend

EXPORT_AT_MOST: Final = 1.5
IMPORT_AT_MOST: Final = 2.0
PARQUET_AT_MOST: Final = 2.0
BACKUP_AT_MOST: Final = 1.2
MEMORY_MAY_GROW_MIB: Final = 20.0
STALL_MAY_GROW_MS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where the cases of one backend work.

    Attributes:
        url: Holds all trades.
        small_url: Holds few.
        target_url: Holds none, but the backtests: imports go there.
        rows: Trades in the first.
        small_rows: Trades in the second.
        directory: Takes what is written.
        lend: Lends a process for our work.
    """

    url: str
    small_url: str
    target_url: str
    rows: int
    small_rows: int
    directory: Path
    lend: Lend

    def source_csv(self, rows: int) -> str:
        """Return the file with so many trades that imports read."""
        return str(self.directory / f"source-{rows}.csv")

    def output(self, name: str) -> str:
        """Return the path of a file to write."""
        return str(self.directory / name)

    @staticmethod
    def file_of(url: str) -> str:
        """Return SQLite's file."""
        return url.removeprefix("sqlite:///")


@dataclass(frozen=True, slots=True)
class Case:
    """One operation and who else does it.

    Attributes:
        operation: What is done.
        rival: Who else does it, None for nobody.
        program: What has to be installed for that.
        compete: Does it, and returns the seconds.
        at_most: How many times the rival's seconds ours may take; None for
            no aim.
    """

    operation: str
    rival: str | None = None
    program: str | None = None
    compete: Callable[[Site], float] | None = None
    at_most: float | None = None


CASES: Final[dict[str, tuple[Case, ...]]] = {
    "SQLite": (
        Case(
            CSV,
            "sqlite3 -csv",
            "sqlite3",
            lambda site: tools.sqlite_shell("-csv", site.file_of(site.url), site.output("t.csv")),
            EXPORT_AT_MOST,
        ),
        Case(
            JSON_LINES,
            "sqlite3 -json",
            "sqlite3",
            lambda site: tools.sqlite_shell("-json", site.file_of(site.url), site.output("t.json")),
            EXPORT_AT_MOST,
        ),
        Case(PARQUET),
        Case(
            IMPORT_CSV,
            "bare executemany",
            None,
            lambda site: tools.sqlite_insert(site.file_of(site.url), site.file_of(site.target_url)),
            IMPORT_AT_MOST,
        ),
        Case(
            BACKUP,
            "sqlite3 .backup",
            "sqlite3",
            lambda site: tools.sqlite_backup(site.file_of(site.url), site.output("t.db")),
            BACKUP_AT_MOST,
        ),
        Case(COPY),
    ),
    "PostgreSQL": (
        Case(
            CSV,
            r"psql \copy",
            "psql",
            lambda site: tools.psql_export_csv(site.url, site.output("t.csv")),
            EXPORT_AT_MOST,
        ),
        Case(
            JSON_LINES,
            r"psql \copy row_to_json",
            "psql",
            lambda site: tools.psql_export_json(site.url, site.output("t.json")),
            EXPORT_AT_MOST,
        ),
        Case(PARQUET),
        Case(
            IMPORT_CSV,
            r"psql \copy from",
            "psql",
            lambda site: tools.psql_import_csv(site.target_url, site.source_csv(site.rows)),
            IMPORT_AT_MOST,
        ),
        Case(
            BACKUP,
            "pg_dump -Fc",
            "pg_dump",
            lambda site: tools.pg_dump(site.url, site.output("t.dump")),
        ),
        Case(COPY),
    ),
}
