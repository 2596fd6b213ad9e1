"""Backups of models of one's own that have what none of ours has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_backup.applications import run_application
from tests.integration.test_backup.keeping import TOOLS, formats_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)

OF_ANY_TYPE = """
    import datetime, decimal, enum, uuid
    class Side(enum.Enum):
        BUY = "b"
    class Fill(Base):
        __tablename__ = "fills"
        id: Mapped[int] = mapped_column(primary_key=True)
        side = mapped_column(Enum(Side))
        tags = mapped_column(JSON())
        number = mapped_column(Uuid())
        raw = mapped_column(LargeBinary())
        day = mapped_column(Date())
        amount = mapped_column(Numeric(10, 2))
    VALUES = {
        "side": Side.BUY, "tags": [1], "number": uuid.UUID(int=7), "raw": b"\\0\\xff",
        "day": datetime.date(2024, 1, 2), "amount": decimal.Decimal("1.50"),
    }
    fills = BaseRepository[Fill]
    async def refused(work):
        try:
            await work
        except InvalidInputError as error:
            assert "fills.side has a type that cannot be exported" in str(error), error
        else:
            raise AssertionError("it was taken")
"""
WITHOUT_KEY = """
    from hqt_async_db.models.types import Flag, Int32, RowId
    tagged = Table(
        "users_tags", Base.metadata,
        Column("user_id", RowId, ForeignKey("users.id")),
        Column("tag", Int32), Column("note", Flag), CheckConstraint("tag < 9", name="few"),
    )
    async def held(db):
        async with db.session(read_only=True) as session:
            rows = await session.execute(select(tagged.c.tag, tagged.c.note))
            return sorted(map(str, rows.all()))
    async def fill(db):
        user = await UserRepository(db).create(username="a", email="a@b", password_hash="-")
        rows = [(7, None), (7, None), (3, True), (3, None), (None, False)]
        async with db.session() as session:
            for tag, note in rows:
                values = {"user_id": user.id, "tag": tag, "note": note}
                await session.execute(insert(tagged).values(values))
        return await held(db)
"""
COMPUTED = """
    class Lot(Base):
        __tablename__ = "lots"
        id: Mapped[int] = mapped_column(primary_key=True)
        qty: Mapped[float]
        value: Mapped[float] = mapped_column(Computed("qty * 2", persisted=True))
        lots: Mapped[float | None] = mapped_column(Computed("qty / 4", persisted=True))
    lots = BaseRepository[Lot]
    async def held(db):
        return [tuple(row) for row in await lots(db).rows("id", "qty", "value", "lots")]
"""
CHECKED = """
    from hqt_async_db.models.types import Double, ExactText, RowId
    class Quote(Base):
        __tablename__ = "quotes"
        id: Mapped[int] = mapped_column(RowId, primary_key=True)
        bid: Mapped[float | None] = mapped_column(Double)
        ask: Mapped[float] = mapped_column(Double)
        at: Mapped[str | None] = mapped_column(ExactText(9))
        __table_args__ = (
            CheckConstraint("at <> '50%: y' OR at IS NULL", name="place"),
            CheckConstraint(bid.column <= ask.column, name="crossed"),
            CheckConstraint(or_(ask.column > 0, ask.column < -9), name="free"),
        )
"""
UNANSWERED = """
    from hqt_async_db.models.types import Double, ExactText, RowId
    class Quote(Base):
        __tablename__ = "quotes"
        id: Mapped[int] = mapped_column(RowId, primary_key=True)
        bid: Mapped[float] = mapped_column(Double)
        ask: Mapped[float] = mapped_column(Double, default=6.0)
        note: Mapped[str | None] = mapped_column("the_Note", ExactText(9))
        flag = mapped_column(Boolean(create_constraint=True, name="flag"))
        __table_args__ = (
            CheckConstraint("quotes.bid < 9", name="qualified"),
            CheckConstraint(bid.column <= ask.column, name="crossed"),
            CheckConstraint("bid < 8 OR THE_NOTE = 'x'", name="noted_too").ddl_if(dialect="none"),
            CheckConstraint("bid <> 8 OR flag IS TRUE", name="noted"),
        )
"""
CALLED_OTHERWISE = """
    class Fill(Base):
        __tablename__ = "Order Fills"
        number: Mapped[int] = mapped_column("the number", key="number_key", primary_key=True)
        note: Mapped[str | None] = mapped_column("the note", String(20), key="note_key")
        count: Mapped[int] = mapped_column("how often", key="count_key", default=1)
        percent: Mapped[float] = mapped_column("chg %", default=0.0)
        __mapper_args__ = {"version_id_col": count}
