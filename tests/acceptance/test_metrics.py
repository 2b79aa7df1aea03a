"""A server tells what it does: to Prometheus in numbers, to a collector in spans, and to neither in words."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from tests.support.collector import Collector, attributes_of, collecting
from tests.support.processes import run_command
from tests.support.served import Account, Client, Served, Stream, message, served, signed_in

SECONDS = 30
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SEND = "chatter.v1.ChatService/SendMessage"
OFFLINE = "chatter/offline"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("observed")
    settings = {"metrics_listen": "0", "otlp_endpoint": collector.endpoint, "log_format": "json"}
    with served(directory, offline_token_milliseconds="5", **settings) as server:
        yield server


@pytest.fixture
async def ada(server: Served) -> AsyncIterator[Account]:
    async with server.connect() as anyone:
        yield await signed_in(anyone)


@dataclass(frozen=True, slots=True)
class Numbers:
    """All samples of one reading."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]
    text: str

    def of(self, name: str, **labels: str) -> float:
        """Return a value; nothing counted is 0."""
        return self.samples.get((f"chatter_{name}", frozenset(labels.items())), 0.0)


async def read(server: Served, path: str = "/metrics") -> tuple[int, str]:
    (event,) = server.logged("serving_metrics")
    async with ClientSession() as session, session.get(f"http://{event['address']}{path}") as response:
        return response.status, await response.text()


async def numbers(server: Served) -> Numbers:
    status, text = await read(server)
    assert status == 200
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Numbers(samples, text)


async def wait_for(server: Served, wanted: float, name: str, **labels: str) -> Numbers:
    """Read until a value is there: a call is counted when it is over, which its client may hear of before."""
    deadline = time.monotonic() + SECONDS
    while (found := await numbers(server)).of(name, **labels) != wanted:
        assert time.monotonic() < deadline, (name, labels, found.of(name, **labels))
        await asyncio.sleep(0.02)
    return found


