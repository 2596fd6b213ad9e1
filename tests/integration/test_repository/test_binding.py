"""Which model a repository has, and what it may be bound to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as SyncSession

from hqt_async_db import (
    BaseRepository,
    DatabaseClosedError,
    InvalidInputError,
    Strategy,
    User,
    UserRepository,
)
from tests.integration.test_repository.samples import user_row

if TYPE_CHECKING:
    from hqt_async_db import DatabaseManager
    from tests.integration.test_repository.samples import Bind

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=User)


class Declared(BaseRepository[User]):
    """The model is the type argument."""


class Inherited(Declared):
    """The model is the parent's."""


class Generally(BaseRepository[ModelT], Generic[ModelT, T]):
    """The model is still open; the second argument is none."""


class Specifically(Generally[User, int]):
    """The model is the type argument of a repository of one's own."""


class Referred(BaseRepository[User]):
    """The model is given as users of the synchronous layer do."""

    def __init__(self, session: Any) -> None:
        super().__init__(session, User)


@pytest.mark.parametrize("kind", [Declared, Inherited, Specifically, Referred])
async def test_the_class_statement_names_the_model(kind: Any, bind: Bind) -> None:
    user = await kind(bind).create(**user_row("a"))
    assert type(user) is User
    assert kind(bind).model is User


@pytest.mark.backends("sqlite-memory")
async def test_a_type_argument_at_the_call_names_the_model(bind: Bind) -> None:
    repository = BaseRepository[User](bind)
    assert (await repository.create(**user_row("a"))).username == "a"
    assert await repository.get_many_and_count() != ([], 0)  # a second, bound copy knows it too
    assert BaseRepository(bind, User).model is User
    assert Declared(bind, User).model is User


@pytest.mark.backends("sqlite-memory")
async def test_without_a_mapped_class_there_is_no_repository(db: DatabaseManager) -> None:
    with pytest.raises(InvalidInputError, match=r"class MyRepository\(BaseRepository\[MyModel\]\)"):
        await BaseRepository(db).get_all()
    with pytest.raises(InvalidInputError, match="which model"):
        await BaseRepository[int](db).get_all()
    with pytest.raises(InvalidInputError, match="must be a mapped class"):
        BaseRepository(db, int)


@pytest.mark.backends("sqlite-memory")
async def test_only_a_session_or_the_manager_will_do(db: DatabaseManager) -> None:
    sync_session = SyncSession(create_engine("sqlite://"))
    wrongs: list[Any] = [None, "sqlite://", db.engine, sync_session, User]
    for wrong in wrongs:
        with pytest.raises(InvalidInputError, match="DatabaseManager, not") as refused:
            UserRepository(wrong)
        assert refused.value.field == "bind"


async def test_a_plain_session_of_sqlalchemy_will_do(db: DatabaseManager) -> None:
    async with AsyncSession(db.engine, expire_on_commit=False) as session:
        user = await UserRepository(session).create(**user_row("a"))
        await session.commit()
    assert await UserRepository(db).get_by_id(user.id) is not None


@pytest.mark.backends("sqlite-memory")
async def test_a_disposed_manager_says_so(db: DatabaseManager) -> None:
    await db.dispose()
    repository = BaseRepository(db, Strategy)
    with pytest.raises(DatabaseClosedError, match="disposed"):
        await repository.get_all()
