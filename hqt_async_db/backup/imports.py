"""Tables read from files: checked against their manifest, all of it or nothing."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict, get_args

from hqt_async_db.backup.checking import require_manifests
from hqt_async_db.backup.export import FileFormat
from hqt_async_db.backup.files import path_of
from hqt_async_db.backup.formats.csv_lines import CsvLines
from hqt_async_db.backup.formats.json_array import JsonArrayText
from hqt_async_db.backup.formats.json_lines import JsonLines
from hqt_async_db.backup.formats.packing import SUFFIXES
from hqt_async_db.backup.formats.parquet_rows import read_parquet
from hqt_async_db.backup.formats.reading import read_blocks
from hqt_async_db.backup.formats.rows import Source
from hqt_async_db.backup.formats.unpacking import file_blocks
from hqt_async_db.backup.loading.load import TableSource, load
from hqt_async_db.backup.tables import all_tables, table_named
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.errors import ImportDataError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Table

    from hqt_async_db.backup.export import AnyPath
    from hqt_async_db.backup.formats.reading import Parser
    from hqt_async_db.backup.formats.rows import RowReader
    from hqt_async_db.backup.loading.load import Mode
    from hqt_async_db.backup.manifest import TableEntry
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.connection.manager import DatabaseManager

_PARSERS: Final[dict[str, Callable[[Source], Parser]]] = {
    "json": JsonArrayText,
    "jsonl": JsonLines,
    "csv": CsvLines,
}


class ImportChoices(TypedDict, total=False):
    """The keywords of every import; :class:`ImportOptions` says what they mean."""

    replace: bool
    upsert: bool
    require_manifest: bool
    progress: ProgressCallback | None


class CsvImportChoices(ImportChoices, total=False):
    """The keywords of an import of CSV."""

    formula_guard: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How files are imported.

    Attributes:
        replace: Rows that the file lacks are deleted.
        upsert: Rows whose primary key exists are updated, one after the
            other: they cannot exchange their unique values.
        require_manifest: A file without a manifest is refused.
        formula_guard: Text of CSV was marked against spreadsheets; for files
            without a manifest, which tells.
        progress: Told of the rows that were read.
    """

    replace: bool = False
    upsert: bool = False
    require_manifest: bool = False
    formula_guard: bool = False
    progress: ProgressCallback | None = None

    @property
    def mode(self) -> Mode:
        """Return what becomes of the rows that are there.

        Raises:
            InvalidInputError: It is said twice.
        """
        if self.replace and self.upsert:
            msg = "choose one of replace and upsert"
            raise InvalidInputError(msg, field="replace")
        if self.replace:
            return "replace"
        return "upsert" if self.upsert else "append"


@dataclass(frozen=True, slots=True)
class FileOfTable:
    """One file with the rows of one table."""

    table: Table
    path: Path
    form: FileFormat
    follows_links: bool

    def source(
        self, db: DatabaseManager, *, formula_guard: bool, may_be_empty: bool = True
    ) -> TableSource:
        """Return it as something to be loaded."""

        def open_rows() -> AbstractAsyncContextManager[RowReader]:
            source = Source(
                self.table,
                self.path.name,
                db.engine.dialect,
                "csv" if self.form == "csv" else "json",
                formula_guard=formula_guard,
            )
            if self.form == "parquet":
                return read_parquet(self.path, source, follows_links=self.follows_links)
            return self._read_text(source, may_be_empty=may_be_empty)

        return TableSource(self.table, open_rows, self.path.name)

    @asynccontextmanager
    async def _read_text(self, source: Source, *, may_be_empty: bool) -> AsyncIterator[RowReader]:
        blocks = file_blocks(self.path, follows_links=self.follows_links)
        async with read_blocks(blocks, source, _PARSERS[self.form](source)) as rows:
            if not rows.columns and self.form == "jsonl" and not may_be_empty:
                source.refuse(
                    "holds no row and has no manifest that says so; a replacement by it would "
                    "delete everything"
                )
            yield rows


async def import_table(
    db: DatabaseManager, name: str, path: AnyPath, form: FileFormat, options: ImportOptions
) -> int:
    """Read one table from a file; see :class:`DatabaseBackup`."""
    file = FileOfTable(table_named(name), path_of(path), form, follows_links=True)
    counts = await _import(db, [file], options)
    return counts[name]


async def import_all_tables(
    db: DatabaseManager, directory: AnyPath, form: FileFormat | None, options: ImportOptions
) -> dict[str, int]:
    """Read every table that has a file in a directory; see :class:`DatabaseBackup`."""
    if form is not None and form not in get_args(FileFormat):
        msg = f"format is None or one of {', '.join(get_args(FileFormat))}"
        raise InvalidInputError(msg, field="format")
    async with WorkThread("import") as thread:
        files = await thread.run(_files_of, path_of(directory), form)
    return await _import(db, files, options, path_of(directory), form)


async def _import(
    db: DatabaseManager,
    files: Sequence[FileOfTable],
    options: ImportOptions,
    directory: Path | None = None,
    form: FileFormat | None = None,
) -> dict[str, int]:
    mode = options.mode
    entries = {file.path: file.table.name for file in files}
    told = await require_manifests(
        entries, is_required=options.require_manifest, directory=directory, form=form
    )
    sources = [
        file.source(
            db,
            formula_guard=_is_guarded(file.path.name, told.get(file.path), options),
            may_be_empty=mode != "replace" or file.path in told,
        )
        for file in files
    ]
    return await load(db, sources, mode=mode, progress=options.progress)


def _is_guarded(name: str, entry: TableEntry | None, options: ImportOptions) -> bool:
    """Tell whether a file's text is marked: as its manifest says, or as the caller does.

    Raises:
        InvalidInputError: The manifest says that it is not, the caller that it is.
    """
    if entry is None or entry.formula_guard is None:
        return options.formula_guard
    if options.formula_guard and not entry.formula_guard:
        msg = f"{name} was exported without formula_guard, as its manifest tells; leave it out"
        raise InvalidInputError(msg, field="formula_guard")
    return entry.formula_guard


def _files_of(directory: Path, form: FileFormat | None) -> list[FileOfTable]:
    """Return the files of the tables that are there; links lead out of the directory.

    Raises:
        ImportDataError: There is none, or a table has several.
    """
    forms: Sequence[FileFormat] = get_args(FileFormat) if form is None else (form,)
    found: list[FileOfTable] = []
    for table in all_tables():
        candidates = [
            FileOfTable(table, path, kind, follows_links=False)
            for kind in forms
            for suffix in ("", *SUFFIXES.values())
            if (path := directory / f"{table.name}.{kind}{suffix}").exists() or path.is_symlink()
        ]
        if len(candidates) > 1:
            names = ", ".join(file.path.name for file in candidates)
            msg = f"several files for {table.name}: {names}; name the format, or move one away"
            raise ImportDataError(msg, source=candidates[0].path.name)
        found += candidates
    if not found:
        msg = f"no file of any table in {directory}"
        raise ImportDataError(msg)
    return found
