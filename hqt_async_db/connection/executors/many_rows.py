"""What one statement for many rows cannot do for every model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hqt_async_db.errors import InvalidInputError

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper


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
    generator: Any = mapper.version_id_generator
    if mapper.version_id_col is None or generator is False:
        return None
    if generator(1) != 2:  # noqa: PLR2004 - the one after 1
        msg = (
            f"the versions of {mapper.class_.__name__} come from a generator of its own, which "
            f"{verb} cannot ask for each row; go instance by instance, with update()"
        )
        raise InvalidInputError(msg, field=verb)
    return mapper.version_id_col