"""


@pytest.mark.backends("sqlite-file")
async def test_a_copy_of_the_file_brings_values_of_any_type_back(
    database_url: str, tmp_path: Path
) -> None:
    work = """
        await fills(db).create(**VALUES)
        path = await backup.backup_database(arguments[0])
        assert (await backup.verify_backup(path)).rows["fills"] == 1
        await fills(db).delete_many(Fill.id > 0)
        restored = await backup.restore_database(path, confirm=True)
        assert restored.rows["fills"] == 1
        found = await fills(db).get_one()
        print({name: getattr(found, name) for name in VALUES} == VALUES)
    """
    assert await run_application(OF_ANY_TYPE, work, database_url, str(tmp_path)) == "True\n"


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_what_could_not_come_back_is_refused_by_name(
    database_url: str, tmp_path: Path, backend: str
) -> None:
    work = """
        await refused(backup.backup_database(arguments[0], format="archive"))
        await refused(backup.export_all_tables(arguments[0]))
        if "native" in arguments:
            await refused(backup.backup_database(arguments[0], tools_dir=arguments[1]))
        print(*__import__("os").listdir(arguments[0]))
    """
    has_dump = backend == "postgresql" and TOOLS is not None
    arguments = str(tmp_path), str(TOOLS), "native" if has_dump else "archive"
    assert await run_application(OF_ANY_TYPE, work, database_url, *arguments) == "\n"


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_what_the_database_computes_is_computed_again(
    database_url: str, tmp_path: Path, backend: str
) -> None:
    work = """
        from hqt_async_db.backup import copy_database
        await lots(db).create(qty=2.0)
        rows, tools = await held(db), {"tools_dir": arguments[1]}
        assert rows == [(1, 2.0, 4.0, 0.5)]
        for format in arguments[2:]:
            path = await backup.backup_database(arguments[0], format=format, **tools)
            assert (await backup.verify_backup(path, **tools)).rows["lots"] == 1
            await lots(db).update_many(Lot.id == 1, values={"qty": 5.0})
            await backup.restore_database(path, confirm=True, **tools)
            assert await held(db) == rows
        await backup.export_all_tables(arguments[0] + "/exports", format="csv")
        for how in {"replace": True}, {"upsert": True}:
            await backup.import_all_tables(arguments[0] + "/exports", **how)
            assert await held(db) == rows
        async with DatabaseManager("sqlite:///" + arguments[0] + "/copy.db") as copy:
            await copy_database(db, copy)
            assert await held(copy) == rows
    """
    await run_application(
        COMPUTED, work, database_url, str(tmp_path), str(TOOLS), *formats_of(backend)
    )


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_rows_without_a_key_come_back(
    database_url: str, tmp_path: Path, backend: str
) -> None:
    work = """
        rows, tools = await fill(db), {"tools_dir": arguments[1]}
        for format in arguments[2:]:
            path = await backup.backup_database(arguments[0], format=format, **tools)
            assert (await backup.verify_backup(path, **tools)).rows["users_tags"] == 5
            async with db.session() as session:
                await session.execute(delete(tagged))
            restored = await backup.restore_database(path, confirm=True, **tools)
            assert restored.rows["users_tags"] == 5
            assert await held(db) == rows
    """
    await run_application(
        WITHOUT_KEY, work, database_url, str(tmp_path), str(TOOLS), *formats_of(backend)
    )


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_rows_without_a_key_are_exported_copied_and_appended(
    database_url: str, tmp_path: Path
) -> None:
    work = """
        import pathlib
        from hqt_async_db.backup import copy_database
        rows, here = await fill(db), pathlib.Path(arguments[0])
        for format in ("json", "jsonl", "csv", "parquet"):
            assert (await backup.export_all_tables(here, format))["users_tags"] == 5
            async with DatabaseManager("sqlite:///:memory:") as other:
                await other.create_all()
                await DatabaseBackup(other).import_all_tables(here, format)
                assert await held(other) == rows
                for mode in ({"upsert": True}, {"replace": True}):
                    try:
                        await DatabaseBackup(other).import_all_tables(here, format, **mode)
                    except InvalidInputError as error:
                        print(error)
                assert await held(other) == rows
        copied = await copy_database(db, f"sqlite:///{here}/copy.db")
        assert copied.tables["users_tags"] == 5
        print((here / "users_tags.jsonl").read_text(), end="")
    """
    printed = await run_application(WITHOUT_KEY, work, database_url, str(tmp_path))
    refusal = "users_tags has no primary key; its rows can only be appended"
    assert printed.splitlines()[:8] == [refusal] * 8
    rows = [tuple(json.loads(line).values()) for line in printed.splitlines()[8:]]
    assert rows == [(1, 3, True), (1, 3, None), (1, 7, None), (1, 7, None), (1, None, False)]


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_rows_without_a_key_may_be_the_same(database_url: str, tmp_path: Path) -> None:
    """So that it is not what is wrong with them where a constraint refuses another."""
    work = """
        import pathlib
        path = pathlib.Path(arguments[0], "tags.jsonl")
        path.write_text('{"tag": 1}\\n{"tag": 1}\\n{"tag": 9}\\n')
        try:
            await backup.import_table_from_jsonl("users_tags", path)
        except ImportDataError as error:
            print(error)
        assert await held(db) == []
    """
    printed = await run_application(WITHOUT_KEY, work, database_url, str(tmp_path))
    assert printed == "tags.jsonl, row 3, column 'tag': ck_users_tags_few does not hold\n"


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_the_row_that_a_check_refuses_is_named(database_url: str, tmp_path: Path) -> None:
    work = """
        import pathlib
        path = pathlib.Path(arguments[0], "quotes.csv")

        async def refused(content, **how):
            path.write_text(content)
            try:
                await backup.import_table_from_csv("quotes", path, **how)
            except ImportDataError as error:
                assert isinstance(error.__cause__, CheckViolationError)
                print(error.row, error.column, str(error).partition(": ")[2])
            assert await BaseRepository[Quote](db).count() == 0

        for how in {}, {"upsert": True}, {"replace": True}:
            await refused("id,bid,ask,at\\n1,1.5,1.5,\\n2,,1,x\\n3,2,1,x\\n4,3,1,x\\n", **how)
            await refused("id,bid,ask,at\\n1,1.5,1.5,\\n2,1,2,50%: y\\n", **how)
            await refused("id,bid,ask,at\\n1,1.5,1.5,\\n2,,0,\\n", **how)
    """
    printed = await run_application(CHECKED, work, database_url, str(tmp_path))
    assert printed.splitlines() == 3 * [
        "3 bid, ask ck_quotes_crossed does not hold",
        "2 at ck_quotes_place does not hold",
        "2 ask ck_quotes_free does not hold",
    ]


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_a_check_that_no_row_set_aside_answers_is_named_by_the_database(
    database_url: str, tmp_path: Path
) -> None:
    """SQL about its own table, columns that the file lacks, or what an update leaves alone."""
    work = """
        import pathlib
        path, quotes = pathlib.Path(arguments[0], "quotes.csv"), BaseRepository[Quote](db)
        for number in (1, 2):
            await quotes.create(id=number, bid=1.0, ask=6.5)

        async def refused(content, **how):
            path.write_text(content)
            try:
                await backup.import_table_from_csv("quotes", path, **how)
            except CheckViolationError as error:
                print(error.key)
            assert [(row.bid, row.ask) for row in await quotes.get_all()] == [(1.0, 6.5)] * 2

        await refused("id,bid,ask\\n3,99,99\\n")
        await refused("id,bid\\n1,6.2\\n2,7\\n", upsert=True)
        await refused("id,bid,ask\\n3,2,3\\n4,8,8\\n")
    """
    printed = await run_application(UNANSWERED, work, database_url, str(tmp_path))
    names = ("qualified", "crossed", "noted")
    assert printed.splitlines() == [f"ck_quotes_{name}" for name in names]


@pytest.mark.backends("sqlite-file", "postgresql", "mariadb")
async def test_columns_are_found_by_what_the_database_calls_them(
    database_url: str, tmp_path: Path
) -> None:
    work = """
        import pathlib
        fills, here = BaseRepository[Fill](db), pathlib.Path(arguments[0])
        await fills.create(note="n", percent=1.5)

        async def change():
            async with db.session() as session:
                await session.execute(update(Fill).values(note=None))
                await session.execute(insert(Fill).values(count=1, percent=2.5))
        async def require(rows):
            found = await fills.get_all()
            assert [(fill.note, fill.percent) for fill in found][:1] == [("n", 1.5)], found
            assert len(found) == rows

        path = await backup.backup_database(here, format="archive")
        await backup.verify_backup(path)
        await change()
        await backup.restore_database(path, confirm=True)
        await require(1)
        for format in ("json", "jsonl", "csv", "parquet"):
            await backup.export_all_tables(here, format)
            for mode, rows in (("upsert", 2), ("replace", 1)):
                await change()
                await backup.import_all_tables(here, format, **{mode: True})
                await require(rows)
        partial = here / "partial.jsonl"
        partial.write_text('{"the number": 1, "the note": "m"}\\n')
        before = (await fills.get_one()).count
        await backup.import_table_from_jsonl("Order Fills", partial, upsert=True)
        after = await fills.get_one()
        print(after.note, after.count - before)
    """
    assert await run_application(CALLED_OTHERWISE, work, database_url, str(tmp_path)) == "m 1\n"
