"""What one statement for many rows cannot do for every model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer
from sqlalchemy.types import TypeDecorator

from hqt_async_db.errors import InvalidInputError
from hqt_async_db.models.types.kept import FITS

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper
    from sqlalchemy.types import TypeEngine


def require_one_table(mapper: Mapper[Any], verb: str) -> None:
    """Refuse a model whose rows lie in several tables, as of joined inheritance.

    Raises:
        InvalidInputError: They do; one statement would reach one of them.
    """
    if len(mapper.tables) > 1:
        names = ", ".join(str(table) for table in mapper.tables)
        msg = (
            f"a {mapper.class_.__name__} lies in several tables ({names}), and {verb} would reach "
            "one of them; go instance by instance, with create(), update() and delete()"
        )
        raise InvalidInputError(msg, field=verb)


def counted_version(mapper: Mapper[Any], verb: str) -> Any | None:
    """Return the version column that a statement has to count up, None if there is none.

    A version that the database makes is none of a statement's business.

    Raises:
        InvalidInputError: The versions come from a generator that does not count.
    """
    version: Any = mapper.version_id_col
    generator: Any = mapper.version_id_generator
    if version is None or generator is False:
        return None
    if not _is_integer(version.type) or generator(1) != 1 + 1:
        msg = (
            f"the versions of {mapper.class_.__name__} come from a generator of its own, which "
            f"{verb} cannot ask for each row; go instance by instance, with update()"
        )
        raise InvalidInputError(msg, field=verb)
    return version


def next_version(version: Any) -> Any:
    """Return the expression that counts a version up; SQLite need not look at each result."""
    return (version + 1)._annotate({FITS: True})  # noqa: SLF001 - what SQLAlchemy's ORM marks expressions with


def _is_integer(kind: TypeEngine[Any]) -> bool:
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return isinstance(kind, Integer)
