"""Many rows as one statement of PostgreSQL, with an array of values for each column.

One text, prepared once, serves any number of rows; with a VALUES list each
number of rows is another statement, and each value a parameter of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Double,
    Enum,
    Integer,
    Numeric,
    String,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, insert
from sqlalchemy.types import NullType

from hqt_async_db.connection.backends.direct import NoWayError
from hqt_async_db.connection.executors.bulk_direct import BulkInsert
from hqt_async_db.connection.executors.upserts import changes_of, is_fixed_on_update
from hqt_async_db.models.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnClause, Dialect, Insert
    from sqlalchemy.orm import Mapper
    from sqlalchemy.types import TypeEngine

# What asyncpg encodes and decodes of one statement within half a millisecond.
_VALUES_PER_STATEMENT: Final = 1500
# Without lengths and collations: the column's own apply when a row is stored, and
# a cast to varchar(5) would cut in silence what is too long.
_ELEMENTS: Final[tuple[tuple[type[Any], TypeEngine[Any]], ...]] = (
    (Boolean, Boolean()),
    (BigInteger, BigInteger()),
    (Integer, Integer()),
    (Double, Double()),
    (Numeric, Numeric()),
    (DateTime, TIMESTAMP(timezone=True)),
    (JSON, JSON()),
    (String, Text()),
)


class ArrayInsert:
    """The INSERT of rows of one model that all have the same fields, which returns them.

    Args:
        mapper: The model's; its instances need no unit of work.
        names: The fields.
        match: The fields of the unique key by which a row that exists is
            updated; none, and it is an error.
        dialect: PostgreSQL's.

    Raises:
        NoWayError: It takes SQLAlchemy to insert these fields.
    """

    def __init__(
        self,
        mapper: Mapper[Any],
        names: tuple[str, ...],
        match: tuple[str, ...],
        dialect: Dialect,
    ) -> None:
        # In a row that may exist already, None is a value.
        self._bulk = BulkInsert(mapper, names, dialect, keep_nulls=bool(match))
        columns = self._bulk.columns
        _require_first_version(mapper, names)
        self._parameters = [f"hqt_rows_{place}" for place in range(len(columns))]
        self._size = max(1, _VALUES_PER_STATEMENT // len(mapper.columns))
        arrays = [
            cast(bindparam(name, type_=NullType()), ARRAY(_element_of(of.type, dialect)))
            for name, of in zip(self._parameters, columns, strict=True)
        ]
        values: list[ColumnClause[Any]] = [column(f"v{place}") for place in range(len(columns))]
        rows = func.unnest(*arrays).table_valued(*values, with_ordinality="place", name="hqt_rows")
        rows = rows.render_derived()
        source = select(*[rows.c[value.name] for value in values]).order_by(rows.c.place)
        statement = insert(self._bulk.table)
        if match:
            if not is_fixed_on_update(mapper, names, match):
                raise NoWayError
            statement = statement.on_conflict_do_update(
                index_elements=[mapper.columns[name] for name in match],
                set_=changes_of(mapper, names, match, statement.excluded),
            )
        # The values that Python fills in are among the arrays.
        statement = statement.from_select(columns, source, include_defaults=False)
        self.statement: Insert = statement.returning(*[p.columns[0] for p in mapper.column_attrs])

    async def bind(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the parameters of each statement that the rows take.

        Raises:
            NoWayError: Not all of it fits; what does not is said row by row.
        """
        bound = await self._bulk.bind(rows)
        parts = [bound[start : start + self._size] for start in range(0, len(bound), self._size)]
        return [
            dict(zip(self._parameters, map(list, zip(*part, strict=True)), strict=True))
            for part in parts
        ]


def _require_first_version(mapper: Mapper[Any], names: tuple[str, ...]) -> None:
    """Refuse a version that SQLAlchemy would not begin with.

    Raises:
        NoWayError: It is given, or its default is another.
    """
    version: Any = mapper.version_id_col
    if version is None:
        return
    generator: Any = mapper.version_id_generator
    default = version.default
    if (
        mapper.get_property_by_column(version).key in names
        or generator is False
        or default is None
        or not default.is_scalar
        or default.arg != generator(None)
    ):
        raise NoWayError


def _element_of(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return the type of which a column's array is.

    Raises:
        NoWayError: Of others SQLAlchemy knows more than its arrays would.
    """
    stored = kind.load_dialect_impl(dialect) if isinstance(kind, ColumnType) else kind
    if isinstance(stored, Enum):
        raise NoWayError  # text to SQLAlchemy, and to PostgreSQL a type with a name
    for known, element in _ELEMENTS:
        if isinstance(stored, known):
            return element
    raise NoWayError
