"""The options that commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from hqt_async_db.connection.urls import ENVIRONMENT_VARIABLE

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar=ENVIRONMENT_VARIABLE,
        metavar="URL",
        help="The database, for example sqlite:///hqt.db. Others can see arguments: put a URL "
        "with a password into the environment.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, for scripts; errors too.")
]
