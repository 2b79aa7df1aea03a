"""Cancel with proof: runs that are cancelled at any moment, by any way to their owner, some while the owner dies (G4).

What is measured is from when CancelRun was sent to when the provider saw its connection closed. What is checked: no
run comes back, the provider hears no more of it, its usage is reported, and every reader has what is stored.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.figures import percentiles
from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from chatter_grpc._gen.chatter.v1.run_pb2 import RunState
from chatter_grpc.core.runs.events import Deltas, MessageStarted
from tests.chaos.campaign import say
from tests.chaos.readers import RawReader, Seen
from tests.chaos.servers import LEASE_SECONDS
from tests.chaos.sites import Site, Way, open_site, provider_settings
from tests.support.provider import Provider, provider_on_a_thread
from tests.support.served import Stream, response_type
from tests.support.standin import Call
from tests.support.waiting import until

# Seconds within which the provider's connection is closed, by whether wake-ups work.
PROMPT: Final = 0.25
UNWOKEN: Final = 1.5
BATCH: Final = 12
# From the first to the last cancellation of a batch.
SPREAD: Final = 0.5
LEAD: Final = 1.5
# Longer than it takes to find a run whose owner is gone.
RECOVERY_SECONDS: Final = LEASE_SECONDS + 2.0
# So often the database is asked whether intents are there, before the owner is killed without them.
MOST_LOOKS: Final = 200
KEY: Final = "sk-of-the-cancelled"


class Moment(StrEnum):
    """Where a run is when it is cancelled."""

    WAITING = "waiting"
    """The provider has taken the request and said nothing."""
    BEGUN = "begun"
    """It has answered, without a token yet."""
    MIDDLE = "middle"
    """Tokens come."""
    LATE = "late"
    """The last tokens come, or came just before."""
    STALLED = "stalled"
    """Tokens came and come no more."""


# What the provider does, and how long before its cancellation a run begins, in seconds.
MODELS: Final = {
    Moment.WAITING: "waiting?mute=1",
    Moment.BEGUN: "begun?first_delay=600",
    Moment.MIDDLE: "middle?tokens=2000&delay=0.03",
    Moment.LATE: "late?tokens=25&delay=0.02",
    Moment.STALLED: "stalled?tokens=50&delay=0.01&after=10&fault=stall",
}
LEADS: Final = {
    Moment.WAITING: (0.03, 0.6),
    Moment.BEGUN: (0.05, 0.6),
    Moment.MIDDLE: (0.2, 1.5),
    Moment.LATE: (0.45, 0.6),
    Moment.STALLED: (0.4, 1.0),
}


class Fault(AssertionError):
    """A run that was not cancelled as it was promised."""


@dataclass(slots=True, kw_only=True)
class Trial:
    """One run, and what became of it. Times are by ``time.monotonic()``."""

    number: int
    way: Way
    moment: Moment
    conversation_id: str
    lead: float
    wait: float
    killed: bool
    run_id: str = ""
    sent_at: float = 0.0
    answer: Any = None
    """The run as CancelRun gave it, ``None`` where it had ended otherwise."""
    between: bool = False
    """Whether the intent was durable and the run not yet over when its owner was killed."""
    intended: bool = False
    """Whether the intent was durable when its owner was killed, or its owner lived."""
    streaming: "asyncio.Task[Stream] | None" = None
    watching: "asyncio.Task[Seen] | None" = None
    calls: list[Call] = field(default_factory=list)
    """What the provider was asked for it."""
    final: Any = None

    @property
    def text(self) -> str:
        """What the user says, by which the provider knows the trial."""
        return f"trial {self.number}."

    @property
    def closed_after(self) -> float | None:
        """Seconds from the cancellation to the end of the provider's connection, ``None`` where there was none."""
        calls = [call for call in self.calls if not call.complete]
        return max((call.connection.closed_at or time.monotonic()) - self.sent_at for call in calls) if calls else None


