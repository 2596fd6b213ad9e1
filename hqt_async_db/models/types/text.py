"""Text that compares, sorts and fits alike on every backend."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators

from hqt_async_db.models.types.column import (
    ColumnType,
    Processor,
    as_coerced,
    encodable,
    kind_of,
    text_literal,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.compiler import TypeCompiler
    from sqlalchemy.sql.operators import OperatorType
    from sqlalchemy.types import TypeEngine

_MARIADB_COLLATION = "utf8mb4_nopad_bin"
_MYSQL_COLLATION = "utf8mb4_0900_bin"


class _MySqlVarchar(mysql.VARCHAR):
    """VARCHAR whose collation is chosen when the server is known."""


class _MySqlLongText(mysql.LONGTEXT):
    """LONGTEXT whose collation is chosen when the server is known."""


# A mysql:// URL may lead to MariaDB, which shows at the first connection only;
# the type itself may have been adapted to the dialect long before that.
@compiles(_MySqlVarchar, "mysql", "mariadb")
@compiles(_MySqlLongText, "mysql", "mariadb")
def _mysql_text(type_: mysql.VARCHAR, compiler: TypeCompiler, **_kw: object) -> str:
    name = "LONGTEXT" if type_.length is None else f"VARCHAR({type_.length})"
    is_mariadb = getattr(compiler.dialect, "is_mariadb", False)
    collation = _MARIADB_COLLATION if is_mariadb else _MYSQL_COLLATION
    return f"{name} CHARACTER SET utf8mb4 COLLATE {collation}"


class ExactText(ColumnType[str]):
    """Text compared and sorted by code point: case and trailing spaces count.

    ``length`` counts characters (code points); None means unbounded. Longer
    text, NUL and lone surrogates are refused everywhere, also where a backend
    would take them.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of one backend."""
        if dialect.name in {"mysql", "mariadb"}:
            return _MySqlLongText() if self.length is None else _MySqlVarchar(self.length)
        collation = "C" if dialect.name == "postgresql" else None
        if self.length is None:
            return Text(collation=collation)  # the descriptor of asyncpg would be VARCHAR
        return dialect.type_descriptor(String(self.length, collation=collation))

    def checked(self, value: object) -> str:
        """Return ``value`` as a plain str, or refuse it."""
        if not isinstance(value, str):
            self.refuse(f"must be text, not {kind_of(value)}")
        if self.length is not None and len(value) > self.length:
            self.refuse(f"is longer than {self.length} characters ({len(value)})")
        if "\0" in value:
            self.refuse("contains a NUL character")
        if not value.isascii() and not encodable(value):
            self.refuse("contains a lone surrogate")
        # A StrEnum member would reach the driver as an enum.
        return value if type(value) is str else str.__str__(value)

    def bind_processor(self, dialect: Dialect) -> Processor:  # noqa: ARG002
        """Return the function that prepares values for the driver."""
        checked = self.checked
        return lambda value: None if value is None else checked(value)

    def bind_all(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any] | None:
        """Take text as it is, if all of it is ASCII, short enough and without NUL."""
        del dialect
        if type(values[0]) is not str:
            return None
        if self.length is not None and max(map(len, values)) > self.length:
            return None
        together = "".join(values)
        return values if together.isascii() and "\0" not in together else None

    bind_coerced = as_coerced

    @property
    def kind(self) -> str:
        """Return what stands for this type in SQL; a vocabulary is a CHECK's business."""
        return "text" if self.length is None else f"text {self.length}"

    def kept(self, value: Any) -> Any:
        """Return what SQLite computed; it makes text of a number by itself."""
        self.checked(str(value) if isinstance(value, int | float) else value)
        return value

    def literal_processor(self, dialect: Dialect) -> Processor:
        """Return the function that writes values into SQL text."""
        quote = text_literal(dialect)
        return lambda value: quote(self.checked(value))

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Read what the driver returned as it is: every driver gives str."""
        del dialect, coltype

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """Return the type of the other side; a pattern may be longer."""
        return self if op in _EQUALITIES or not isinstance(value, str) else self._unbounded()

    def _unbounded(self) -> ExactText:
        unbounded = ExactText()
        unbounded._column = self._column
        return unbounded


_EQUALITIES = {operators.eq, operators.ne, operators.in_op, operators.not_in_op}


class Choice(ExactText):
    """One word of a closed vocabulary, a member or its plain text; read as str.

    Pair it with :func:`choice_check`, so that the database refuses what came
    in by another way.
    """

    cache_ok = True

    def __init__(self, vocabulary: type[StrEnum], length: int = 16) -> None:
        super().__init__(length)
        self.vocabulary = vocabulary
        self._words = {str.__str__(word): str.__str__(word) for word in vocabulary}

    def checked(self, value: object) -> str:
        """Return ``value`` as a plain str, or refuse it."""
        if not isinstance(value, str) or value not in self._words:
            self.refuse(f"must be one of {', '.join(self._words)}")
        return self._words[value]

    def bind_all(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any] | None:
        """Take words as they are, if the vocabulary has them."""
        del dialect
        is_plain = type(values[0]) is str and self._words.keys() >= set(values)
        return values if is_plain else None

    bind_coerced = as_coerced


def choice_check(column: str, vocabulary: type[StrEnum]) -> CheckConstraint:
    """Return the CHECK constraint that closes ``column`` to the vocabulary."""
    words = ", ".join(f"'{word}'" for word in vocabulary)
    return CheckConstraint(f"{column} IN ({words})", name=column)
