"""A rolling restart: two servers are stopped and started, one after the other, under streams that read on.

Clients come over a balancer that connects to whichever server lives, and are the real one as it is without options.
Half of the streams start runs; each of the others watches one of those, by chance on the other server.
"""

import argparse
import asyncio
import hashlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.figures import percentiles
from chatter_client import ApiKey
from chatter_client.aio import Client, RunStream, connect
from chatter_client.interruptions import Interruption
from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from tests.chaos.campaign import say
from tests.chaos.crowds import Fault
from tests.chaos.sites import UNHURRIED, Site, Way, open_site, provider_settings
from tests.support.provider import provider_on_a_thread
from tests.support.tcp_proxy import TcpProxy

KEY: Final = "sk-of-those-who-stay"
STREAMS_PER_CLIENT: Final = 5
DELAY: Final = 0.05
MOST_RECONNECT: Final = 2.0
SCOPES: Final = ("chat:read", "chat:write", "runs:read", "runs:write")
MINUTES: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many streams there are, and how long each of them takes and each server is left alone, in seconds."""

    streams: int = 100
    seconds: float = 15.0
    calm: float = 3.0
    stop_seconds: float = 1.0
    restarts: int = 2
    seed: int = 1

    @property
    def tokens(self) -> int:
        """How long each answer is."""
        return round(self.seconds / DELAY)

    @property
    def model(self) -> str:
        """What answers for so long."""
        return f"paced?tokens={self.tokens}&delay={DELAY}"

    @property
    def answer(self) -> str:
        """What it says."""
        return " ".join(f"w{number}" for number in range(self.tokens))


class Balancer(TcpProxy):
    """Connects to whichever of several servers takes connections."""

    def __init__(self, targets: Sequence[str], seed: int) -> None:
        super().__init__(targets[0], seed=seed)
        self._targets = tuple(targets)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for target in self.chance.sample(self._targets, len(self._targets)):
            host, _, port = target.rpartition(":")
            try:
                return await asyncio.open_connection(host, int(port))
            except OSError:
                continue
        raise ConnectionRefusedError


@dataclass(slots=True)
class Watch:
    """Notes how long a client's streams are away: from the end of one to the first event of the next, in seconds.

    A client reads each run once.
    """

    gaps: list[float]
    away: dict[str, float] = field(default_factory=dict)

    def broke(self, interruption: Interruption) -> None:
        """Hear that a stream ended."""
        self.away.setdefault(interruption.run_id, time.monotonic())

    def news(self, run_id: str) -> None:
        """Hear that a run's stream brought something."""
        if (since := self.away.pop(run_id, None)) is not None:
            self.gaps.append(time.monotonic() - since)


