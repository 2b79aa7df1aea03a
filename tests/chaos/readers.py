"""Readers of runs: the real client with its own way of reading on, and raw ones that check every number."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import grpc

from chatter_client.aio import Client, RunStream
from chatter_client.progress import Resumption
from chatter_grpc._gen.chatter.v1 import run_service_pb2
from chatter_grpc._gen.chatter.v1.run_service_pb2_grpc import RunServiceStub
from tests.support.fold import ClientFold

# Times of the client, as a program that is in a hurry would set them.
RESUMPTION: Final = Resumption(give_up_after=90.0, first_pause=0.05, longest_pause=0.5, silence=5.0)
DEADLINE: Final = 120.0
# Statuses of a server that is away or stops; a reader asks again.
AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
# A connection that is cut in mid-frame ends so, too.
BROKEN: Final = (*AWAY, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a reader saw of a run: its finished messages by id, in order, how it ended, and the usage at its end."""

    reader: str
    run_id: str
    messages: dict[str, str]
    end: str
    output_tokens: int
    estimated: bool
    attempt: int
    breaks: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that arrived: when by ``time.monotonic()``, from which server, its events' attempt and last number."""

    at: float
    server: int
    attempt: int
    seq: int


class Reader(Protocol):
    """Reads a run to its end."""

    async def read(self, run_id: str) -> Seen:
        """Read all of it, whatever happens to servers and connections meanwhile."""
        ...


async def read_stream(stream: RunStream, *, known: "asyncio.Future[str] | None" = None, name: str = "client") -> Seen:
    """Read a client's stream to its end, which checks gaps and hashes by itself; ``known`` gets the run's id."""
    async for _ in stream:
        if known is not None and not known.done():
            known.set_result(stream.run_id)
    fold = stream.fold
    assert fold.end is not None
    return Seen(
        reader=name,
        run_id=stream.run_id,
        messages={message.id: message.text for message in fold.messages.values()},
        end=str(fold.end.WhichOneof("event")),
        output_tokens=fold.usage.output_tokens,
        estimated=fold.usage.estimated,
        attempt=fold.attempt,
        breaks=stream.breaks,
    )


@dataclass(slots=True)
class ClientReader:
    """Watches with the real client, and leaves now and then to come back."""

    client: Client
    chance: random.Random
    leaves: float = 0.0
    """The share of events after which it leaves and comes back."""

    async def read(self, run_id: str) -> Seen:
        """See ``Reader``."""
        stream = self.client.watch(run_id)
        while self.leaves:
            async for _ in stream:
                if self.chance.random() < self.leaves:
                    break
            if stream.fold.end is not None:
                break
            await stream.aclose()
            await asyncio.sleep(self.chance.uniform(0, 0.5))
            stream = self.client.resume(stream.place)
        return await read_stream(stream, name="watching client")


@dataclass(slots=True)
class RawReader:
    """Calls WatchRun, or ListRunEvents where it ``polls``, on any of the channels, and folds for itself."""

    channels: Sequence[grpc.aio.Channel]
    metadata: Sequence[tuple[str, str]]
    chance: random.Random
    polls: bool = False
    leaves: float = 0.0
    """The share of frames after which it leaves and comes back, to any server."""
    stays: bool = False
    """Whether it comes back to the same server, the first channel's."""
    fold: ClientFold = field(default_factory=ClientFold)
    arrivals: list[Arrival] = field(default_factory=list)
    cursor: str = ""
    breaks: int = 0

    async def read(self, run_id: str) -> Seen:
        """See ``Reader``; raises ``StreamBroken`` at a gap, a repetition or a wrong hash."""
        give_up_at = time.monotonic() + DEADLINE
        while not self.fold.end:
            assert time.monotonic() < give_up_at, f"no end of {run_id} after {self.fold.attempt}/{self.fold.seq}"
            server = 0 if self.stays else self.chance.randrange(len(self.channels))
            stub: Any = RunServiceStub(self.channels[server])
            try:
                await (self._poll(stub, run_id, server) if self.polls else self._watch(stub, run_id, server))
            except grpc.aio.AioRpcError as error:
                if error.code() not in BROKEN:
                    raise
                self.breaks += 1
                await asyncio.sleep(self.chance.uniform(0.02, 0.2))
            else:
                self.breaks += not self.polls and not self.fold.end
        return Seen(
            reader="poller" if self.polls else "watcher",
            run_id=run_id,
            messages=self.fold.stored,
            end=self.fold.end,
            output_tokens=self.fold.usage.output_tokens,
            estimated=self.fold.usage.estimated,
            attempt=self.fold.attempt,
            breaks=self.breaks,
        )

    async def _watch(self, stub: Any, run_id: str, server: int) -> None:
        request = run_service_pb2.WatchRunRequest(run_id=run_id, cursor=self.cursor)
        call = stub.WatchRun(request, metadata=tuple(self.metadata), timeout=DEADLINE)
        try:
            while True:
                # A server that is held up says nothing, not even that it lives.
                async with asyncio.timeout(RESUMPTION.silence if not self.stays else DEADLINE):
                    frame = await call.read()
                if frame is grpc.aio.EOF:
                    return
                self._take(frame, server)
                if self.chance.random() < self.leaves:
                    return
        except TimeoutError:
            return
        finally:
            call.cancel()

    async def _poll(self, stub: Any, run_id: str, server: int) -> None:
        request = run_service_pb2.ListRunEventsRequest(
            run_id=run_id, cursor=self.cursor, page_size=self.chance.choice((1, 5, 50, 1000))
        )
        request.wait.FromMilliseconds(self.chance.choice((0, 200, 2000)))
        page = await stub.ListRunEvents(request, metadata=tuple(self.metadata), timeout=RESUMPTION.silence)
        self._take(page, server)
        if page.finished:
            assert self.fold.end, f"{run_id} is said to be finished after {self.fold.kinds}"
        elif not page.events:
            await asyncio.sleep(0.05)

    def _take(self, frame: Any, server: int) -> None:
        self.fold.take(frame.events)
        self.cursor = frame.cursor
        if frame.events:
            last = frame.events[-1]
            self.arrivals.append(Arrival(time.monotonic(), server, last.attempt, last.seq))


async def patiently(call: Any, request: Any, metadata: Sequence[tuple[str, str]], seconds: float = 60.0) -> Any:
    """Make a unary call until a server is there to answer it."""
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            return await call(request, metadata=tuple(metadata), timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() not in BROKEN or time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(0.1)
