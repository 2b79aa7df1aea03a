"""Any graph, whose processes die at any moment: every node has one message in the end, and none that had finished is
asked again (G1)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import combinations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.scripted import Pause, ScriptedChat
from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.graphs import GraphDefinition
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.checkpoints import CheckpointFilter
from chatter_grpc.core.runs.committer import CommitSettings
from chatter_grpc.core.runs.events import Entry, NodeFinished, NodeStarted
from chatter_grpc.core.runs.run import LogPosition, RunState
from tests.support.databases import PostgresDatabases, SqliteFiles
from tests.support.desk import add_caller
from tests.support.graphs import Steps, graph_of
from tests.support.records import store_conversation
from tests.support.replicas import Client, Faults, Process, stored_fold, stored_messages
from tests.support.waiting import run_alone, soon, until

COMMITS = CommitSettings(interval=0.002, retry_pause=0.002)
# Of those who are to die, and need not wait for it.
HURRIED = replace(COMMITS, give_up_after=0.5)
# Later nobody dies: a graph of five nodes has about as many moments.
MOMENTS = 60


@st.composite
def graphs(draw: st.DrawFn) -> GraphDefinition:
    """Draw up to five nodes, with edges from each to any of those after it."""
    ids = "abcde"[: draw(st.integers(1, 5))]
    edges = [pair for pair in combinations(ids, 2) if draw(st.booleans())]
    starts = [("start", id_) for id_ in ids if id_ not in {target for _, target in edges}]
    ends = [(id_, "end") for id_ in ids if id_ not in {source for source, _ in edges}]
    return graph_of([*starts, *edges, *ends])


@dataclass(slots=True)
class Death(Faults):
    """Takes the database away for ever at the given moment: before a transaction, at its commit, or just after it."""

    moment: int | None = None
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    at_death: Callable[[], None] = lambda: None

    def check(self) -> None:
        """See ``Faults``."""
        self.count()
        if self.away:
            raise StorageUnavailable

    lose_answer = check

    def count(self) -> None:
        """Let a moment pass."""
        if self.moment is not None:
            self.moment -= 1
            if self.moment <= 0 and not self.dead.is_set():
                self.dead.set()
                self.at_death()


class Killed(Exception):
    """A process that dies does not wait for its log as it does for a database that may come back."""


@dataclass(slots=True)
class DeathOfLog(Faults):
    """A death as the log of the process has it."""

    death: Death = field(default_factory=Death)

    def check(self) -> None:
        """See ``Faults``."""
        self.death.count()
        if self.death.away:
            raise Killed

    lose_answer = check


def steps_of(definition: GraphDefinition, pauses: Sequence[float]) -> Steps:
    """Return the graph with models of its own, each of which takes its time."""
    steps = Steps(definition)
    for id_, pause in zip(steps.ids, pauses, strict=False):
        pieces = [TextPiece(f"{word} ") for word in steps.text_of(id_).split()]
        script = [step for piece in pieces for step in (piece, Pause(pause))]
        steps.chats[id_] = ScriptedChat([*script, Finished(FinishReason.STOP)])
    return steps


async def play(url: str, lives: Sequence[Steps], deaths: Sequence[int]) -> None:
    """Have one process after the other work on a run, each of which dies but the last."""
    async with AsyncExitStack() as stack:
        database = Database(url)
        stack.push_async_callback(database.close)
        storage, log = SqlStorage(database), await open_committer(database)
        stack.push_async_callback(log.close)
        caller = await add_caller(storage, "ada")
        conversation = await store_conversation(storage, caller.owner_id, settings=ModelSettings())
        run_id, process, run, death = "", None, None, Death()
        for number, steps in enumerate(lives):
            commits = HURRIED if number < len(deaths) else COMMITS
            process = Process(storage, log, steps.models, name=f"p{number}", commits=commits, graphs=steps.graphs)
            death = Death(at_death=process.lose_database)
            process.faults = process.storage.faults = death
            process.log.faults = DeathOfLog(death=death)
            await stack.enter_async_context(process)
            if not run_id:
                run_id = await process.send(caller, conversation.id)
            else:
                async with storage.write() as tx:
                    await tx.runs.expire_leases()
                await process.take_over()
            death.moment = deaths[number] if number < len(deaths) else None
            active = process.supervisor
            await until(lambda death=death, active=active: death.dead.is_set() or not active.active_count)  # type: ignore[misc]
            async with storage.read() as tx:
                run = await tx.runs.get(caller.owner_id, run_id)
            if not run.state.active:
                break
        assert process is not None
        assert run is not None
        assert run.state is RunState.COMPLETED
        # Who died as the run had ended shows it no more; here it may.
        death.moment, death.away = None, False
        client = Client(process.runs.reader(run_id), caller)
        fold = await soon(client.read_to_end())
        messages = [each for each in await stored_messages(storage, caller, conversation.id) if each.model]
        assert list(fold.stored.items()) == [(message.id, message.text) for message in messages]
        in_log = await stored_fold(storage, run_id)
        assert [(key, message.text) for key, message in in_log.messages.items()] == list(fold.stored.items())
        ids = lives[0].ids
        assert Counter(message.text.strip() for message in messages) == Counter(map(Steps.text_of, ids))
        async with storage.read() as tx:
            assert not await tx.checkpoints.list(CheckpointFilter(run_id=run_id))
            entries = await tx.runs.read_log(run_id, LogPosition(), 1 << 30)
        check_calls(lives, entries)


def check_calls(lives: Sequence[Steps], entries: Sequence[Entry]) -> None:
    """Check that an attempt asked nodes at most once, none that had finished before, and each with what leads to it."""
    finished: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry.body, NodeFinished):
            assert entry.body.node_id not in finished
            finished[entry.body.node_id] = entry.attempt
        elif isinstance(entry.body, NodeStarted):
            assert entry.body.node_id not in finished
    assert set(finished) == set(lives[0].ids)
    for attempt, steps in enumerate(lives, 1):
        for id_, chat in steps.chats.items():
            assert len(chat.calls) <= 1
            for call in chat.calls:
                assert attempt <= finished[id_]
                told = Counter(turn.text.strip() for turn in call.request.turns)
                assert all(told[Steps.text_of(each)] == 1 for each in steps.before(id_))


@given(
    definition=graphs(),
    deaths=st.lists(st.integers(1, MOMENTS), max_size=2),
    pauses=st.lists(st.sampled_from([0.0, 0.001, 0.004]), min_size=5, max_size=5),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_node_has_one_message_whenever_processes_die(
    databases: SqliteFiles | PostgresDatabases, definition: GraphDefinition, deaths: list[int], pauses: list[float]
) -> None:
    lives = [steps_of(definition, pauses) for _ in range(len(deaths) + 1)]
    with databases.fresh() as url:
        run_alone(play(url, lives, deaths))
