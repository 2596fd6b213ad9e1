"""Which SELECTs are known to do no more than to read tables."""

from __future__ import annotations

import pytest

from hqt_async_db.connection.executors.effects import only_reads


@pytest.mark.parametrize(
    "criterion",
    [
        "id = $1::INTEGER AND price = $2::NUMERIC(28, 8)",
        "id IN (1, 2) AND (a OR b) AND NOT (c)",
        "lower(name) LIKE lower(%(name)s)",
        "a = (SELECT max(b.a) FROM b WHERE (b.x) = 1)",
        "rank() OVER (PARTITION BY a ORDER BY b) = 1",
        "coalesce(sum(profit), 0.0) > CAST(? AS DECIMAL(28, 8))",
        "updated_at > 0 AND inserted",
    ],
)
def test_reads(criterion: str) -> None:
    assert only_reads(f"SELECT count(*) AS n\nFROM users\nWHERE {criterion}")


@pytest.mark.parametrize(
    "criterion",
    [
        "nextval('s') > 0",
        "NEXTVAL (s) > 0",
        "\"nextval\"('s') > 0",
        "pg_catalog.lower(name) = 'a'",
        "pg_try_advisory_xact_lock(users.id)",
        "(lower(name))=get_lock('a', 0)",
        "tenant = current_setting('app.tenant')",
        "NEXT VALUE FOR s > 0",
        "(@n := @n + 1) > 0",
        "id = @n",
        "id IN (SELECT id FROM jobs FOR SHARE)",
        "id IN (SELECT id FROM jobs FOR NO KEY UPDATE SKIP LOCKED)",
        "id IN (WITH d AS (DELETE FROM jobs RETURNING id) SELECT id FROM d)",
    ],
)
def test_may_do_more(criterion: str) -> None:
    assert not only_reads(f"SELECT id\nFROM users\nWHERE {criterion}")
