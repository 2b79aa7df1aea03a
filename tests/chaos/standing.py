"""Readers that stop reading, in a process of their own: all that they find when they read on is nobody else's work."""

import asyncio
import fcntl
import json
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from time import monotonic_ns
from typing import Any, Final

import uvloop

from benchmarks.answers import AnswerPlan
from benchmarks.load.calls import MESSAGE_HEAD, Call, CallSpec, split_messages
from benchmarks.load.connection import Connection
from benchmarks.load.folding import StreamFault, StreamRecord, Wire, fold_messages, read_stream
from benchmarks.processes import python_command
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import SendMessageResponse
from tests.chaos.campaign import say

HOST: Final = "127.0.0.1"
DEADLINE: Final = 60.0
STANDING: Final = "standing"
READ_ON: Final = "read on"
# Who gets a token so many nanoseconds after it was due has caught up.
SOON_NS: Final = 100_000_000


class Faults(AssertionError):
    """Readers that did not come to what the provider sent and the database holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What those who stop reading are to do: make the calls, one for each of them, and come to the planned answer.

    ``window`` is what each grants its stream, in bytes; ``seconds`` is how long they may take after they read on.
    """

    port: int
    window: int
    seconds: float
    plan: AnswerPlan
    calls: Sequence[CallSpec]

    def write(self) -> str:
        """Return it as a line."""
        calls = [(call.path, call.request.hex(), call.metadata) for call in self.calls]
        return json.dumps({**asdict(self), "calls": calls})

    @classmethod
    def read(cls, line: str) -> "Order":
        """Return what a line holds."""
        given: dict[str, Any] = json.loads(line)
        calls = [
            CallSpec(
                path=path, request=bytes.fromhex(request), metadata=tuple((name, value) for name, value in metadata)
            )
            for path, request, metadata in given.pop("calls")
        ]
        return cls(**{**given, "plan": AnswerPlan(**given["plan"]), "calls": calls})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What those who stopped reading came to: the SHA-256 of each one's text, in hex, and when all had caught up.

    The time is of the machine's monotonic clock, in nanoseconds. From then on they are readers like all others.
    """

    texts: list[str]
    caught_up_at: int


class Reading:
    """A call that was made, and its end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.call = Call(on_end=lambda _: self.ended.set())

    async def first_message(self) -> SendMessageResponse:
        """Return the first frame once it is there."""
        async with asyncio.timeout(DEADLINE):
            while True:
                whole = b"".join(chunk for _, chunk in self.call.chunks)
                size = MESSAGE_HEAD.size
                if len(whole) >= size and len(whole) >= (end := size + MESSAGE_HEAD.unpack_from(whole)[1]):
                    return SendMessageResponse.FromString(whole[size:end])
                if self.ended.is_set():
                    raise Faults(f"a call ended at once: {self.call.fault()}")
                await asyncio.sleep(0.005)


class SlowConnection(Connection):
    """A connection of one reader, which leaves its socket alone when it is told to."""

    def hold(self) -> None:
        """Read nothing more."""
        assert self._transport is not None
        self._transport.pause_reading()

    def unread(self) -> int:
        """Return how many bytes wait in the socket."""
        waiting = bytearray(4)
        if self._transport is not None:
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.FIONREAD, waiting)
        return int.from_bytes(waiting, sys.byteorder)

    def go_on(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()


class Crowd:
    """The process of those who stop reading, as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def come(self, order: Order) -> None:
        """Have all of them come and stop at their first frames, until the server can send them nothing more."""
        self._tell(order.write())
        if (said := await self._hear(DEADLINE)) != STANDING:
            raise Faults(said)

    def read_on(self) -> None:
        """Have all of them read to the end."""
        self._tell(READ_ON)

    async def came_to(self, seconds: float) -> "Outcome":
        """Return what all of them came to; raises ``Faults`` where one did not come to the answer."""
        said = json.loads(await self._hear(seconds))
        if fault := said.get("fault"):
            raise Faults(fault)
        return Outcome(**said)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def _hear(self, seconds: float) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            line = await self._process.stdout.readline()
        if not line:
            raise Faults("the process of the slow readers ended")
        return line.decode().strip()


@asynccontextmanager
async def gathered() -> AsyncIterator[Crowd]:
    """Start the process, and end it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*python_command("tests.chaos.standing"), stdin=pipe, stdout=pipe)
    try:
        yield Crowd(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def connect(connection: Connection, port: int) -> None:
    """Connect to a port of this machine."""
    await asyncio.get_running_loop().create_connection(lambda: connection, HOST, port)


async def stand(order: Order) -> list[tuple[SlowConnection, Reading]]:
    """Make the calls one after the other, and stop reading at the first frame of each."""
    standing = []
    for spec in order.calls:
        # They come one after the other; all that makes them many is that none goes.
        connection, reading = SlowConnection(f"{HOST}:{order.port}", window=order.window), Reading()
        await connect(connection, order.port)
        connection.start(spec, reading.call)
        await reading.first_message()
        connection.hold()
        standing.append((connection, reading))
    return standing


async def sent_all(standing: Sequence[tuple[SlowConnection, Reading]]) -> None:
    """Return once the server has sent all that it may to those who do not read."""
    async with asyncio.timeout(DEADLINE):
        before, now = -1, 0
        while now != before:
            await asyncio.sleep(1.0)
            before, now = now, sum(connection.unread() for connection, _ in standing)


async def follow(order: Order) -> Outcome:
    """Read to the end as soon as that is said; raises ``Faults``."""
    async with AsyncExitStack() as connections:
        standing = await stand(order)
        for connection, _ in standing:
            connections.callback(connection.close)
        await sent_all(standing)
        say(STANDING)
        assert (await asyncio.to_thread(sys.stdin.readline)).strip() == READ_ON
        went_on_at = monotonic_ns()
        for connection, _ in standing:
            connection.go_on()
        async with asyncio.timeout(order.seconds):
            for _, reading in standing:
                await reading.ended.wait()
    texts, caught_up_at = [], went_on_at
    for number, (_, reading) in enumerate(standing):
        try:
            record = read_stream(reading.call, Wire.RUN, order.plan)
            text = fold_messages(Wire.RUN, split_messages(reading.call.chunks)).text
        except StreamFault as fault:
            raise Faults(f"slow reader {number}: {fault}") from fault
        texts.append(sha256(text.encode()).hexdigest())
        caught_up_at = max(caught_up_at, caught_up(record, order.plan, went_on_at))
    return Outcome(texts=texts, caught_up_at=caught_up_at)


def caught_up(record: StreamRecord, plan: AnswerPlan, went_on_at: int) -> int:
    """Return when a reader that went on at some time first got a token as soon as others do, or came to the end."""
    for index, late in enumerate(record.lateness):
        arrived = record.epoch + round(index * plan.interval_ns) + late
        if arrived > went_on_at and late < SOON_NS:
            return arrived
    return record.ended


async def main() -> None:
    """Do what the line that comes first says, and say what came of it."""
    order = Order.read(await asyncio.to_thread(sys.stdin.readline))
    try:
        said: dict[str, Any] = asdict(await follow(order))
    except (Faults, TimeoutError) as fault:
        said = {"fault": str(fault) or "the slow readers did not come to the end in time"}
    say(json.dumps(said))


if __name__ == "__main__":
    uvloop.run(main())
