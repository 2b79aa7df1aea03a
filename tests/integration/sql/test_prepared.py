"""Statements that pass SQLAlchemy by on SQLite, and those that wait for the next one: they end like all others."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import bindparam, insert, select, text

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import DatabaseOptions
from chatter_grpc.adapters.sql.message_counts import MessageCountRow
from chatter_grpc.adapters.sql.prepared import Prepared
from chatter_grpc.adapters.sql.statements import Asked, Statements
from chatter_grpc.adapters.sql.storage import SqlStorage
from tests.support.records import a_user

_ADD: Final = Prepared(insert(MessageCountRow.table()))
_DAYS: Final = Prepared(
    select(MessageCountRow.day).where(MessageCountRow.user_id == bindparam("user")).order_by(MessageCountRow.day)
)
_ENDLESS: Final = Prepared(
    text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n").columns()
)


@pytest.fixture
async def user_id(database: Database) -> str:
    user = a_user()
    async with SqlStorage(database).write() as tx:
        await tx.users.add(user)
    return user.id


async def add(statements: Statements, user_id: str, *days: str) -> None:
    for day in days:
        await statements.later(_ADD, {"user_id": user_id, "day": day, "count": 1})


async def days(database: Database, user_id: str) -> list[str]:
    async with database.reading() as statements:
        return [row.day for row in await statements.rows(_DAYS, {"user": user_id})]


async def test_what_waits_is_seen_by_the_next_statement_and_committed(database: Database, user_id: str) -> None:
    async with database.writing() as statements:
        await add(statements, user_id, "1", "2")
        assert [row.day for row in await statements.rows(_DAYS, {"user": user_id})] == ["1", "2"]
        await add(statements, user_id, "3")
        found = await statements.run(text("SELECT count(*) FROM message_counts WHERE user_id = :id"), {"id": user_id})
        assert found.scalar_one() == 3
        await add(statements, user_id, "4")
    assert await days(database, user_id) == ["1", "2", "3", "4"]


async def test_more_than_may_wait_is_sent_before(database: Database, user_id: str) -> None:
    many = [f"{number:03}" for number in range(50)]
    async with database.writing() as statements:
        await add(statements, user_id, *many)
    assert await days(database, user_id) == many


async def test_what_fails_where_it_is_sent_leaves_nothing_behind(database: Database, user_id: str) -> None:
    async def work() -> None:
        async with database.writing() as statements:
            await add(statements, user_id, "1", "1")

    with pytest.raises(Exception, match=r"UNIQUE|unique"):
        await work()
    assert await days(database, user_id) == []


async def test_a_block_that_raises_writes_nothing_of_what_waits(database: Database, user_id: str) -> None:
    async def work() -> None:
        async with database.writing() as statements:
            await add(statements, user_id, "1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await days(database, user_id) == []


async def test_a_transaction_that_is_cancelled_in_a_statement_leaves_nothing_and_holds_up_nobody(
    database: Database, user_id: str
) -> None:
    if not database.is_sqlite:
        pytest.skip("SQLAlchemy's own way")
    brief = Database(f"sqlite:///{database.url.database}", DatabaseOptions(acquire_seconds=5, statement_seconds=0.5))
    begun = asyncio.Event()

    async def work(busy: float) -> None:
        async with brief.writing() as statements:
            # SQLite's thread comes to what it is sent only after this.
            driver: Any = (await statements._connection.get_raw_connection()).driver_connection
            driver._tx.put_nowait((None, partial(time.sleep, busy)))
            await add(statements, user_id, "1")
            begun.set()
            await statements.count(_ENDLESS)

    # Before its first statement, and in the midst of one.
    for busy, pause in ((0.3, 0.05), (0, 0.2)):
        begun.clear()
        working = asyncio.create_task(work(busy))
        await begun.wait()
        await asyncio.sleep(pause)
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled()
        assert brief.connections_in_use == 0
        # Of a transaction that nobody ends, this would become a part.
        async with brief.writing() as statements:
            assert await statements.rows(_DAYS, {"user": user_id}) == []
    await brief.close()


async def test_what_is_sent_together_answers_each_in_its_place(database: Database, user_id: str) -> None:
    async with database.writing() as statements:
        await add(statements, user_id, "1")
        before, added, after = await statements.together(
            Asked(_DAYS, {"user": user_id}),
            Asked(_ADD, {"user_id": user_id, "day": "2", "count": 1}, needed=True),
            Asked(_DAYS, {"user": user_id}, needed=True),
        )
        assert [[row.day for row in rows] for rows in (before, added, after)] == [["1"], [], ["1", "2"]]
    assert await days(database, user_id) == ["1", "2"]


async def test_behind_what_was_needed_and_not_found_nothing_is_executed(database: Database, user_id: str) -> None:
    async with database.writing() as statements:
        await add(statements, user_id, "1")
        answers = await statements.together(
            Asked(_DAYS, {"user": user_id}, needed=True),
            Asked(_DAYS, {"user": "user_none"}, needed=True),
            Asked(_ADD, {"user_id": user_id, "day": "2", "count": 1}),
        )
        assert [len(rows) for rows in answers] == [1, 0]
    assert await days(database, user_id) == ["1"]


async def refuse() -> Exception:
    return ZeroDivisionError("refused")


@pytest.mark.parametrize("behind", [(), ("3",)])
async def test_what_waits_and_may_be_refused_keeps_all_from_being_committed(
    database: Database, user_id: str, behind: tuple[str, ...]
) -> None:
    async def work(wanted: str) -> None:
        async with database.writing() as statements:
            await add(statements, user_id, "1")
            with suppress(ZeroDivisionError):
                await statements.later(_DAYS, {"user": wanted}, refuse)
                await add(statements, user_id, *behind)

    with pytest.raises(ZeroDivisionError):
        await work("user_none")
    assert await days(database, user_id) == []
    await work(user_id)
    assert await days(database, user_id) == ["1", *behind]
