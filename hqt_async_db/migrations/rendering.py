"""Column types as revision scripts write them, and how to tell them apart.

A revision must make the same schema for ever, so it names no class of this
package: the types of the models are written out as plain SQLAlchemy types.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy.types import TypeDecorator

from hqt_async_db.models import types

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.autogenerate.api import AutogenContext
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import Column
    from sqlalchemy.types import TypeEngine

_COLLATION: Final = re.compile(r'COLLATE "?(\w+)')
_MYSQL_IMPORT: Final = "from sqlalchemy.dialects import mysql"


def _text(column_type: types.ExactText) -> str:
    # "text" is a function of the script itself, see script.py.mako: which
    # collation is right shows only when the server is known.
    return f"text({column_type.length or ''})"


_PLAIN: Final[dict[type[Any], Callable[[Any], str]]] = {
    types.ExactText: _text,
    types.Choice: _text,
    types.Flag: lambda _: "sa.Boolean()",
    types.Int32: lambda _: "sa.Integer()",
    types.Int64: lambda _: "sa.BigInteger()",
    types.RowId: lambda _: "sa.BigInteger().with_variant(sa.Integer(), 'sqlite')",
    types.Double: lambda _: "sa.Double()",
    types.Money: lambda _: "sa.Numeric(28, 8)",
    types.UtcDateTime: lambda _: (
        "sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')"
    ),
    types.JsonDict: lambda _: "sa.JSON()",
}


def render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    """Write a column type of the models into a revision script.

    Raises:
        NotImplementedError: Nothing says yet how to write the type out.
    """
    if kind != "type" or not isinstance(item, TypeDecorator):
        return False
    write = _PLAIN.get(type(item))
    if write is None:
        msg = f"{__name__} cannot write {type(item).__name__} out as plain SQLAlchemy types"
        raise NotImplementedError(msg)
    written = write(item)
    if "mysql" in written or written.startswith("text("):
        context.imports.add(_MYSQL_IMPORT)
    return written


def compare_type(
    context: MigrationContext,
    inspected: Column[Any],
    wanted: Column[Any],
    inspected_type: TypeEngine[Any],
    wanted_type: TypeEngine[Any],
) -> bool | None:
    """Tell a column whose collation differs; leave the rest to alembic."""
    del inspected, wanted
    declared = _COLLATION.search(wanted_type.compile(context.dialect))
    if declared is None:
        return None
    present = getattr(inspected_type, "collation", None)
    return None if declared.group(1) == present else True
