"""Slow readers: many that stop reading beside some that read, and what they cost the server and the others (G5).

Every reader that reads has a run of its own; those that are slow watch the same runs from a process of their own, on
a connection each, with the window that a gRPC client begins with. They take the first frames, leave their sockets
alone for a while, and then read all that is left. Each round is measured without them and with them.
"""

import argparse
import asyncio
import json
import tempfile
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import monotonic_ns
from typing import Final

import psutil
import uvloop

from benchmarks.answers import AnswerPlan
from benchmarks.figures import percentiles
from benchmarks.load.calls import CallSpec, split_messages
from benchmarks.load.connection import Connection
from benchmarks.load.folding import StreamFault, StreamRecord, Wire, fold_messages, read_stream
from benchmarks.sides import SEND_MESSAGE, provider_url, start_provider, write_request
from chatter_grpc._gen.chatter.v1.run_event_pb2 import RunStarted
from chatter_grpc._gen.chatter.v1.run_service_pb2 import WatchRunRequest
from tests.chaos.campaign import say
from tests.chaos.standing import DEADLINE, HOST, Faults, Order, Outcome, Reading, connect, gathered
from tests.support.served import Client, served, signed_in

WATCH_RUN: Final = "/chatter.v1.RunService/WatchRun"
READERS_PER_CONNECTION: Final = 10
MB: Final = 1_000_000
# What is asked of the figures.
MOST_MEMORY_MB: Final = 50.0
MOST_LATER: Final = 1.3
MOST_LATER_MS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How much of everything there is.

    ``window`` is what a slow reader grants each of its streams, in bytes. ``rest`` is how many seconds longer than
    the slow ones stand still runs take: these come before, are sent as much as that, and read all that is left
    afterwards.
    """

    readers: int = 50
    slow: int = 200
    seconds: float = 60.0
    rate: float = 50.0
    window: int = 65_535
    rest: float = 25.0

    @property
    def plan(self) -> AnswerPlan:
        """Answers that go on for a while after the slow ones read again."""
        return AnswerPlan(tokens=round(self.rate * (self.seconds + self.rest)), rate=self.rate)

    @property
    def warm_up(self) -> "Shape":
        """A short round before all others: what a process makes but once counts for nobody."""
        return replace(self, slow=min(self.slow, self.readers), seconds=2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round showed. Lateness is from when a token was due to its arrival at a reader that reads."""

    slow: int
    late_ms: tuple[float, float]
    """p50 and p99."""
    phases_ms: tuple[float, float, float, float]
    """p99 while the slow ones come, while they stand still, from when they read again until all have caught up, and
    afterwards. First and last the server sends to them as to all others, so that is no part of ``late_ms``."""
    catch_up_seconds: float
    """From when the slow ones read again until all had caught up."""
    memory_mb: float
    """Of the server before the slow ones came; what follows is how it grew from there."""
    stalled_mb: float
    grown_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server, and an account on it."""

    port: int
    pid: int
    client: Client

    async def start_call(self, plan: AnswerPlan) -> CallSpec:
        """Return a call that asks for the planned answer in a new conversation."""
        conversation = await self.client.conversation()
        request = write_request(plan, conversation_id=conversation.id)
        return CallSpec(path=SEND_MESSAGE, request=request.SerializeToString(), metadata=tuple(self.client.metadata))

    def slow_order(self, shape: Shape, runs: Sequence[RunStarted]) -> Order:
        """Return what the slow ones are to do: to watch the runs in turn, each from its beginning."""
        metadata = tuple(self.client.metadata)
        requests = [WatchRunRequest(run_id=run.run_id).SerializeToString() for run in runs]
        calls = [CallSpec(path=WATCH_RUN, request=request, metadata=metadata) for request in requests]
        return Order(
            port=self.port,
            window=shape.window,
            seconds=DEADLINE,
            plan=shape.plan,
            calls=[calls[number % len(calls)] for number in range(shape.slow)],
        )

    async def stored_text(self, run: RunStarted) -> str:
        """Return the answer that is stored."""
        _, answer = await self.client.messages(run.conversation_id)
        return "".join(part.text.text for part in answer.parts)


class Live:
    """Those who read, each a run of its own."""

    def __init__(self, site: Site, shape: Shape, connections: AsyncExitStack) -> None:
        self._site = site
        self._shape = shape
        self._connections = connections
        self._readings: list[Reading] = []

    async def start(self) -> list[RunStarted]:
        """Start a run for each; return their first events."""
        calls = [await self._site.start_call(self._shape.plan) for _ in range(self._shape.readers)]
        connections: list[Connection] = []
        for number, spec in enumerate(calls):
            if number % READERS_PER_CONNECTION == 0:
                connections.append(Connection(f"{HOST}:{self._site.port}"))
                await connect(connections[-1], self._site.port)
                self._connections.callback(connections[-1].close)
            self._readings.append(Reading())
            connections[-1].start(spec, self._readings[-1].call)
        return [(await reading.first_message()).events[0].run_started for reading in self._readings]

    async def wait_ended(self) -> None:
        """Return once all streams are at their ends."""
        async with asyncio.timeout(self._shape.seconds + DEADLINE):
            for reading in self._readings:
                await reading.ended.wait()

    def check(self, stored: Sequence[str]) -> list[StreamRecord]:
        """Return their records; raises ``Faults`` unless everyone has the text that is stored."""
        records = []
        for number, reading in enumerate(self._readings):
            try:
                records.append(read_stream(reading.call, Wire.RUN, self._shape.plan))
                text = fold_messages(Wire.RUN, split_messages(reading.call.chunks)).text
            except StreamFault as fault:
                raise Faults(f"reader {number}: {fault}") from fault
            if text != stored[number]:
                raise Faults(f"reader {number} has another text than the database")
        return records


class Memory:
    """Watches a process's resident memory, in MB of 10^6 bytes."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before = self.most = self.now()

    def now(self) -> float:
        """Return what it is."""
        resident: int = self._process.memory_info().rss
        return resident / MB

    async def watch(self) -> None:
        """Note the most until cancelled."""
        while True:
            self.most = max(self.most, self.now())
            await asyncio.sleep(0.25)


