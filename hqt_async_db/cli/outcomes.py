"""How commands end: their exit code, and what they say when they failed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import sys
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, cast

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from hqt_async_db.errors import (
    BackupVerificationError,
    ConfigurationError,
    HqtDbError,
    InvalidInputError,
    SchemaMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


TARGET_METAVAR: Final = "TARGET_URL"
_HINT: Final = "name a database with --url, or in the environment"
# A path has one slash of a URL's two.
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+]*:/", re.IGNORECASE)
# But for the example that an error gives, to the letter.
_CREDENTIALS: Final = re.compile(
    r"([a-z0-9+]:/++)(?!user:password@host:5432/name)\S*@", re.IGNORECASE
)
_PASSWORD: Final = re.compile(r"([?&]password=)[^&\s)]*", re.IGNORECASE)
# Letters of a path.
_SHOWN: Final = 200


class ExitCode(IntEnum):
    """What the shell gets to know."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    DIFFERS = 3
    INTERRUPTED = 130
    TERMINATED = 143


# What Typer raises for wrong use; the module of that class differs from version to version.
_WRONG_USE: Final = cast("tuple[type[typer.BadParameter], ...]", typer.BadParameter.__bases__)
_CODES = {
    ConfigurationError: ExitCode.WRONG_USE,
    InvalidInputError: ExitCode.WRONG_USE,
    SchemaMismatchError: ExitCode.DIFFERS,
    BackupVerificationError: ExitCode.DIFFERS,
}


def exit_code_of(error: HqtDbError) -> ExitCode:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.FAILED)


class Commands(TyperGroup):
    """The commands, each of which ends as :func:`explained` says."""

    def invoke(self, ctx: Any) -> Any:
        """Run one command; its options are not parsed yet."""
        with explained(as_json="--json" in ctx.args):
            return super().invoke(ctx)


class Command(TyperCommand):
    """A command whose arguments are no URLs, except where one is asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a URL in the place of a path or of a revision."""
        rest: list[str] = super().parse_args(ctx, args)
        for parameter in self.params:
            if parameter.param_type_name != "argument" or parameter.metavar == TARGET_METAVAR:
                continue
            given = ctx.params.get(parameter.name or "")
            for value in given if isinstance(given, (list, tuple)) else (given,):
                if _SCHEME.match(str(value)):
                    ctx.fail(f"{value} looks like a database; {_HINT}")
        return rest


def without_password(message: str) -> str:
    """Return a text in which no URL shows a password."""
    return _PASSWORD.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", message))


@contextmanager
def explained(*, as_json: bool) -> Iterator[None]:
    """End the command with a message and an exit code where the library refuses.

    What Typer refuses it shows itself, with the command's usage, unless a
    script asked. What the system says about a file or about the output is
    no defect either; any other exception is one and keeps its traceback.
    """
    try:
        yield
    except HqtDbError as error:
        _complain(error, as_json=as_json)
        raise typer.Exit(exit_code_of(error)) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads any more; that is Typer's
            raise
        _say("OSError", _of_system(error), as_json=as_json)
        _drop_what_cannot_be_printed()
        raise typer.Exit(ExitCode.FAILED) from None
    except UnicodeEncodeError:
        _say("UsageError", "a path or a name has bytes that are no UTF-8", as_json=as_json)
        raise typer.Exit(ExitCode.WRONG_USE) from None
    except _WRONG_USE as error:
        error.message = without_password(error.message)
        if "unexpected extra argument" in error.message and "://" in error.message:
            error.message += f"; {_HINT}"
        if not as_json:
            raise
        _print_document("UsageError", error.format_message(), retryable=False)
        raise typer.Exit(ExitCode.WRONG_USE) from None
    except (KeyboardInterrupt, asyncio.CancelledError) as ended:
        if as_json:
            _print_document("Interrupted", "it was ended before it was done", retryable=True)
        is_ctrl_c = isinstance(ended, KeyboardInterrupt)
        raise typer.Exit(ExitCode.INTERRUPTED if is_ctrl_c else ExitCode.TERMINATED) from None


def _drop_what_cannot_be_printed() -> None:
    """Leave nothing for Python to print at its end, which would fail and be the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_system(error: OSError) -> str:
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)[:_SHOWN]}: "
    return f"{place}{error.strerror or error}"


def _complain(error: HqtDbError, *, as_json: bool) -> None:
    message = "\n".join([str(error), *getattr(error, "__notes__", ())])
    _say(type(error).__name__, message, as_json=as_json, retryable=error.retryable)


def _say(error: str, message: str, *, as_json: bool, retryable: bool = False) -> None:
    message = without_password(message)
    if as_json:
        _print_document(error, message, retryable=retryable)
        return
    where = Console(stderr=True)
    where.print("hqt-db:", message, markup=False, highlight=False, soft_wrap=True)


def _print_document(error: str, message: str, *, retryable: bool) -> None:
    facts = {"error": error, "message": message, "retryable": retryable}
    typer.echo(json.dumps(facts), err=True)
