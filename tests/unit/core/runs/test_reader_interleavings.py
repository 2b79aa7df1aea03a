"""Whatever happens in whatever order, what a reader saw folds to what the log folds to."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs.events import (
    BARRIERS,
    AttemptStarted,
    Batch,
    DeltaKind,
    Deltas,
    Entry,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    RunCompleted,
    RunFailed,
    RunStarted,
    StoredMessage,
)
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.runs.reader import Readers, RunReader
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.usage import Usage
from tests.support.run_logs import MemoryLog, Single, singles
from tests.support.waiting import run_alone

MESSAGES = ("a", "b")
FIRST = (
    Entry(1, 1, "", 0, RunStarted("run", "conv", "msg")),
    Entry(2, 1, "", 0, AttemptStarted()),
    Entry(3, 1, "a", 0, MessageStarted("a", Role.ASSISTANT, "x/y", "x")),
    Entry(4, 1, "b", 0, MessageStarted("b", Role.ASSISTANT, "x/y", "x")),
)


@dataclass(slots=True)
class Watcher:
    """A client: it reads when the test lets it, and may come again with the last cursor that reached it."""

    readers: Readers
    reader: RunReader
    cursor: LogPosition = field(default_factory=LogPosition)
    entries: list[Entry] = field(default_factory=list)
    pending: "asyncio.Task[Any] | None" = None
    over: bool = False

    async def look(self) -> None:
        if self.over:
            return
        if self.pending is None:
            self.pending = asyncio.create_task(self.reader.next())
        for _ in range(8):
            await asyncio.sleep(0)
        if self.pending.done():
            chunk, self.pending = self.pending.result(), None
            if chunk is None:
                self.over = True
            else:
                self.entries += chunk.entries
                self.cursor = chunk.position

    async def leave(self) -> None:
        """Go, with what is on its way to the client lost."""
        if self.pending is not None:
            self.pending.cancel()
            await asyncio.wait((self.pending,))
            self.pending = None
        await self.reader.__aexit__(None, None, None)

    async def come_again(self) -> None:
        await self.leave()
        self.reader = RunReader(self.readers, "run", self.cursor)
        await self.reader.__aenter__()


@dataclass(slots=True)
class Poller(Watcher):
    """A client that asks for page after page, of so many events each, and waits for each as long as it takes."""

    count: int = 1
    largest: int = 0

    async def look(self) -> None:
        if self.over:
            return
        if self.pending is None:
            self.pending = asyncio.create_task(self.poll())
        for _ in range(8):
            await asyncio.sleep(0)
        if self.pending.done():
            # What was on its way when a client left is asked for again.
            await self.pending
            self.pending = None

    async def poll(self) -> None:
        async with RunReader(self.readers, "run", self.cursor) as reader:
            page = await reader.page(self.count, 3600)
        self.entries += page.entries
        self.cursor, self.over = page.position, page.finished
        self.largest = max(self.largest, events_of(page.entries))

    async def come_again(self) -> None:
        if self.pending is not None and not self.pending.done():
            self.pending.cancel()
            await asyncio.wait((self.pending,))
            self.pending = None


def events_of(entries: Iterable[Entry]) -> int:
    """Return how many events entries are on the wire, where adjacent deltas of one message and step are one."""
    bodies = [(entry.step_id, entry.attempt, entry.body) for entry in entries]
    keys = [
        (step_id, attempt, body.kind, body.message_id) if isinstance(body, Deltas) else place
        for place, (step_id, attempt, body) in enumerate(bodies)
    ]
    return sum(1 for _ in groupby(keys))


class World:
    """A run, the process that it is at work in, another process, and four clients of each."""

    def __init__(self, kept: int) -> None:
        self.log = MemoryLog()
        self.log.batches["run"] = [Batch("run", 1, FIRST)]
        self.wakeups = MemoryWakeUps()
        self.tail = Tail("run", 1, FIRST, 4, kept)
        self.live = True
        self.written: list[Single] = singles(FIRST)
        self.texts = dict.fromkeys(MESSAGES, "")
        self.finished: list[str] = []
        here = Readers(self.log.storage, self.wakeups, lambda _: self.tail if self.live else None, 3600)
        there = Readers(self.log.storage, self.wakeups, lambda _: None, 3600)
        both = (here, there)
        self.watchers = [
            *(Watcher(readers, RunReader(readers, "run", LogPosition())) for readers in both * 2),
            *(
                Poller(readers, RunReader(readers, "run", LogPosition()), count=count)
                for readers, count in zip(both * 2, (1, 2, 1000, 3), strict=True)
            ),
        ]

    def note(self) -> None:
        """Remember what the tail was given, also where nobody looks at it."""
        entry = self.tail._entries[-1]
        self.written += [single for single in singles([entry]) if single[0] > self.written[-1][0]]

    def say(self, message: str, text: str) -> None:
        if message not in self.finished:
            self.tail.append_delta(message, DeltaKind.TEXT, message, text)
            self.texts[message] += text
            self.note()

    def finish(self, message: str) -> None:
        if message not in self.finished:
            self.finished.append(message)
            sha = sha256_of(self.texts[message])
            self.tail.append(message, MessageFinished(message, sha, FinishReason.STOP, Usage(), 1))
            self.note()
            self.tail.append(message, NodeFinished(message))
            self.note()

    def stored(self) -> tuple[StoredMessage, ...]:
        return tuple(StoredMessage(message, sha256_of(self.texts[message])) for message in self.finished)

    async def commit(self) -> None:
        batch = self.tail.take()
        if batch is not None:
            assert not await self.log.commit([batch])
            self.tail.mark_committed(batch, self.tail.size)
            self.wakeups.notify(("run",))

    async def complete(self) -> None:
        for message in MESSAGES:
            self.finish(message)
        self.tail.append("", RunCompleted(self.stored(), Usage()))
        self.note()
        await self.commit()
        self.live = False

    async def lose(self) -> None:
        """Another process takes the run over, folds its log, and ends it."""
        fold = Fold()
        fold.take(self.log.entries("run"))
        kept = [message for message in fold.messages.values() if message.finished is not None]
        stored = tuple(StoredMessage(m.started.message_id, sha256_of(m.text)) for m in kept)
        last = RunFailed("RUN_INTERRUPTED", "", stored, Usage())
        seq = self.log.entries("run")[-1].seq + 1
        self.log.attempts["run"] = 2
        self.log.batches["run"].append(Batch("run", 2, (Entry(seq, 2, "", 0, last),)))
        self.tail.mark_lost()
        self.live = False
        self.wakeups.notify(("run",))


def folded(entries: list[Entry]) -> dict[str, str]:
    fold = Fold()
    fold.take(entries)
    assert fold.end is not None
    found = {}
    for key, message in fold.messages.items():
        assert message.finished is not None
        assert message.finished.text_sha256 == sha256_of(message.text)
        found[key] = message.text
    assert {message.message_id for message in fold.end.messages} == set(found)
    return found


WATCHER = st.integers(min_value=0, max_value=7)
ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(MESSAGES), st.text(min_size=1, max_size=40)),
    st.tuples(st.just("finish"), st.sampled_from(MESSAGES)),
    st.tuples(st.just("commit")),
    st.tuples(st.just("look"), WATCHER),
    st.tuples(st.just("look"), WATCHER),
    st.tuples(st.just("come_again"), WATCHER),
)


async def play(actions: list[tuple[object, ...]], *, kept: int, lost: bool) -> World:
    world = World(kept)
    for watcher in world.watchers:
        await watcher.reader.__aenter__()
    for action in actions:
        match action:
            case ("say", str(message), str(text)):
                world.say(message, text)
            case ("finish", str(message)):
                world.finish(message)
            case ("commit",):
                await world.commit()
            case ("look", int(number)):
                await world.watchers[number].look()
            case ("come_again", int(number)):
                await world.watchers[number].come_again()
    await (world.lose() if lost else world.complete())
    async with asyncio.timeout(60):
        for watcher in world.watchers:
            while not watcher.over:
                await watcher.look()
            await watcher.leave()
    return world


@settings(deadline=None)
@given(st.lists(ACTIONS, max_size=40), st.sampled_from([0, 150, 100_000]))
def test_every_reader_of_a_run_that_completes_sees_its_log(actions: list[tuple[object, ...]], kept: int) -> None:
    world = run_alone(play(actions, kept=kept, lost=False))
    assert singles(world.log.entries("run")) == world.written
    for watcher in world.watchers:
        assert singles(watcher.entries) == world.written
        assert folded(watcher.entries) == world.texts


@settings(deadline=None)
@given(st.lists(ACTIONS, max_size=40), st.sampled_from([0, 150, 100_000]))
def test_every_reader_of_a_run_that_is_lost_comes_to_what_was_stored(
    actions: list[tuple[object, ...]], kept: int
) -> None:
    world = run_alone(play(actions, kept=kept, lost=True))
    committed = singles(world.log.entries("run"))
    expected = folded(world.log.entries("run"))
    for watcher in world.watchers:
        *seen, last = singles(watcher.entries)
        assert last == committed[-1]
        assert seen == world.written[: len(seen)]
        assert len(seen) >= len(committed) - 1, "nothing that is committed was passed over"
        for what in seen[len(committed) - 1 :]:
            assert not isinstance(what[3], BARRIERS), "a barrier was shown that was never committed"
        assert folded(watcher.entries) == expected


@settings(deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_no_page_holds_more_events_than_asked_for(actions: list[tuple[object, ...]]) -> None:
    world = run_alone(play(actions, kept=100_000, lost=False))
    pollers = [watcher for watcher in world.watchers if isinstance(watcher, Poller)]
    assert len(pollers) == 4
    assert all(poller.largest <= poller.count for poller in pollers)
