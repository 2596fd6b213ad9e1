"""What commands print: tables and sentences for people, JSON for scripts."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_STEP = 1000
# Columns of a table that nobody looks at in a terminal; none is padded to it.
_MOST_WIDE = 1_000_000


def say(sentence: object) -> None:
    """Print one line as it is."""
    typer.echo(str(sentence))


def print_json(value: Any) -> None:
    """Print one JSON document; a time is ISO 8601, a path is text."""
    typer.echo(json.dumps(value, default=_plain, indent=2))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; numbers stand on the right.

    Nothing is left out; where no terminal sets a width, each row is one line.
    """
    lines = [list(row) for row in rows]
    console = Console()
    if not console.is_terminal:
        console.width = _MOST_WIDE
    table = Table()
    for number, column in enumerate(columns):
        are_numbers = all(type(line[number]) in (int, float) for line in lines)
        table.add_column(column, justify="right" if are_numbers else "left", overflow="fold")
    for line in lines:
        table.add_row(*map(_shown, line))
    console.print(table, markup=False, highlight=False)


def size(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    if count is None:
        return "unknown"
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,}" if isinstance(value, int) else _number_or_text(value)


def _number_or_text(value: object) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
