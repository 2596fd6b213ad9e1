"""The command that writes files of rows: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.export import FileFormat
from hqt_async_db.backup.formats.decode import Decoder, UnfitValueError
from hqt_async_db.backup.tables import columns_named, table_named
from hqt_async_db.cli.files import FORMAT_HELP, form_told_by, format_of, refuse_guard, tell_rows
from hqt_async_db.cli.options import AsJson, Url
from hqt_async_db.cli.progress import bars
from hqt_async_db.cli.running import run_with
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Dialect

    from hqt_async_db.backup.progress import ProgressCallback
    from hqt_async_db.connection.manager import DatabaseManager

    Work: TypeAlias = "Callable[[DatabaseManager, ProgressCallback], Awaitable[dict[str, int]]]"


def export(  # noqa: PLR0913 - every option by its name
    path: Annotated[
        Path,
        typer.Argument(
            help="A directory for all tables; with --table a file such as users.csv.gz."
        ),
    ],
    *,
    table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Only these columns of it, as id,username.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only its rows with column=value; nothing is NULL. Repeatable."),
    ] = None,
    form: Annotated[FileFormat | None, typer.Option("--format", help=FORMAT_HELP)] = None,
    compression: Annotated[
        str | None, typer.Option(help="gzip or zstd; of a file its name tells.")
    ] = None,
    formula_guard: Annotated[
        bool,
        typer.Option(
            "--formula-guard",
            help="Put ' before text in CSV that a spreadsheet would take for a formula; "
            "the manifest says so, and import takes it off.",
        ),
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write one table, or all of one moment, to files with a manifest."""
    if table is None:
        if columns or where:
            hint = "--columns and --where need --table"
            raise InvalidInputError(hint, field="table")
        work = _of_all_tables(path, form or "json", compression, formula_guard=formula_guard)
    else:
        if compression:
            hint = "leave --compression out: the name of the file tells, such as users.csv.gz"
            raise InvalidInputError(hint, field="compression")
        file_form = format_of(path, form)
        options: dict[str, Any] = {"columns": None if columns is None else columns.split(",")}
        if formula_guard:
            refuse_guard(file_form)
            options["formula_guard"] = True
        work = _of_one_table(table, path, file_form, where or (), options)
    with bars() as tell:
        rows = run_with(lambda db: work(db, tell), url)
    tell_rows(rows, "exported to", path, as_json=as_json)


def _of_all_tables(
    path: Path, form: FileFormat, compression: str | None, *, formula_guard: bool
) -> Work:
    """Return what exports all tables.

    Raises:
        InvalidInputError: The path looks like that of one table's file.
    """
    if form_told_by(path) is not None and not path.is_dir():
        hint = f"{path.name} is called like one file; give --table, or a directory for all"
        raise InvalidInputError(hint, field="table")

    async def work(db: DatabaseManager, tell: ProgressCallback) -> dict[str, int]:
        return await DatabaseBackup(db).export_all_tables(
            path, form, compression=compression, formula_guard=formula_guard, progress=tell
        )

    return work


def _of_one_table(
    table: str, path: Path, form: FileFormat, where: Sequence[str], options: Mapping[str, Any]
) -> Work:
    """Return what exports the rows of one table that meet the conditions."""

    async def work(db: DatabaseManager, tell: ProgressCallback) -> dict[str, int]:
        filters = _filters(table, where, db.engine.dialect)
        write = getattr(DatabaseBackup(db), f"export_table_to_{form}")
        return {table: await write(table, path, progress=tell, **options, **filters)}

    return work


def _filters(table: str, conditions: Iterable[str], dialect: Dialect) -> dict[str, Any]:
    """Return the values that ``column=value`` asks for.

    Raises:
        InvalidInputError: One is no condition, a column is unknown or there
            twice, or a value does not fit it.
    """
    filters: dict[str, Any] = {}
    for condition in conditions:
        name, equals, written = condition.partition("=")
        if not equals:
            msg = f"--where {name}: write {name}=value, or {name}= for NULL"
            raise InvalidInputError(msg, field=name)
        if name in filters:
            msg = f"--where {name}: a row has one value there, and two are asked for"
            raise InvalidInputError(msg, field=name)
        (column,) = columns_named(table_named(table), [name])
        try:
            decoder = Decoder(column, dialect, "csv", as_stored=False)
            (filters[name],) = decoder.decode([written])
        except UnfitValueError as unfit:
            msg = f"--where {name}: {unfit.reason}"
            raise InvalidInputError(msg, field=name) from None
    return filters
