"""The command that reads files of rows: import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hqt_async_db.backup import DatabaseBackup
from hqt_async_db.backup.export import FileFormat
from hqt_async_db.cli.files import FORMAT_HELP, format_of, refuse_guard, tell_rows
from hqt_async_db.cli.options import AsJson, Url
from hqt_async_db.cli.progress import bars
from hqt_async_db.cli.running import run_with
from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from hqt_async_db.connection.manager import DatabaseManager


def import_(  # noqa: PLR0913 - every option by its name
    path: Annotated[
        Path, typer.Argument(help="What export wrote: a directory, or a file such as users.csv.gz.")
    ],
    *,
    table: Annotated[
        str | None, typer.Option(help="Where the rows of a file go; by default as it is called.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the rows that are not in the file.")
    ] = False,
    upsert: Annotated[
        bool, typer.Option("--upsert", help="Update the rows whose key exists.")
    ] = False,
    require_manifest: Annotated[
        bool, typer.Option("--require-manifest", help="Refuse files without their manifest.")
    ] = False,
    formula_guard: Annotated[
        bool,
        typer.Option(
            "--formula-guard",
            help="Take off what export put before formulas; a manifest tells by itself.",
        ),
    ] = False,
    form: Annotated[FileFormat | None, typer.Option("--format", help=FORMAT_HELP)] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Read rows from files, all or nothing."""
    options: dict[str, Any] = {
        "replace": replace,
        "upsert": upsert,
        "require_manifest": require_manifest,
    }

    if not path.exists():
        msg = f"there is no file or directory {path}"
        raise InvalidInputError(msg, field="path")
    is_directory = path.is_dir()
    if is_directory:
        _refuse_of_one_file(path, table, formula_guard=formula_guard)
    elif formula_guard:
        refuse_guard(format_of(path, form))
        options["formula_guard"] = True

    async def work(db: DatabaseManager) -> dict[str, int]:
        backup = DatabaseBackup(db)
        if is_directory:
            return await backup.import_all_tables(path, form, progress=tell, **options)
        name = table or path.name.partition(".")[0]
        read = getattr(backup, f"import_table_from_{format_of(path, form)}")
        return {name: await read(name, path, progress=tell, **options)}

    with bars() as tell:
        rows = run_with(work, url)
    tell_rows(rows, "imported from", path, as_json=as_json)


def _refuse_of_one_file(path: Path, table: str | None, *, formula_guard: bool) -> None:
    """Refuse what is said of one file where a directory is imported."""
    if table is not None:
        msg = f"{path} is a directory, whose files tell their tables; with --table name one of them"
        raise InvalidInputError(msg, field="table")
    if formula_guard:
        msg = (
            f"{path} is a directory, whose manifest tells; leave --formula-guard out, or "
            "without a manifest import one file after the other"
        )
        raise InvalidInputError(msg, field="formula_guard")
