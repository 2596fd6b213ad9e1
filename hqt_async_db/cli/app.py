"""Which commands ``hqt-db`` has."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from hqt_async_db.cli import backups, copying, exporting, figures, importing, schema
from hqt_async_db.cli.outcomes import Command, Commands

app = typer.Typer(
    name="hqt-db",
    cls=Commands,
    help="Look after a database of hqt_async_db.\n\n"
    "Exit codes: 0 done; 1 the database refused or the work failed; 2 wrong use; 3 a schema, a "
    "backup or a copy is not what it should be; 130 and 143 interrupted, with nothing half done.",
    no_args_is_help=True,
    add_completion=False,
    # A bug keeps Python's own traceback, which shows no value of a variable.
    pretty_exceptions_enable=False,
)


def _print_version(is_wanted: bool) -> None:  # noqa: FBT001 - Typer passes it by position
    if is_wanted:
        typer.echo(version("hqt-async-db"))
        raise typer.Exit


@app.callback()
def main(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Look after a database of hqt_async_db."""
    del show_version  # its callback has ended the program


_COMMANDS: tuple[Callable[..., None], ...] = (
    schema.init,
    schema.upgrade,
    schema.downgrade,
    schema.current,
    schema.history,
    schema.check,
    backups.backup,
    backups.verify,
    backups.restore,
    backups.prune,
    exporting.export,
    importing.import_,
    copying.copy,
    figures.stats,
    figures.health,
)
for _command in _COMMANDS:
    # "-1" is a revision, one back, and no option.
    _settings = {"ignore_unknown_options": True} if _command is schema.downgrade else None
    app.command(name=_command.__name__.rstrip("_"), cls=Command, context_settings=_settings)(
        _command
    )
