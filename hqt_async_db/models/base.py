"""The declarative base: naming, coercion on assignment, helpful refusals."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from sqlalchemy import MetaData, event, inspect
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import (
    ColumnProperty,
    DeclarativeBase,
    Mapped,
    Mapper,
    declared_attr,
    mapped_column,
)

from hqt_async_db.models.defaults import check_defaults
from hqt_async_db.models.states import STATE, StateOnDemand
from hqt_async_db.models.types import (
    ColumnType,
    Double,
    ExactText,
    Flag,
    Int32,
    JsonDict,
    Money,
    RowId,
    UtcDateTime,
    utc_now,
)
from hqt_async_db.models.unloaded import guard_relationships
from hqt_async_db.models.validation import is_sql, unknown_field, validate_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import InstrumentedAttribute, MapperProperty

__all__ = [
    "Base",
    "CreatedMixin",
    "IdMixin",
    "TimestampMixin",
    "VersionMixin",
    "validate_values",
]

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(AsyncAttrs, DeclarativeBase):
    """Base of every model, ours and the user's own.

    Values are checked and normalised when they are assigned: a wrong one
    raises InvalidInputError, which names ``table.column``. So does a keyword
    that is no attribute of the model.
    """

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    # Classes, not instances: each column gets a type object of its own.
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        bool: Flag,
        datetime: UtcDateTime,
        Decimal: Money,
        dict[str, Any]: JsonDict,
        float: Double,
        int: RowId,  # 64 bits, and numbered by SQLite where it is the key
        str: ExactText,
    }
    __mapper_args__: Any = {"eager_defaults": True}  # noqa: RUF012 - read once, never changed
    __repr_fields__: ClassVar[tuple[str, ...]] = ()
    _sa_instance_state = StateOnDemand()

    def __init__(self, **values: Any) -> None:
        """Set the given attributes.

        Raises:
            InvalidInputError: A name is no attribute of the model, or a value
                does not fit its column.
        """
        known = inspect(type(self)).all_orm_descriptors
        for name, value in values.items():
            if name not in known and not isinstance(getattr(type(self), name, None), property):
                raise unknown_field(type(self), name)
            setattr(self, name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle and copy the instance as SQLAlchemy does, with its state."""
        getattr(self, STATE, None)
        return super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        """Show the primary key and what identifies the row; loads nothing."""
        mapper = inspect(type(self))
        keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        names = dict.fromkeys((*keys, *self.__repr_fields__))
        shown = [f"{name}={self.__dict__[name]!r}" for name in names if name in self.__dict__]
        return f"<{' '.join([type(self).__name__, *shown])}>"


@event.listens_for(Base, "attribute_instrument", propagate=True)
def _coerce_on_assignment(
    class_: type[Base],  # noqa: ARG001 - fixed by SQLAlchemy's event
    key: str,  # noqa: ARG001 - fixed by SQLAlchemy's event
    attribute: InstrumentedAttribute[Any],
) -> None:
    column_type = _type_of(attribute.property)
    if column_type is None:
        return
    check_defaults(attribute.property.columns[0], column_type)
    checked = column_type.checked

    # These three options spare SQLAlchemy's own wrapper around each call.
    @event.listens_for(attribute, "set", retval=True, raw=True, include_key=True)
    def _set(_target: object, value: object, *_: object, **_key: object) -> object:
        return value if value is None or is_sql(value) else checked(value)

    if isinstance(column_type, JsonDict):
        column_type.mutable.associate_with_attribute(attribute)


def _type_of(prop: MapperProperty[Any]) -> ColumnType[Any] | None:
    if not isinstance(prop, ColumnProperty):
        return None
    column_type = prop.columns[0].type
    return column_type if isinstance(column_type, ColumnType) else None


_mappers: WeakSet[Mapper[Any]] = WeakSet()


@event.listens_for(Base, "mapper_configured", propagate=True)
def _remember_mapper(mapper: Mapper[Any], _class: type[Base]) -> None:
    _mappers.add(mapper)


@event.listens_for(Mapper, "after_configured")
def _guard_relationships() -> None:
    # Not earlier: a backref adds to a mapper that was configured before.
    for mapper in _mappers:
        guard_relationships(mapper)


class IdMixin:
    """A numbered primary key."""

    id: Mapped[int] = mapped_column(RowId(), primary_key=True, sort_order=-10)


class CreatedMixin:
    """When the row was written, by the clock of this process."""

    created_at: Mapped[datetime] = mapped_column(UtcDateTime(), default=utc_now, sort_order=10)


class TimestampMixin(CreatedMixin):
    """When the row was written and last changed, by the clock of this process."""

    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime(), default=utc_now, onupdate=utc_now, sort_order=11
    )


class VersionMixin:
    """A counter that turns a lost update into StaleRecordError."""

    version: Mapped[int] = mapped_column(Int32(), default=1, sort_order=12)

    @declared_attr.directive
    def __mapper_args__(cls) -> Mapping[str, Any]:  # noqa: N805 - a class-level directive
        """Have every UPDATE and DELETE of an instance check the counter."""
        return {"eager_defaults": True, "version_id_col": cls.version}
