"""Servers that are held up past their leases and wake up again: nothing of what they then do may be seen or stored."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chatter_client import ApiKey
from chatter_client.aio import connect
from tests.chaos.callers import OPTIONS, Callers, callers_of, new_conversation
from tests.chaos.checker import Evidence, judge
from tests.chaos.disasters import Happened, Kind
from tests.chaos.gathering import gather, left_over
from tests.chaos.provider import chaos_provider
from tests.chaos.readers import RESUMPTION, RawReader, Seen, read_stream
from tests.chaos.rows import Rows
from tests.chaos.servers import LEASE_SECONDS, Fleet, fleet

# After so long the server that woke up has closed its connections to the provider.
CLOSED_WITHIN: Final = 5.0
# In so long another server takes the runs over, on a machine that does much else.
TAKEN_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """So many runs whose server is held up, of which ``size`` at a time share that."""

    storage: str
    seed: int
    trials: int
    size: int = 8


@dataclass(slots=True, kw_only=True)
class Woken:
    """What came of them; ``faults`` is empty where all is well."""

    trials: int = 0
    holds: int = 0
    take_overs: list[float] = field(default_factory=list)
    closings: list[float] = field(default_factory=list)
    """Seconds from waking up until a connection to the provider was closed."""
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """Return it in a line."""
        taken = statistics.median(self.take_overs) if self.take_overs else 0.0
        return (
            f"{self.trials} trials in {self.holds} holds: taken over after {taken:.2f} s (p50),"
            f" {len(self.closings)} connections to the provider closed within {max(self.closings, default=0):.2f} s"
            f" of waking up; {self.seconds:.0f} s, {len(self.faults)} failures"
        )


@dataclass(slots=True, kw_only=True)
class Trial:
    """A run, with what reads it at the server that is held up."""

    tag: str
    run_id: str = ""
    here: RawReader
    """Stays with the server that is held up."""
    reading: list["asyncio.Task[Seen]"] = field(default_factory=list)


async def run_zombies(trials: Trials, directory: Path) -> Woken:
    """Serve, hold up, and check, until there were so many trials."""
    with chaos_provider() as provider:
        async with fleet(trials.storage, directory, provider) as servers:
            return await hold_all(servers, trials)


async def hold_all(servers: Fleet, trials: Trials) -> Woken:
    """Hold the servers of a fleet up, one after the other, until there were so many trials."""
    began, result = time.monotonic(), Woken()
    async with callers_of(servers, f"zombies-{trials.seed}-{int(time.time() * 1000)}") as callers:
        while result.trials < trials.trials and not result.faults:
            size = min(trials.size, trials.trials - result.trials)
            await _Hold(servers, callers, trials, result.holds, size).play(result)
            result.holds += 1
            servers.provider.forget()
    result.seconds = time.monotonic() - began
    return result


class _Hold:
    """Some runs at one server, which is held up while they are at work."""

    def __init__(self, servers: Fleet, callers: Callers, trials: Trials, number: int, size: int) -> None:
        self._servers = servers
        self._callers = callers
        self._tags = [f"calm/{trials.seed}/{number}/{each}" for each in range(size)]
        self._chance = random.Random(f"{trials.storage} {trials.seed} {number}")
        self._number = self._chance.randrange(len(servers.servers))
        self._held = servers.servers[self._number]
        self._rows = Rows(servers.url)

    async def play(self, result: Woken) -> None:
        """Start the runs, hold the server up until others have them, wake it up, and check."""
        trials = await asyncio.gather(*(self._begin(tag) for tag in self._tags))
        run_ids = [trial.run_id for trial in trials]
        await asyncio.sleep(self._chance.uniform(0, 1.5))
        held_at, wall = time.monotonic(), time.time()
        self._held.hold()
        try:
            taken = await self._until_taken(run_ids)
            await asyncio.sleep(self._chance.uniform(0, 1.0))
            before = await self._rows.last_seqs(run_ids)
        finally:
            woken_at = time.monotonic()
            self._held.go_on()
        hold = Happened(kind=Kind.HOLD, server=self._number, began=held_at, ended=woken_at, wall=wall)
        seen = {trial.tag: await asyncio.gather(*trial.reading) for trial in trials}
        after = await self._rows.last_seqs(run_ids)
        found = await gather(self._servers, self._callers, self._servers.graph, seen, [hold])
        by_run = {trial.run_id: trial for trial in trials}
        for evidence in found:
            run_id = evidence.run.id
            if evidence.run.attempt == 1:
                # It ended before the server was held up, or the server woke up in time.
                continue
            result.trials += 1
            faults = judge(evidence).faults
            if run_id in taken and before[run_id][1] != after[run_id][1]:
                faults.append(f"rows of attempt 1 ended at {before[run_id][1]}, and now at {after[run_id][1]}")
            faults += _shown_late(by_run[run_id].here, woken_at, after[run_id][1][-1])
            faults += _left_open(evidence, held_at, woken_at, result)
            result.faults += [f"{evidence.tag} ({run_id}): {fault}" for fault in faults]
            result.take_overs += judge(evidence).take_overs
        result.faults += await left_over(self._servers)

    async def _begin(self, tag: str) -> Trial:
        """Start a run at the server, and read it there and elsewhere."""
        metadata, channels = self._callers.metadata, self._callers.channels
        chance = random.Random(f"{tag} {self._number}")
        await asyncio.sleep(chance.uniform(0, 0.5))
        conversation_id = await new_conversation(self._callers)
        here = RawReader([channels[self._number]], metadata, chance, stays=True)
        elsewhere = RawReader([channels[1 - self._number]] if len(channels) > 1 else channels, metadata, chance)
        trial = Trial(tag=tag, here=here)
        known: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        trial.reading.append(asyncio.create_task(self._send(conversation_id, tag, known)))
        trial.run_id = await known
        trial.reading += [asyncio.create_task(reader.read(trial.run_id)) for reader in (here, elsewhere)]
        return trial

    async def _send(self, conversation_id: str, tag: str, known: "asyncio.Future[str]") -> Seen:
        key = dict(self._callers.metadata)["authorization"].removeprefix("Bearer ")
        async with connect(
            self._held.address, credentials=ApiKey(key=key), tls=False, options=OPTIONS, resumption=RESUMPTION
        ) as client:
            stream = client.send(conversation_id, f"Take your time. chaos:{tag}", request_id=tag.replace("/", "-"))
            return await read_stream(stream, known=known)

    async def _until_taken(self, run_ids: Sequence[str]) -> set[str]:
        """Return the runs that another server has taken over, once it has; on one server, none after a while."""
        if len(self._servers.servers) == 1:
            await asyncio.sleep(LEASE_SECONDS + self._chance.uniform(0.1, 1.5))
            return set()
        give_up_at = time.monotonic() + TAKEN_WITHIN
        while True:
            rows = await self._rows.query(
                "SELECT id, attempt, state FROM runs WHERE id BETWEEN $1 AND $2", min(run_ids), max(run_ids)
            )
            of_these = [(run_id, attempt, state) for run_id, attempt, state in rows if run_id in run_ids]
            if all(attempt > 1 or state != "running" for _, attempt, state in of_these):
                return {run_id for run_id, attempt, _ in of_these if attempt > 1}
            assert time.monotonic() < give_up_at, f"not taken over: {of_these}"
            await asyncio.sleep(0.05)


def _shown_late(reader: RawReader, woken_at: float, committed: int) -> list[str]:
    """What the server showed of its old attempt after it had woken up that was not in the log."""
    late = [each for each in reader.arrivals if each.at > woken_at and each.attempt == 1 and each.seq > committed]
    return [f"the woken server showed attempt 1 up to {each.seq} of {committed} committed" for each in late]


def _left_open(evidence: Evidence, held_at: float, woken_at: float, result: Woken) -> list[str]:
    """Which of the old attempt's calls of the provider were left open."""
    faults = []
    # One that the provider has ended by itself may serve again.
    for call in [
        call for call in evidence.calls if call.started_at < held_at and not call.complete and not call.failed
    ]:
        closed_at = call.connection.closed_at
        if closed_at is None or closed_at > woken_at + CLOSED_WITHIN:
            faults.append(f"the old attempt's connection to the provider was closed at {closed_at}, not {woken_at}")
        else:
            result.closings.append(max(0.0, closed_at - woken_at))
    return faults