class Watching(NamedTuple):
    """A client, and what notes its breaks."""

    client: Client
    watch: Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the streams saw."""

    streams: int
    breaks: int
    attempts: int
    """The most attempts that a run took."""
    gaps: Sequence[float]

    @property
    def p99(self) -> float:
        """Seconds from the end of a stream to the first event of the next."""
        return percentiles(self.gaps)[1]

    def __str__(self) -> str:
        p50, p99 = percentiles(self.gaps)
        return (
            f"{self.streams} streams: nothing lost; {self.breaks} of them ended early, runs took up to {self.attempts}"
            f" attempts; read on after {p50:.2f} s (p50), {p99:.2f} (p99), {max(self.gaps):.2f} at most"
        )


async def restart_all(shape: Shape, site: Site) -> Outcome:
    """Stop and start two servers under the streams; raises ``Fault``."""
    rng = random.Random(shape.seed)
    gaps: list[float] = []
    async with _clients(site, shape, gaps) as clients, asyncio.timeout(MINUTES):
        conversations = [
            (await site.clients[0].conversation(model_settings=ModelSettings(model=f"openai/{shape.model}"))).id
            for _ in range(shape.streams // 2)
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(_restart(site, shape))
            reading = [
                group.create_task(_read(rng, clients, conversation_id, rng.uniform(0, shape.calm / 2)))
                for conversation_id in conversations
            ]
        streams = [stream for each in reading for stream in each.result()]
        await _check(site, shape, [each for each in conversations for _ in range(2)], streams)
    return Outcome(
        streams=len(streams),
        breaks=sum(stream.breaks for stream in streams),
        attempts=max(stream.fold.attempt for stream in streams),
        gaps=gaps,
    )


@asynccontextmanager
async def _clients(site: Site, shape: Shape, gaps: list[float]) -> AsyncIterator[list[Watching]]:
    created = await site.clients[0].ok("CreateApiKey", name="streams", scopes=SCOPES)
    async with AsyncExitStack() as stack:
        balancer = stack.enter_context(Balancer([server.address for server in site.servers], shape.seed).running())
        # Each has a connection of its own, although all go to one address.
        options = (("grpc.use_local_subchannel_pool", 1),)
        clients = []
        for _ in range(-(-shape.streams // STREAMS_PER_CLIENT)):
            watch = Watch(gaps)
            client = connect(
                balancer.address,
                credentials=ApiKey(key=created.secret),
                tls=False,
                options=options,
                listener=watch.broke,
            )
            clients.append(Watching(await stack.enter_async_context(client), watch))
        yield clients


async def _restart(site: Site, shape: Shape) -> None:
    for server in site.servers[: shape.restarts]:
        await asyncio.sleep(shape.calm)
        await server.stop()
        await server.start()


async def _read(rng: random.Random, clients: Sequence[Watching], conversation_id: str, wait: float) -> list[RunStream]:
    """Start a run, and read it twice to its end."""
    sender, watcher = rng.sample(clients, 2)
    await asyncio.sleep(wait)
    sending = sender.client.send(conversation_id, "Go on.")
    await anext(sending)
    watching = watcher.client.watch(sending.run_id)
    async with sending, watching, asyncio.TaskGroup() as group:
        group.create_task(_read_on(sending, sender.watch))
        group.create_task(_read_on(watching, watcher.watch))
    return [sending, watching]


async def _read_on(stream: RunStream, watch: Watch) -> None:
    async for _ in stream:
        watch.news(stream.run_id)


async def _check(site: Site, shape: Shape, conversations: Sequence[str], streams: Sequence[RunStream]) -> None:
    for conversation_id, stream in zip(conversations, streams, strict=True):
        stored = {
            each.id: "".join(part.text.text for part in each.parts)
            for each in await site.clients[1].messages(conversation_id)
            if each.model
        }
        seen = {message.id: message.text for message in stream.fold.messages.values()}
        end = stream.fold.end
        if end is None or end.WhichOneof("event") != "completed" or seen != stored:
            raise Fault(f"{stream.run_id}: a stream has {seen} and {end}, stored are {stored}")
        if list(stored.values()) != [shape.answer]:
            raise Fault(f"{stream.run_id}: stored are {stored}, sent was {shape.answer}")
        named = {message.message_id: message.text_sha256 for message in end.completed.messages}
        if named != {key: hashlib.sha256(text.encode()).hexdigest() for key, text in stored.items()}:
            raise Fault(f"{stream.run_id}: the run's end names {named}")


async def _show(shape: Shape) -> int:
    with tempfile.TemporaryDirectory() as directory, provider_on_a_thread(KEY) as provider:
        settings = {
            **provider_settings(provider, KEY, [shape.model]),
            **UNHURRIED,
            "stop_seconds": str(shape.stop_seconds),
        }
        async with open_site(Way.BOTH, Path(directory), settings) as site:
            outcome = await restart_all(shape, site)
    say(str(outcome))
    return int(outcome.p99 > MOST_RECONNECT)


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``rolling``."""
    options = commands.add_parser("rolling", help="two servers are stopped and started in turn under streams")
    options.add_argument("--streams", type=int, default=100)
    options.add_argument("--seconds", type=float, default=15.0, help="how long each of them takes")
    options.add_argument("--stop-seconds", type=float, default=1.0, help="CHATTER_STOP_SECONDS of the servers")
    options.add_argument("--seed", type=int, default=1)
    options.set_defaults(
        run=lambda given: asyncio.run(
            _show(Shape(streams=given.streams, seconds=given.seconds, stop_seconds=given.stop_seconds, seed=given.seed))
        )
    )
