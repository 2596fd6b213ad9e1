"""BaseRepository: the awaited verbs that every repository has."""

from __future__ import annotations

from hqt_async_db.repositories.bound import ModelT
from hqt_async_db.repositories.reads import Reads
from hqt_async_db.repositories.writes import Writes


class BaseRepository(Reads[ModelT], Writes[ModelT]):
    """The rows of one model, through a session or through the manager.

    Bound to a session it flushes and never commits. Bound to the manager
    each call is a transaction of its own and returns detached instances.

    Any declarative model will do::

        class FillRepository(BaseRepository[Fill]):
            async def get_by_venue(self, venue: str) -> list[Fill]:
                return await self.get_many(venue=venue)

    Args:
        bind: A session, or the DatabaseManager.
        model: The mapped class; not needed where the type argument says it.

    Raises:
        InvalidInputError: ``bind`` or ``model`` is something else.
    """
