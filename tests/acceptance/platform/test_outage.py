"""The database goes away and comes back: what the server says meanwhile, whom it trusts, and what is lost (T3, T20)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chatter_grpc.rpc.contract import SERVICES
from tests.support.edge import Answer
from tests.support.openai_plans import Plan
from tests.support.outages import OwnPostgres, own_postgres
from tests.support.provider import Provider, eventually, until
from tests.support.served import Client, Served, served, signed_in, written

# The whole server, and every service.
NAMES = ("", *(service.full_name for service in SERVICES))
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, provider_settings: dict[str, str], postgres: OwnPostgres
) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("outage")
    with served(directory, database_url=postgres.url, database_seconds="2", **provider_settings) as server:
        yield server


class Health:
    """What the health service says of each service, as its watchers hear it."""

    def __init__(self) -> None:
        self.heard: dict[str, list[int]] = {name: [] for name in NAMES}

    @asynccontextmanager
    async def watching(self, channel: grpc.aio.Channel) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._watch(channel, name)) for name in NAMES]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def all_are(self, status: int) -> None:
        """Return once every service has this status."""
        await until(lambda: all(heard and heard[-1] == status for heard in self.heard.values()))

    async def _watch(self, channel: grpc.aio.Channel, name: str) -> None:
        request = health_pb2.HealthCheckRequest(service=name)
        async for answer in health_pb2_grpc.HealthStub(channel).Watch(request):
            self.heard[name].append(answer.status)


async def until_it_is(client: Client, method: str, reason: str, **fields: object) -> Answer:
    """Call a method until it is answered with a reason, or without one."""
    answers: list[Answer] = []

    async def is_it() -> bool:
        answers.append(await client.call(method, **fields))
        return answers[-1].reason == reason

    await eventually(is_it)
    return answers[-1]


def is_worth_a_retry(answer: Answer) -> bool:
    """Whether an answer says UNAVAILABLE, and when to come back."""
    (retry,) = answer.all_of(error_details_pb2.RetryInfo)
    assert answer.trailing["grpc-retry-pushback-ms"] == str(retry.retry_delay.ToMilliseconds())
    return answer.code is grpc.StatusCode.UNAVAILABLE and retry.retry_delay.ToMilliseconds() > 0


@pytest.mark.platform("T3", "T20")
async def test_a_database_that_goes_away_and_comes_back(
    server: Served, postgres: OwnPostgres, anyone: Client, provider: Provider
) -> None:
    """T20: NOT_SERVING and UNAVAILABLE with a time to come back, then SERVING. T3: nobody is trusted meanwhile."""
    ada = await signed_in(anyone)
    conversation = await ada.client.conversation(title="kept")
    gate = provider.hold(after=2, text="one two three four")
    stream = await ada.client.send(conversation.id, "Hello").until(written(2))
    health = Health()
    async with health.watching(anyone.channel):
        await health.all_are(SERVING)
        postgres.stop()
        # At first credentials are held good for a while yet.
        needs_both = await until_it_is(
            ada.client, "GetConversation", "STORAGE_UNAVAILABLE", conversation_id=conversation.id
        )
        assert is_worth_a_retry(needs_both)
        login = {"login": ada.user.username, "password": ada.password}
        assert is_worth_a_retry(await until_it_is(anyone, "Login", "STORAGE_UNAVAILABLE", **login))
        await health.all_are(NOT_SERVING)
        # Then even what needs no database is refused to whom credentials do not prove anything any more.
        assert is_worth_a_retry(await until_it_is(ada.client, "GetServerInfo", "REVOCATIONS_STALE"))
        ended = await stream.to_end()
        assert (ended.reason, is_worth_a_retry(ended)) == ("REVOCATIONS_STALE", True)
        postgres.start()
        await health.all_are(SERVING)
        await until_it_is(ada.client, "GetServerInfo", "")
        assert {tuple(heard) for heard in health.heard.values()} == {(SERVING, NOT_SERVING, SERVING)}
    # Nothing was lost: the run went on, and its log has no gap.
    gate.open()
    again = ada.client.open("WatchRun", run_id=stream.run_id)
    assert (await again.to_end()).reason == ""
    assert (again.fold.end, again.text) == ("completed", "one two three four")
    kept = await ada.client.messages(conversation.id)
    assert [message.parts[0].text.text for message in kept] == ["Hello", "one two three four"]
    provider.plan(Plan(text="as before"))
    assert (await ada.client.ask(conversation.id, "Well?")).text == "as before"
