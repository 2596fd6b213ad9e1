"""Tables written to files: one snapshot, whole files, a manifest beside them."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from hqt_async_db.backup.files import NewFile, new_file, path_of, refused
from hqt_async_db.backup.formats.encode import Encoder, Format, header
from hqt_async_db.backup.formats.packing import SUFFIXES, Chain, JsonArray, compressor, suffix_of
from hqt_async_db.backup.formats.parquet import ParquetFile, load_arrow
from hqt_async_db.backup.formats.unpacking import open_file
from hqt_async_db.backup.manifest import (
    MOST_BYTES,
    Manifest,
    TableEntry,
    is_ours,
    manifest_of_directory,
    manifest_of_file,
)
from hqt_async_db.backup.progress import Report
from hqt_async_db.backup.snapshot import Snapshot, TableQuery, snapshot
from hqt_async_db.backup.tables import (
    all_tables,
    columns_named,
    equals,
    stored_columns,
    table_named,
)
from hqt_async_db.backup.threads import WorkThread
from hqt_async_db.connection import tasks
from hqt_async_db.errors import BackupError, BackupVerificationError, InvalidInputError
from hqt_async_db.models.types.column import encodable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from hqt_async_db.backup.files import Compressor
    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.backup.snapshot import Block
    from hqt_async_db.connection.manager import DatabaseManager

FileFormat = Literal["json", "jsonl", "csv", "parquet"]
AnyPath = str | os.PathLike[str]

_FORMATS: Final[tuple[FileFormat, ...]] = get_args(FileFormat)


class Target(NamedTuple):
    """One file to be written."""

    query: TableQuery
    path: Path
    form: FileFormat
    formula_guard: bool = False

    @property
    def lines(self) -> Format:
        """Return what the rows are written as, before anything else is made of them."""
        return "jsonl" if self.form in {"json", "jsonl"} else "csv"


async def export_table(  # noqa: PLR0913 - keyword-only options of an export
    db: DatabaseManager,
    name: str,
    path: AnyPath,
    form: FileFormat,
    *,
    filters: Mapping[str, Any],
    columns: Iterable[str] | None = None,
    progress: ProgressCallback | None = None,
    formula_guard: bool = False,
) -> int:
    """Write one table to a file; see :class:`DatabaseBackup`."""
    table = table_named(name)
    query = TableQuery(table, columns_named(table, columns), equals(table, filters))
    target = Target(query, path_of(path), form, formula_guard)
    if form == "parquet" and target.path.suffix in SUFFIXES.values():
        raise _no_compression(target.path.suffix)
    counts = await _export(db, [target], manifest_of_file(target.path), progress)
    return counts[name]


async def export_all_tables(  # noqa: PLR0913 - keyword-only options of an export
    db: DatabaseManager,
    directory: AnyPath,
    form: FileFormat = "json",
    *,
    compression: str | None = None,
    formula_guard: bool = False,
    progress: ProgressCallback | None = None,
) -> dict[str, int]:
    """Write every table to a file of its own; see :class:`DatabaseBackup`."""
    if form not in _FORMATS:
        msg = f"format is one of {', '.join(_FORMATS)}"
        raise InvalidInputError(msg, field="format")
    suffix = suffix_of(compression)
    if form == "parquet" and suffix:
        raise _no_compression(suffix)
    if formula_guard and form != "csv":
        msg = f"formula_guard is for CSV, and not for {form}"
        raise InvalidInputError(msg, field="formula_guard")
    folder = path_of(directory)
    targets = [
        Target(
            TableQuery(table, stored_columns(table)),
            folder / f"{table.name}.{form}{suffix}",
            form,
            formula_guard,
        )
        for table in all_tables()
    ]
    return await _export(db, targets, manifest_of_directory(folder), progress)


def _no_compression(suffix: str) -> InvalidInputError:
    msg = f"a Parquet file is compressed as it is; leave {suffix} out"
    return InvalidInputError(msg, field="compression")


async def _export(
    db: DatabaseManager,
    targets: Sequence[Target],
    manifest: Path,
    progress: ProgressCallback | None,
) -> dict[str, int]:
    """Write all files, then give them their names, the manifest last."""
    for target in targets:
        Encoder(target.query.columns, target.lines)  # refuses what has no text
    async with WorkThread("export") as thread:
        with refused(manifest.parent):
            kept = await thread.run(_prepare, manifest.parent, targets)
        async with AsyncExitStack() as unpublished:
            last = await unpublished.enter_async_context(new_file(manifest))
            files = await unpublished.enter_async_context(AsyncExitStack())
            written, revision = await _write_all(db, targets, files, progress)
            stale = [manifest_of_file(target.path) for target in targets if len(targets) > 1]

            async def publish() -> Manifest:
                async with unpublished.pop_all():
                    for file, _ in written:
                        await file.finish()
                    content = _manifest(db, targets, written, revision)
                    shared = replace(content, tables=(*content.tables, *kept))
                    await last.write(shared.to_bytes())
                    await last.finish()
                    # Nothing needs space any more; the old files are all there yet.
                    await files.aclose()
                    with refused(manifest.parent):
                        await thread.run(_remove, stale)
                return content

            # A cancellation comes before all of it or after all of it.
            content = await tasks.finish(publish(), name="hqt_async_db publish")
    return {entry.table: entry.rows for entry in content.tables}


def _manifest(
    db: DatabaseManager,
    targets: Sequence[Target],
    written: Sequence[tuple[NewFile, int]],
    revision: str | None,
) -> Manifest:
    entries = [
        TableEntry(
            table=target.query.table.name,
            rows=rows,
            file=file.path.name,
            sha256=file.sha256,
            formula_guard=target.formula_guard if target.form == "csv" else None,
        )
        for target, (file, rows) in zip(targets, written, strict=True)
    ]
    return Manifest(
        kind="export", backend=db.dialect_name, revision=revision, tables=tuple(entries)
    )


def _prepare(directory: Path, targets: Sequence[Target]) -> list[TableEntry]:
    """Load what the files need, and make their directory, for nobody else to enter.

    Returns:
        What the manifest of the directory tells of other files that are there.

    Raises:
        InvalidInputError: A file has a name that no manifest can tell, is
            there and no regular file, or is one of an export of all tables.
    """
    for target in targets:
        _refuse_unfit(target.path)
    if len(targets) == 1:
        _refuse_listed(targets[0].path)
    if any(target.form == "parquet" for target in targets):
        load_arrow()
    for target in targets:
        compressor(target.path)
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    return _others_listed(directory, targets) if len(targets) > 1 else []


def _others_listed(directory: Path, targets: Sequence[Target]) -> list[TableEntry]:
    """Return what is to be told as before: of the files of another format.

    Raises:
        InvalidInputError: What has the name of the manifest is none of ours.
    """
    shared = manifest_of_directory(directory)
    if not shared.exists():
        return []
    with open_file(shared) as file:
        content = file.read(MOST_BYTES + 1)
    if not is_ours(content):
        msg = f"{shared} is no manifest of ours, and would be replaced; choose another directory"
        raise InvalidInputError(msg, field="directory")
    try:
        listed = Manifest.parse(content).tables
    except BackupVerificationError:  # of no use any more
        return []
    replaced = {target.path.name for target in targets}
    return [
        entry
        for entry in listed
        if entry.file is not None
        and entry.file not in replaced
        and (directory / entry.file).exists()
    ]


def _refuse_unfit(path: Path) -> None:
    """Refuse what a file and its manifest cannot be called, and what must not be replaced."""
    reason = None
    if not encodable(path.name):
        reason = "has bytes that are no UTF-8, which no manifest tells"
    elif path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
        reason = "is there, and is no regular file"
    if reason is not None:
        msg = f"{str(path)!r} {reason}; choose another path"
        raise InvalidInputError(msg, field="path")


def _refuse_listed(path: Path) -> None:
    """Refuse a file that its directory's manifest names, and would no longer fit."""
    shared = manifest_of_directory(path.parent)
    try:
        with open_file(shared) as file:
            manifest = Manifest.parse(file.read(MOST_BYTES + 1))
    except BackupError:  # there is none, or none of ours
        return
    if any(entry.file == path.name for entry in manifest.tables):
        msg = f"{path} is part of an export of all tables, see {shared.name}; choose another path"
        raise InvalidInputError(msg, field="path")