def absent(channel: grpc.aio.Channel, name: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    return channel.unary_unary(f"/chatter.v1.ChatService/{name}")


async def converse(client: Client, text: str = "The garden is green. What colour is it?") -> Stream:
    conversation = await client.conversation()
    return await client.ask(conversation.id, text)


async def test_calls_runs_models_and_commits_are_counted(server: Served, ada: Account) -> None:
    before = await numbers(server)
    stream = await converse(ada.client)
    assert stream.fold.end == "completed"
    ended = before.of("runs_ended_total", state="completed", reason="")
    await wait_for(server, ended + 1, "runs_ended_total", state="completed", reason="")
    await wait_for(server, 0, "runs_active")
    sent = before.of("rpc_calls_total", method=SEND, code="OK")
    after = await wait_for(server, sent + 1, "rpc_calls_total", method=SEND, code="OK")

    def grown(name: str, **labels: str) -> float:
        return after.of(name, **labels) - before.of(name, **labels)

    assert grown("rpc_duration_seconds_count", method=SEND) == 1
    assert grown("runs_started_total", kind="plain") == 1
    assert grown("model_calls_total", model=OFFLINE, outcome="answered") == 1
    assert grown("model_first_token_seconds_count", model=OFFLINE) == 1
    assert grown("model_tokens_total", model=OFFLINE, direction="output") > 0
    assert after.of("rpc_in_flight", method=SEND) == 0
    assert after.of("database_connections_limit") == 10


@pytest.mark.platform("T21")
async def test_commits_and_the_loops_lateness_are_measured(server: Served, ada: Account) -> None:
    await converse(ada.client, f"The garden has {'many and ' * 40} green trees. What has the garden?")
    for name in ("loop_lag_seconds_count", "commit_duration_seconds_count", "commit_events_sum"):
        deadline = time.monotonic() + SECONDS
        while not (await numbers(server)).of(name):
            assert time.monotonic() < deadline, name
            await asyncio.sleep(0.02)


async def test_a_refusal_is_counted_by_its_reason(server: Served, ada: Account) -> None:
    assert await ada.client.reason("GetConversation", conversation_id="conv_0") == "CONVERSATION_NOT_FOUND"
    labels = {"method": "chatter.v1.ChatService/GetConversation", "reason": "CONVERSATION_NOT_FOUND"}
    await wait_for(server, 1, "rpc_refusals_total", **labels)


async def test_methods_that_are_not_there_make_no_names(server: Served, ada: Account) -> None:
    for number in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await absent(ada.client.channel, f"Planted{number}")(b"", timeout=SECONDS)
    found = await wait_for(server, 3, "rpc_calls_total", method="unknown", code="UNIMPLEMENTED")
    assert "Planted" not in found.text


async def test_a_stream_that_ended_is_not_in_flight(server: Served, ada: Account) -> None:
    stream = ada.client.open("WatchRun", run_id=(await converse(ada.client)).run_id)
    await stream.to_end()
    watch = "chatter.v1.RunService/WatchRun"
    found = await wait_for(server, 1, "rpc_calls_total", method=watch, code="OK")
    assert found.of("rpc_in_flight", method=watch) == 0


async def test_a_stream_that_its_reader_left_leaves_no_reader_and_no_task(server: Served, ada: Account) -> None:
    await wait_for(server, 0, "run_readers")
    idle = (await numbers(server)).of("loop_tasks")
    conversation = await ada.client.conversation()
    stream = ada.client.send(conversation.id, f"The garden has {'many and ' * 100} green trees. What has the garden?")
    await stream.until(lambda read: bool(read.text))
    found = await numbers(server)
    assert found.of("run_readers") == 1
    assert found.of("loop_tasks") > idle
    stream.leave()
    await wait_for(server, 0, "run_readers")
    assert (await ada.client.ok("CancelRun", run_id=stream.run_id)).run.id == stream.run_id
    deadline = time.monotonic() + SECONDS
    while (left := (await numbers(server)).of("loop_tasks")) > idle:
        assert time.monotonic() < deadline, (left, idle)
        await asyncio.sleep(0.02)


async def test_health_is_told_by_http_too(server: Served) -> None:
    assert await read(server, "/healthz") == (200, "SERVING\n")
    assert (await read(server, "/"))[0] == 404


async def test_a_call_goes_on_its_callers_trace_and_its_run_has_one_of_its_own(
    server: Served, ada: Account, collector: Collector
) -> None:
    conversation = await ada.client.conversation()
    carrying = ada.client.carrying(("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "planted=state"))
    stream = await carrying.ask(conversation.id, "planted-question. Where is it planted?")
    run_id = stream.run_id
    run = wait_for_span(collector, lambda span: attributes_of(span).get("chatter.run_id") == run_id)
    (call,) = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    assert (call.name, call.parent_span_id.hex(), call.kind) == (SEND, PARENT, Span.SPAN_KIND_SERVER)
    assert attributes_of(call)["rpc.grpc.status_code"] == "OK"
    assert [link.span_id for link in run.links] == [call.span_id]
    assert run.trace_id != call.trace_id
    assert attributes_of(run)["chatter.state"] == "completed"
    (model,) = [span for span in collector.spans if span.parent_span_id == run.span_id]
    assert model.name == f"chat {OFFLINE}"
    assert [event.name for event in model.events] == ["first token"]


async def test_what_is_said_and_who_says_it_is_in_no_span_and_no_metric(
    server: Served, ada: Account, collector: Collector
) -> None:
    stream = await converse(ada.client, "planted-question. Where is it planted?")
    await ada.client.reason("SendMessage", **message("planted-conversation", "planted-question"))
    wait_for_span(collector, lambda span: attributes_of(span).get("chatter.run_id") == stream.run_id)
    told = collector.text + (await numbers(server)).text
    for secret in ("planted", ada.user.id, ada.user.username, ada.password, ada.tokens.access_token, stream.text):
        assert secret not in told


def wait_for_span(collector: Collector, wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + SECONDS
    while True:
        found = [span for span in collector.spans if wanted(span)]
        if found:
            return found[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_port_that_is_taken_is_told(server: Served, tmp_path: Path) -> None:
    (event,) = server.logged("serving_metrics")
    taken = {"data_dir": str(tmp_path / "data"), "metrics_listen": event["address"]}
    done = run_command(tmp_path, "serve", "--listen", "127.0.0.1:0", **taken)
    assert done.returncode == 1
    expected = f"chatter-grpc: CHATTER_METRICS_LISTEN: cannot listen on {event['address']}: "
    assert done.stderr.splitlines()[-1].startswith(expected)


def test_traces_without_their_extra_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ModuleNotFoundError")
    done = run_command(
        tmp_path,
        "serve",
        "--listen",
        "127.0.0.1:0",
        data_dir=str(tmp_path / "data"),
        otlp_endpoint="http://127.0.0.1:9",
    )
    assert (done.returncode, done.stdout) == (2, "")
    expected = "CHATTER_OTLP_ENDPOINT: needs the extra `telemetry`: pip install 'chatter-grpc[telemetry]'"
    assert done.stderr == f"chatter-grpc: {expected}\n"


def test_a_collector_that_is_away_costs_nothing_but_its_spans(tmp_path: Path) -> None:
    settings = {"otlp_endpoint": "http://127.0.0.1:9", "log_format": "json"}
    with served(tmp_path, **settings) as server:
        assert server.process.stop() == 0
        assert [event["event"] for event in server.logged("stopped")] == ["stopped"]
