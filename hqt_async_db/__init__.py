"""Async-first data access for trading systems.

The event loop never blocks on the database, and nothing that was
acknowledged is lost::

    from hqt_async_db import DatabaseManager, UserRepository

    async with DatabaseManager("sqlite:///hqt.db") as db:
        await db.create_all()
        async with db.session() as session:
            user = await UserRepository(session).create(
                username="trader1", email="t@example.com", password_hash="…"
            )
"""