def _remove(stale: Iterable[Path]) -> None:
    """Remove the manifests of single files that were there before."""
    for path in stale:
        path.unlink(missing_ok=True)


async def _write_all(
    db: DatabaseManager,
    targets: Sequence[Target],
    files: AsyncExitStack,
    progress: ProgressCallback | None,
) -> tuple[list[tuple[NewFile, int]], str | None]:
    """Write every file from one snapshot; return them, their rows and the revision."""
    written = []
    async with snapshot(db) as view:
        revision = await view.revision()
        for target in targets:
            packing = _packing(target)
            file = await files.enter_async_context(new_file(target.path, compressor=packing))
            written.append((file, await _write(view, target, file, progress)))
    return written, revision


def _packing(target: Target) -> Compressor | None:
    if target.form == "parquet":
        return ParquetFile(target.query.columns)
    compressed = compressor(target.path)
    if target.form != "json":
        return compressed
    return JsonArray() if compressed is None else Chain(JsonArray(), compressed)


async def _write(
    view: Snapshot, target: Target, file: NewFile, progress: ProgressCallback | None
) -> int:
    query = target.query
    total = None if progress is None else await view.count(query.table, query.criteria)
    report = Report(query.table.name, total, progress)
    if target.form == "csv":
        await file.write(header(query.columns))
    guard = target.formula_guard
    if target.form == "parquet":
        async with aclosing(view.blocks(query, target.lines)) as blocks:
            async for block in blocks:
                await file.write(block.content)
                report.add(block.rows)
    else:
        pieces = view.blocks_for_file(query, target.lines, formula_guard=guard)
        async with aclosing(pieces) as blocks:
            await _pour(blocks, file, report)
    report.end()
    return report.rows


async def _pour(blocks: AsyncIterator[Block], file: NewFile, report: Report) -> None:
    """Write each block while the next one is being read."""
    writing: asyncio.Task[None] | None = None
    try:
        async for block in blocks:
            if writing is not None:
                await writing
            writing = tasks.start(file.write(block.content), name="hqt_async_db write")
            report.add(block.rows)
        if writing is not None:
            await writing
    except BaseException:
        if writing is not None:
            await tasks.wait(writing, None)
            tasks.retrieve(writing)
        raise
