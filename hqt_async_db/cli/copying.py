"""The command that moves to another database: copy."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hqt_async_db.backup.copying import copy_database
from hqt_async_db.cli.options import AsJson, Url
from hqt_async_db.cli.outcomes import TARGET_METAVAR
from hqt_async_db.cli.printing import print_json, print_table, say
from hqt_async_db.cli.progress import bars
from hqt_async_db.cli.running import run_with

TARGET_VARIABLE = "HQT_TARGET_URL"


def copy(
    target: Annotated[
        str,
        typer.Argument(
            envvar=TARGET_VARIABLE,
            metavar=TARGET_METAVAR,
            help="An empty database of any kind. A URL with a password belongs into the "
            "environment.",
        ),
    ],
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Copy the rows of this library's tables into an empty database, and compare the two."""
    with bars() as tell:
        result = run_with(lambda db: copy_database(db, target, progress=tell), url)
    if as_json:
        print_json({**asdict(result), "total_rows": result.total_rows})
        return
    print_table(("table", "rows"), result.tables.items())
    say(f"{result.total_rows:,} rows copied, and compared: they are the same in both databases")
    if result.left_out:
        say(f"not copied, as they are of no model of this library: {', '.join(result.left_out)}")