class Trials:
    """Runs trials on one site, in batches whose owner is killed or lives.

    The first server is the owner of all runs, the last one is asked to cancel them: they may be the same.
    """

    def __init__(self, way: Way, site: Site, provider: Provider, rng: random.Random) -> None:
        self._way = way
        self._site = site
        self._provider = provider
        self._rng = rng
        self._owner, self._canceller = site.clients[0], site.clients[-1]
        self._reviving: asyncio.Task[None] | None = None
        self.done: list[Trial] = []

    async def run_batch(self, first: int, count: int, *, kill: bool) -> None:
        """Run some trials at once; raises ``Fault``."""
        trials = [await self._make(first + number, kill=kill) for number in range(count)]
        start = asyncio.get_running_loop().time() + LEAD
        killing = asyncio.create_task(self._kill_owner(trials, start)) if kill else None
        async with asyncio.TaskGroup() as group:
            for trial in trials:
                group.create_task(self._cancel(trial, start, killing))
        for trial in trials:
            await self._check(trial)
        self.done.extend(trials)
        if self._reviving is not None:
            await self._reviving

    async def check_rest(self) -> None:
        """Wait for longer than it takes to find a lost run, and see that nothing came back; raises ``Fault``."""
        await asyncio.sleep(RECOVERY_SECONDS)
        for trial in self.done:
            run = await self._canceller.run(trial.run_id)
            if run != trial.final:
                raise Fault(f"{describe(trial)}: it was {trial.final} and is {run}")
            if len(self._calls_of(trial)) != len(trial.calls):
                raise Fault(f"{describe(trial)}: the provider was asked again")

    async def _make(self, number: int, *, kill: bool) -> Trial:
        moment = self._rng.choice(tuple(Moment))
        conversation = await self._owner.conversation()
        return Trial(
            number=number,
            way=self._way,
            moment=moment,
            conversation_id=conversation.id,
            lead=self._rng.uniform(*LEADS[moment]),
            # All at once where the owner is killed in between, so that it is in between for many.
            wait=self._rng.uniform(0, 0.02 if kill else SPREAD),
            killed=kill,
        )

    async def _cancel(self, trial: Trial, start: float, killing: "asyncio.Task[None] | None") -> None:
        await _sleep_until(start + trial.wait - trial.lead)
        await self._start(trial)
        await _sleep_until(start + trial.wait)
        trial.sent_at = time.monotonic()
        answer = await self._canceller.call("CancelRun", run_id=trial.run_id)
        if killing is not None:
            await killing
            while answer.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                await asyncio.sleep(0.1)
                answer = await self._canceller.call("CancelRun", run_id=trial.run_id)
        else:
            trial.intended = True
        if answer.code is grpc.StatusCode.OK:
            trial.answer = response_type("CancelRun").FromString(answer.responses[0]).run
        elif answer.reason != "RUN_ALREADY_FINISHED":
            raise Fault(f"{describe(trial)}: CancelRun ended with {answer.code} {answer.reason} {answer.message}")

    async def _start(self, trial: Trial) -> None:
        overrides = ModelSettings(model=f"openai/{MODELS[trial.moment]}")
        stream = self._owner.send(trial.conversation_id, trial.text, overrides=overrides)
        await stream.until(lambda read: bool(read.events))
        trial.run_id = stream.run_id

        async def read_on() -> Stream:
            await stream.to_end()
            return stream

        trial.streaming = asyncio.create_task(read_on())
        reader = RawReader(
            channels=(self._canceller.channel,), metadata=tuple(self._canceller.metadata), chance=self._rng
        )
        trial.watching = asyncio.create_task(reader.read(trial.run_id))

    async def _kill_owner(self, trials: Sequence[Trial], start: float) -> None:
        """Kill the owner as soon as some intents are durable, and have it begin to live again."""
        wanted = self._rng.randint(1, 3)
        hold = len(self._site.servers) > 1 and self._rng.random() < 0.5
        await _sleep_until(start)
        # Whoever is late has not begun: its run would not even start.
        await until(lambda: all(trial.run_id for trial in trials))
        if hold:
            # It can hear of no intent any more, and all of them are in between.
            self._site.servers[0].hold()
            wanted = len(trials)
        for _ in range(MOST_LOOKS):
            if len(await self._intended(trials)) >= wanted:
                break
            await asyncio.sleep(0.001)
        await self._site.servers[0].kill()
        intended = await self._intended(trials)
        for trial in trials:
            trial.intended = trial.run_id in intended
            trial.between = intended.get(trial.run_id) == "running"
        self._reviving = asyncio.create_task(self._site.servers[0].start())

    async def _intended(self, trials: Sequence[Trial]) -> dict[str, str]:
        """Return the states of those runs whose intent is durable."""
        started = [trial.run_id for trial in trials if trial.run_id]
        if not started:
            return {}
        found = await self._site.rows.query(
            "SELECT id, state FROM runs WHERE id BETWEEN $1 AND $2 AND cancel_requested_at IS NOT NULL",
            min(started),
            max(started),
        )
        return {row[0]: row[1] for row in found}

    async def _check(self, trial: Trial) -> None:
        assert trial.streaming is not None
        assert trial.watching is not None
        seen, stream = await trial.watching, await trial.streaming
        client = self._canceller
        trial.final = run = await client.run(trial.run_id)
        trial.calls = self._calls_of(trial)
        if trial.answer is None:
            if run.state != RunState.RUN_STATE_COMPLETED or not any(call.complete for call in trial.calls):
                raise Fault(f"{describe(trial)}: it is said to have finished, and is {run}")
        elif trial.answer != run or run.state != RunState.RUN_STATE_CANCELLED:
            raise Fault(f"{describe(trial)}: CancelRun gave {trial.answer}, and it is {run}")
        await self._check_usage(trial, run)
        stored = {
            message.id: "".join(part.text.text for part in message.parts)
            for message in await client.messages(trial.conversation_id)
            if message.model
        }
        if seen.messages != stored or seen.end != ("completed" if trial.answer is None else "cancelled"):
            raise Fault(f"{describe(trial)}: a reader has {seen}, stored are {stored}")
        if stream.fold.end and stream.fold.stored != stored:
            raise Fault(f"{describe(trial)}: the sender has {stream.fold.stored}, stored are {stored}")
        if seen.end == "cancelled" and (trial.intended or not trial.killed) and len(trial.calls) > 1:
            raise Fault(f"{describe(trial)}: the provider was asked {len(trial.calls)} times")
        await self._check_closed(trial)

    def _calls_of(self, trial: Trial) -> list[Call]:
        return [call for call in tuple(self._provider.calls) if call.body["messages"][-1]["content"] == trial.text]

    async def _check_usage(self, trial: Trial, run: Any) -> None:
        """See that what the log has of the model's calls is paid for; who is killed may take the rest along."""
        stored = (await self._site.rows.runs([trial.run_id]))[trial.run_id]
        asked = any(isinstance(entry.body, MessageStarted) for entry in stored.entries)
        said = any(isinstance(entry.body, Deltas) for entry in stored.entries)
        if (asked and not run.usage.input_tokens) or (said and not run.usage.output_tokens):
            raise Fault(f"{describe(trial)}: the usage is {run.usage} after {[call.sent for call in trial.calls]}")
        if not trial.killed and trial.calls and not run.usage.input_tokens:
            raise Fault(f"{describe(trial)}: the provider was asked, and nobody knows")

    async def _check_closed(self, trial: Trial) -> None:
        for call in trial.calls:
            give_up_at = time.monotonic() + 5
            while not call.complete and call.connection.closed_at is None:
                if time.monotonic() > give_up_at:
                    raise Fault(f"{describe(trial)}: the provider's connection is still open")
                await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the trials of one way showed. Times are milliseconds to the end of the provider's connection."""

    way: Way
    trials: int
    killed: int
    between: int
    """Runs whose owner was killed when their intent was durable and they were not over."""
    finished: int
    """Runs that had completed before."""
    closed_ms: Sequence[float]
    """Of those whose owner lived, in order."""

    def __str__(self) -> str:
        p50, p99 = percentiles(self.closed_ms)
        return (
            f"{self.way}: {self.trials} trials, {self.killed} with their owner killed ({self.between} between intent"
            f" and end), {self.finished} had completed; closed after {p50:.0f} ms (p50), {p99:.0f} (p99),"
            f" {max(self.closed_ms):.0f} at most"
        )


