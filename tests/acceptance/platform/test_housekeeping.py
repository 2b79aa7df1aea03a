"""Two servers on one PostgreSQL keep house in turn: one at a time, whichever of them is left, and nobody sees it."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import grpc
import pytest
from aiohttp import ClientSession

from tests.support.outages import OwnPostgres, own_postgres
from tests.support.provider import eventually
from tests.support.served import Served, administrator_of, served, signed_in

INTERVAL = timedelta(seconds=0.2)
PASSES = "SELECT * FROM runs WHERE kind = 'housekeeping' ORDER BY created_at, id"


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, postgres: OwnPostgres) -> Iterator[tuple[Served, Served]]:
    settings = {
        "database_url": postgres.url,
        "housekeeping_seconds": str(INTERVAL.total_seconds()),
        "compact_after_hours": "0",
        "lease_seconds": "1",
        "reaper_seconds": "0.2",
        "metrics_listen": "0",
        "log_format": "json",
    }
    with (
        served(tmp_path_factory.mktemp("one"), **settings) as one,
        served(tmp_path_factory.mktemp("two"), **settings) as two,
    ):
        yield one, two


async def fetch(postgres: OwnPostgres, query: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(postgres.url, timeout=10)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


async def until_passes(postgres: OwnPostgres, wanted: int) -> list[Any]:
    """Return the passes that are known, once so many have come to their end."""

    async def there() -> bool:
        return len([each for each in await fetch(postgres, PASSES) if each["state"] == "completed"]) >= wanted

    await eventually(there)
    return await fetch(postgres, PASSES)


async def test_of_two_servers_one_keeps_house_at_a_time_and_what_is_due_is_done(
    servers: tuple[Served, Served], postgres: OwnPostgres
) -> None:
    one, _ = servers
    async with one.connect() as anyone:
        ada = (await signed_in(anyone)).client
        conversation_id = (await ada.ok("CreateConversation")).conversation.id
        stream = ada.send(conversation_id, "Tell me something.")
        await stream.to_end()
        await ada.ok("DeleteConversation", conversation_id=conversation_id)

        async def compacted() -> bool:
            rows = await fetch(postgres, "SELECT compacted_at FROM runs WHERE id = $1", stream.run_id)
            return rows[0]["compacted_at"] is not None

        await eventually(compacted)
        # Thirty days go by.
        overdue = "UPDATE conversations SET purge_at = now() - interval '1 second' WHERE id = $1"
        await fetch(postgres, overdue, conversation_id)

        async def purged() -> bool:
            return (await ada.call("GetRun", run_id=stream.run_id)).reason == "RUN_NOT_FOUND"

        await eventually(purged)
    passes = await until_passes(postgres, 5)
    # Where both had begun one for the same moment, two would be closer to each other than that.
    assert all(after["created_at"] - before["created_at"] >= INTERVAL for before, after in pairwise(passes))


async def test_no_caller_can_be_or_see_who_keeps_house(servers: tuple[Served, Served], postgres: OwnPostgres) -> None:
    one, _ = servers
    passes = await until_passes(postgres, 1)
    async with one.connect() as anyone:
        ada = (await signed_in(anyone)).client
        admin = await administrator_of(one, anyone)
        for client in (ada, admin):
            for method in ("GetRun", "WatchRun", "CancelRun", "ListRunEvents"):
                assert (await client.call(method, run_id=passes[0]["id"])).reason == "RUN_NOT_FOUND"
            assert not (await client.ok("ListRuns")).runs
        assert (await admin.call("GetUser", user_id="user_system")).reason == "USER_NOT_FOUND"
        assert "(system)" not in {each.username for each in (await admin.ok("ListUsers")).users}
        refused = await anyone.call("Register", username="(system)", email="s@example.org", password="a long password")
        assert refused.reason == "FIELD_INVALID"
        failed = await anyone.call("Login", login="(system)", password="a long password")
        assert failed.code is grpc.StatusCode.UNAUTHENTICATED


async def test_metrics_say_what_was_removed_and_how_large_the_tables_are(servers: tuple[Served, Served]) -> None:
    for server in servers:
        (event,) = server.logged("serving_metrics")

        async def told(address: str = event["address"]) -> bool:
            async with ClientSession() as session, session.get(f"http://{address}/metrics") as response:
                text = await response.text()
            return 'chatter_table_bytes{table="runs"}' in text and "chatter_database_bytes 0.0" not in text

        await eventually(told)
