"""How a command ends: its exit code, and what it says when it failed."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from hqt_async_db.errors import (
    BackupVerificationError,
    ConfigurationError,
    HqtDbError,
    InvalidInputError,
    SchemaMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class ExitCode(IntEnum):
    """What the shell gets to know."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    DIFFERS = 3
    INTERRUPTED = 130
    TERMINATED = 143


_CODES = {
    ConfigurationError: ExitCode.WRONG_USE,
    InvalidInputError: ExitCode.WRONG_USE,
    SchemaMismatchError: ExitCode.DIFFERS,
    BackupVerificationError: ExitCode.DIFFERS,
}


def exit_code_of(error: HqtDbError) -> ExitCode:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.FAILED)


@contextmanager
def explained(*, as_json: bool) -> Iterator[None]:
    """End the command with a message and an exit code where the library refuses.

    Any other exception is a defect and keeps its traceback.
    """
    try:
        yield
    except HqtDbError as error:
        _complain(error, as_json=as_json)
        raise typer.Exit(exit_code_of(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except asyncio.CancelledError:
        raise typer.Exit(ExitCode.TERMINATED) from None


def _complain(error: HqtDbError, *, as_json: bool) -> None:
    lines = [str(error), *getattr(error, "__notes__", ())]
    if as_json:
        facts = {"error": type(error).__name__, "message": lines[0], "retryable": error.retryable}
        typer.echo(json.dumps(facts), err=True)
        return
    where = Console(stderr=True)
    where.print("hqt-db:", "\n".join(lines), markup=False, highlight=False, soft_wrap=True)
