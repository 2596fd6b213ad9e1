"""Values in SQLite that no column of their type could take back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, literal_column, select

from hqt_async_db.errors import BackupVerificationError
from hqt_async_db.models.types import (
    Choice,
    Double,
    ExactText,
    Flag,
    Int32,
    Int64,
    JsonDict,
    Money,
    RowId,
)
from hqt_async_db.models.types.column import column_field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Column, ColumnElement, Table

    from hqt_async_db.connection.sessions.session import Session

_MOST_OF_INT32 = 2**31


async def count_fit_rows(session: Session, table: Table, columns: Sequence[Column[Any]]) -> int:
    """Return the number of rows, each value of which a restore would take. One SELECT.

    Whoever stores with something else than this library, or with SQL text, can
    put anything into a column of SQLite.

    Raises:
        BackupVerificationError: There is one that it would refuse.
    """
    prepared = session.get_bind().dialect.identifier_preparer
    checks = {column: _unfit(column.type, prepared.quote(column.name)) for column in columns}
    known = {column: check for column, check in checks.items() if check is not None}
    counts: list[ColumnElement[int]] = [
        literal_column(f"count(CASE WHEN {check} THEN 1 END)") for check in known.values()
    ]
    found = (await session.execute(select(func.count(), *counts).select_from(table))).one()
    for column, unfit in zip(known, found[1:], strict=True):
        if unfit:
            msg = (
                f"{unfit} of the values of {column_field(column)} could not be restored, as the "
                "column takes none like that; correct them, or make a backup of the file"
            )
            raise BackupVerificationError(msg)
    return int(found[0])


def _unfit(kind: object, name: str) -> str | None:
    """Return the SQL that holds for a value which the type refuses; NULL is fit."""
    is_other = f"typeof({name}) NOT IN ('integer', 'real', 'null')"
    if isinstance(kind, Money):
        return f"{is_other} OR abs({name}) >= 1e20 OR {_has_many_digits(name)}"
    if isinstance(kind, Double):
        return f"{is_other} OR {name} IN (9e999, -9e999)"
    if isinstance(kind, Int32 | Int64 | RowId):
        is_large = f" OR {name} NOT BETWEEN {-_MOST_OF_INT32} AND {_MOST_OF_INT32 - 1}"
        is_no_integer = f"typeof({name}) NOT IN ('integer', 'null')"
        return is_no_integer + (is_large if isinstance(kind, Int32) else "")
    if isinstance(kind, Flag):
        return f"{name} NOT IN (0, 1)"
    if isinstance(kind, JsonDict):
        is_no_object = f"WHEN json_valid({name}) THEN json_type({name}) <> 'object'"
        return f"CASE {is_no_object} ELSE {name} IS NOT NULL END"
    return _unfit_text(kind, name) if isinstance(kind, ExactText) else None


def _has_many_digits(name: str) -> str:
    """Return the SQL for an integer that no number of 15 digits is kept as."""
    digits = f"CAST(printf('%.15g', {name}) AS REAL)"
    return f"typeof({name}) = 'integer' AND {digits} <> {name}"


def _unfit_text(kind: ExactText, name: str) -> str:
    check = f"typeof({name}) NOT IN ('text', 'null') OR instr({name}, char(0))"
    if kind.length is not None:
        check += f" OR length({name}) > {kind.length}"
    if isinstance(kind, Choice):
        words = ", ".join("'{}'".format(word.replace("'", "''")) for word in kind.vocabulary)
        check += f" OR {name} NOT IN ({words})"
    return check