async def run_round(site: Site, shape: Shape) -> Round:
    """Run one round to the end of all its streams; raises ``Faults`` where a reader did not get everything."""
    async with AsyncExitStack() as stack:
        slow = await stack.enter_async_context(gathered()) if shape.slow else None
        live = Live(site, shape, stack)
        runs = await live.start()
        memory = Memory(site.pid)
        watching = asyncio.create_task(memory.watch())
        try:
            if slow is not None:
                await slow.come(site.slow_order(shape, runs))
            held_at = monotonic_ns()
            await asyncio.sleep(shape.seconds)
            stalled = memory.now() - memory.before
            released_at = monotonic_ns()
            if slow is not None:
                slow.read_on()
            await live.wait_ended()
            came_to = await slow.came_to(DEADLINE) if slow is not None else Outcome(texts=[], caught_up_at=released_at)
        finally:
            watching.cancel()
            await asyncio.wait((watching,))
        stored = [await site.stored_text(run) for run in runs]
    hashes = [sha256(text.encode()).hexdigest() for text in stored]
    if came_to.texts != [hashes[number % len(hashes)] for number in range(shape.slow)]:
        raise Faults("slow readers have other texts than the database")
    records = live.check(stored)
    phases: tuple[list[float], ...] = ([], [], [], [])
    borders = (held_at, released_at, came_to.caught_up_at)
    for record in records:
        for index, late in enumerate(record.lateness):
            arrived = record.epoch + round(index * shape.plan.interval_ns) + late
            phases[bisect_left(borders, arrived)].append(late / 1e6)
    coming, standing, catching_up, afterwards = (percentiles(phase or [0])[1] for phase in phases)
    return Round(
        slow=shape.slow,
        late_ms=percentiles([late for phase in phases[1:3] for late in phase]),
        phases_ms=(coming, standing, catching_up, afterwards),
        catch_up_seconds=(came_to.caught_up_at - released_at) / 1e9,
        memory_mb=memory.before,
        stalled_mb=stalled,
        grown_mb=memory.most - memory.before,
    )