async def try_way(way: Way, count: int, seed: int, site: Site, provider: Provider, batch: int = BATCH) -> Outcome:
    """Run so many trials by one way, a third of their batches with a kill; raises ``Fault``."""
    trials = Trials(way, site, provider, random.Random(f"{seed} {way}"))
    for number, first in enumerate(range(0, count, batch)):
        await trials.run_batch(first, min(batch, count - first), kill=number % 3 == 1)
    await trials.check_rest()
    if provider.standin.refused:
        raise Fault(f"the provider refused: {provider.standin.refused}")
    alive = [trial.closed_after for trial in trials.done if not trial.killed]
    return Outcome(
        way=way,
        trials=len(trials.done),
        killed=sum(trial.killed for trial in trials.done),
        between=sum(trial.between for trial in trials.done),
        finished=sum(trial.answer is None for trial in trials.done),
        closed_ms=sorted(1000 * seconds for seconds in alive if seconds is not None),
    )


async def _sleep_until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))


def describe(trial: Trial) -> str:
    """Name a trial so that it can be found again."""
    return f"trial {trial.number} ({trial.way}, {trial.moment}, {'owner killed' if trial.killed else 'owner alive'})"


async def try_all(ways: Sequence[Way], count: int, seed: int) -> int:
    """Run so many trials in all, print what they showed, and return the exit code."""
    outcomes = []
    for number, way in enumerate(ways):
        share = count // len(ways) + (number < count % len(ways))
        with tempfile.TemporaryDirectory() as directory, provider_on_a_thread(KEY) as provider:
            settings = provider_settings(provider, KEY, list(MODELS.values()))
            async with open_site(way, Path(directory), settings) as site:
                outcomes.append(await try_way(way, share, seed, site, provider))
        say(str(outcomes[-1]))
    woken = [ms for each in outcomes if each.way is not Way.LOST for ms in each.closed_ms]
    unwoken = [ms for each in outcomes if each.way is Way.LOST for ms in each.closed_ms]
    return max(judge("while wake-ups work", woken, PROMPT), judge("where they are lost", unwoken, UNWOKEN))


def judge(when: str, closed_ms: Sequence[float], limit: float) -> int:
    """Say what the 99th percentile is; return 1 where that is more than is allowed."""
    if not closed_ms:
        return 0
    p50, p99 = percentiles(closed_ms)
    say(f"{when}: closed after {p50:.0f} ms (p50), {p99:.0f} (p99) of {len(closed_ms)}; allowed are {limit * 1000:.0f}")
    return int(p99 > limit * 1000)


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``cancels``."""
    options = commands.add_parser("cancels", help="runs that are cancelled at any moment, by all ways to their owner")
    options.add_argument("--trials", type=int, default=500, help="how many runs in all; a third of them with a kill")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--way", choices=list(Way), action="append", help="this way alone; may be repeated")
    options.set_defaults(
        run=lambda given: asyncio.run(try_all([Way(way) for way in given.way or list(Way)], given.trials, given.seed))
    )
