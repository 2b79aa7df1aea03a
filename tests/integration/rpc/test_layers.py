"""The chain of interceptors lets streams pass untouched and covers the whole contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import auth_service_pb2_grpc, run_service_pb2, run_service_pb2_grpc
from chatter_grpc.core.limits import Limit
from chatter_grpc.rpc import server as server_module
from chatter_grpc.rpc.contract import SERVICES
from chatter_grpc.rpc.faults import ContractFault
from chatter_grpc.rpc.policy import RateClass
from chatter_grpc.rpc.server import EdgeServer
from chatter_grpc.rpc.services.runs import RunService
from tests.support.edge import DEADLINE, UNLIMITED, Account, Edge, EdgeOptions, edge_settings
from tests.support.logs import Log

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
WATCH = "/chatter.v1.RunService/WatchRun"
REQUEST = run_service_pb2.WatchRunRequest(run_id="run_1")


async def test_a_streams_messages_pass_as_they_are_written(
    edge: Edge, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(self: object, request: Any, context: Any) -> None:
        for number in range(3):
            await context.write(run_service_pb2.WatchRunResponse(cursor=str(number)))

    monkeypatch.setattr(RunService, "WatchRun", write)
    answer = await restarted(edge, account)
    cursors = [run_service_pb2.WatchRunResponse.FromString(each).cursor for each in answer.responses]
    assert (answer.code, cursors) == (grpc.StatusCode.OK, ["0", "1", "2"])
    assert str(answer.trailing["x-call-id"]).startswith("call_")


async def test_a_stream_that_fails_after_messages_ends_with_its_status(
    edge: Edge, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object, request: Any, context: Any) -> None:
        await context.write(run_service_pb2.WatchRunResponse(cursor="0"))
        raise RuntimeError("anything")

    monkeypatch.setattr(RunService, "WatchRun", fail)
    answer = await restarted(edge, account)
    assert (len(answer.responses), answer.code, answer.reason) == (1, grpc.StatusCode.INTERNAL, "INTERNAL")


async def test_a_handler_that_yields_would_be_found_out(
    edge: Edge, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def give(self: object, request: Any, context: Any) -> AsyncIterator[Any]:
        yield run_service_pb2.WatchRunResponse(cursor="0")

    monkeypatch.setattr(RunService, "WatchRun", give)
    answer = await restarted(edge, account)
    assert (answer.responses, answer.code) == ([], grpc.StatusCode.INTERNAL)


async def test_a_client_that_leaves_in_the_middle_of_a_stream_is_no_fault(
    edge: Edge, account: Account, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def go_on(self: object, request: Any, context: Any) -> None:
        try:
            while True:
                await context.write(run_service_pb2.WatchRunResponse(cursor="x" * 10_000))
        finally:
            ended.set()

    monkeypatch.setattr(RunService, "WatchRun", go_on)
    async with another_server(edge):
        stub = run_service_pb2_grpc.RunServiceStub(edge.channel)
        call = stub.WatchRun(REQUEST, metadata=tuple(account.metadata), timeout=DEADLINE)
        await call.read()
        call.cancel()
        await asyncio.wait_for(ended.wait(), DEADLINE)
    assert [event["code"] for event in await log.wait_for("call")] == ["CANCELLED"]
    assert not log.events("fault")


async def restarted(edge: Edge, account: Account) -> Any:
    """Watch with a server that was made after the handler was replaced."""
    async with another_server(edge):
        return await edge.call(WATCH, REQUEST, account.metadata)


@asynccontextmanager
async def another_server(edge: Edge) -> AsyncIterator[None]:
    """Have the edge's channel lead to a server that is made now."""
    address = f"{edge.address}.again"
    again = EdgeServer(edge.services, edge_settings(address, EdgeOptions(model=edge.model)))
    await again.start()
    before = edge.channel
    try:
        async with grpc.aio.insecure_channel(address) as edge.channel:
            yield
    finally:
        edge.channel = before
        await again.stop(0)


async def test_a_limit_below_a_methods_cost_keeps_the_server_from_starting(edge: Edge) -> None:
    limits = {**UNLIMITED, RateClass.AUTH: Limit(amount=1, seconds=60)}
    with pytest.raises(ContractFault, match="AuthService/Register costs more than the whole limit"):
        EdgeServer(edge.services, edge_settings(edge.address, EdgeOptions(model=edge.model, limits=limits)))


async def test_a_service_that_is_not_registered_keeps_the_server_from_starting(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_service_pb2_grpc, "add_AuthServiceServicer_to_server", lambda *_: None)
    with pytest.raises(ContractFault, match="while the contract has"):
        EdgeServer(edge.services, edge_settings(edge.address, EdgeOptions(model=edge.model)))


async def test_a_service_without_policies_keeps_the_server_from_starting(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SERVICES", SERVICES[1:])
    with pytest.raises(ContractFault, match=r"served are .*AuthService"):
        EdgeServer(edge.services, edge_settings(edge.address, EdgeOptions(model=edge.model)))