@asynccontextmanager
async def open_site(scratch: Path, shape: Shape) -> AsyncIterator[Site]:
    """Run the provider's stand-in and an embedded server, and log an account in."""
    async with start_provider(scratch) as provider:
        settings = {
            "openai_base_url": provider_url(provider),
            "openai_models": json.dumps(sorted({shape.plan.model, shape.warm_up.plan.model})),
            "access_token_minutes": "60",
            "streams_per_caller": "0",
        }
        with served(scratch / "server", **settings) as server:
            async with server.connect() as anyone:
                account = await signed_in(anyone)
                port = int(server.address.rpartition(":")[2])
                yield Site(port=port, pid=server.process.process.pid, client=account.client)


async def measure(shape: Shape, repetitions: int) -> list[tuple[Round, Round]]:
    """Run rounds without and with the slow ones in turn, every other time the other way round."""
    without = replace(shape, slow=0)
    pairs = []
    with tempfile.TemporaryDirectory() as scratch:
        async with open_site(Path(scratch), shape) as site:
            await run_round(site, shape.warm_up)
            for number in range(repetitions):
                order = (without, shape) if number % 2 == 0 else (shape, without)
                done = {each.slow: await run_round(site, each) for each in order}
                pairs.append((done[0], done[shape.slow]))
                say(describe(number, *pairs[-1]))
    return pairs


def describe(number: int, without: Round, beside: Round) -> str:
    """Return a pair of rounds as a line."""
    return (
        f"{number + 1}: p99 late {without.late_ms[1]:.1f} ms without, {beside.late_ms[1]:.1f} ms beside"
        f" {beside.slow} slow (p50 {without.late_ms[0]:.1f}, {beside.late_ms[0]:.1f}; p99 by phase"
        f" {phased(without)} and {phased(beside)}), who caught up in"
        f" {beside.catch_up_seconds:.1f} s; memory {beside.memory_mb:.0f} MB,"
        f" {beside.stalled_mb:+.1f} while they stood still, {beside.grown_mb:+.1f} at most"
        f" (without them {without.grown_mb:+.1f})"
    )


def phased(done: Round) -> str:
    """Return the lateness in each phase."""
    return " / ".join(f"{late:.1f}" for late in done.phases_ms)


def judge(pairs: Sequence[tuple[Round, Round]]) -> list[str]:
    """Return what is not as it is to be."""
    faults = []
    grown = max(beside.grown_mb for _, beside in pairs)
    if grown > MOST_MEMORY_MB:
        faults.append(f"memory grew by {grown:.1f} MB, and {MOST_MEMORY_MB:g} are allowed")
    late = median(without.late_ms[1] for without, _ in pairs), median(beside.late_ms[1] for _, beside in pairs)
    if late[1] > late[0] * MOST_LATER and late[1] > late[0] + MOST_LATER_MS:
        faults.append(f"p99 lateness went from {late[0]:.1f} to {late[1]:.1f} ms in the median")
    return faults


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``slow-readers``."""
    options = commands.add_parser("slow-readers", help="many readers stop reading beside some that read")
    options.add_argument("--slow", type=int, default=200, help="how many stop reading")
    options.add_argument("--readers", type=int, default=50, help="how many read, each a run of its own")
    options.add_argument("--seconds", type=float, default=60.0, help="how long they do not read")
    options.add_argument("--rate", type=float, default=50.0, help="tokens per second of each run")
    options.add_argument("--repetitions", type=int, default=5, help="pairs of rounds; the median counts")
    options.set_defaults(run=_show)


def _show(given: argparse.Namespace) -> int:
    shape = Shape(readers=given.readers, slow=given.slow, seconds=given.seconds, rate=given.rate)
    faults = judge(uvloop.run(measure(shape, given.repetitions)))
    say("\n".join(faults) or "as it is to be")
    return int(bool(faults))
