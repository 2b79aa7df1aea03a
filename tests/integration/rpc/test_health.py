"""Whether the server serves: health by the database, reflection for tools, and a stop that is announced."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from chatter_grpc.rpc.contract import SERVICES
from tests.support.edge import DEADLINE, Account, Edge

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ["", *(service.full_name for service in SERVICES)]
INFO = "/chatter.v1.SystemService/GetServerInfo"


async def status(edge: Edge, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(edge.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE)
    return int(response.status)


@pytest.mark.platform("T20")
async def test_every_service_serves_as_long_as_the_database_answers(edge: Edge) -> None:
    """T20: NOT_SERVING when the database is gone, and SERVING when it is back."""
    assert [await status(edge, name) for name in NAMES] == [SERVING] * len(NAMES)
    edge.replica.storage.broken = True
    await edge.server.health.check()
    assert [await status(edge, name) for name in NAMES] == [NOT_SERVING] * len(NAMES)
    edge.replica.storage.broken = False
    await edge.server.health.check()
    assert [await status(edge, name) for name in NAMES] == [SERVING] * len(NAMES)


@pytest.mark.platform("T20")
async def test_a_watcher_hears_of_the_change(edge: Edge) -> None:
    """T20: without asking again."""
    stub = health_pb2_grpc.HealthStub(edge.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAMES[1]), timeout=DEADLINE)
    assert (await watch.read()).status == SERVING
    edge.replica.storage.broken = True
    await edge.server.health.check()
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_a_database_that_hangs_counts_as_gone(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(edge.replica.storage.storage, "ping", hang)
    monkeypatch.setattr(edge.server.health, "_deadline", 0.01)
    await edge.server.health.check()
    assert await status(edge, "") == NOT_SERVING


async def test_the_monitor_keeps_looking(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.server.health, "_interval", 0.001)
    watch = health_pb2_grpc.HealthStub(edge.channel).Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    assert (await watch.read()).status == SERVING
    monitor = asyncio.ensure_future(edge.server.health.run())
    for broken, expected in ((True, NOT_SERVING), (False, SERVING)):
        edge.replica.storage.broken = broken
        assert (await watch.read()).status == expected
    monitor.cancel()
    watch.cancel()


async def test_what_the_database_is_asked_meanwhile_is_unavailable(edge: Edge, account: Account) -> None:
    edge.replica.storage.broken = True
    answer = await edge.call("/chatter.v1.UserService/GetMe", metadata=account.metadata)
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert answer.trailing["grpc-retry-pushback-ms"] == "1000"


async def test_a_stop_says_not_serving_and_lets_open_calls_end(
    edge: Edge, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    me = edge.services.users.me

    async def slow(*given: object) -> object:
        entered.set()
        await go_on.wait()
        return await me(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(edge.services.users, "me", slow)
    call = asyncio.ensure_future(edge.call("/chatter.v1.UserService/GetMe", metadata=account.metadata))
    watch = health_pb2_grpc.HealthStub(edge.channel).Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    assert (await watch.read()).status == SERVING
    await asyncio.wait_for(entered.wait(), DEADLINE)
    stop = asyncio.ensure_future(edge.server.stop(DEADLINE))
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()
    go_on.set()
    assert (await call).code is grpc.StatusCode.OK
    await stop
    assert (await edge.call(INFO, metadata=account.metadata)).code is grpc.StatusCode.UNAVAILABLE


async def test_reflection_lists_and_describes_every_service_without_credentials(edge: Edge) -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="chatter.v1.ChatService"),
    ]
    stub = reflection_pb2_grpc.ServerReflectionStub(edge.channel)
    listed, described = [each async for each in stub.ServerReflectionInfo(iter(requests), timeout=DEADLINE)]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {*NAMES[1:], "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert described.file_descriptor_response.file_descriptor_proto
