"""One round: some dozens of runs, the disasters that they share, and what is found wrong when all is over."""

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chatter_client.aio import Client
from chatter_grpc._gen.chatter.v1 import run_service_pb2
from chatter_grpc._gen.chatter.v1.content_pb2 import ContentPart, TextPart
from tests.chaos.callers import Callers, callers_of, new_conversation
from tests.chaos.checker import Evidence, Verdict, judge
from tests.chaos.disasters import ENDING, Happened, Planned, let_happen, plan_disasters
from tests.chaos.gathering import gather, left_over
from tests.chaos.readers import ClientReader, RawReader, Reader, Seen, patiently, read_stream
from tests.chaos.servers import Fleet

ROUND_SECONDS: Final = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """What a round is made from; the same gives the same round, as far as machines do the same twice."""

    storage: str
    seed: int
    number: int
    runs: int
    graph: str = ""
    profile: str = "mixed"
    opening: float = 3.0
    """Runs begin within so many seconds, and disasters come within somewhat more."""
    planned: tuple[Planned, ...] | None = None
    """The disasters, where they are not to be left to chance."""

    @property
    def name(self) -> str:
        """The round's own name, which begins the names of its runs."""
        return f"{self.profile}/{self.seed}/{self.number}"

    @property
    def command(self) -> str:
        """What repeats it."""
        graph = f" --graph {self.graph}" if self.graph else ""
        return (
            f"python -m tests.chaos runs --storage {self.storage} --seed {self.seed} --only {self.number}"
            f" --size {self.runs}{graph}"
        )


@dataclass(slots=True, kw_only=True)
class RoundResult:
    """What came of a round; ``faults`` is empty where all is well."""

    number: int
    runs: int = 0
    attempts: int = 0
    readers: int = 0
    breaks: int = 0
    interrupted: int = 0
    unasked: int = 0
    """Attempts that no disaster explains: a machine too busy for short leases."""
    seconds: float = 0.0
    disasters: dict[str, int] = field(default_factory=dict)
    provider_faults: dict[str, int] = field(default_factory=dict)
    take_overs: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


async def play(fleet: Fleet, settings: RoundSettings) -> RoundResult:
    """Play a round on a fleet that is well, and leave it well."""
    began = time.monotonic()
    result = RoundResult(number=settings.number)
    async with callers_of(fleet, f"chaos-{settings.seed}-{settings.number}-{int(time.time() * 1000)}") as callers:
        chance = random.Random(f"{settings.storage} {settings.graph} {settings.name}")
        planned = settings.planned
        if planned is None:
            planned = plan_disasters(chance, settings.storage, len(fleet.servers), settings.opening + 2.0)
        tags = [f"{settings.name}/{number}" for number in range(settings.runs)]
        conversations = await asyncio.gather(*(new_conversation(callers) for _ in tags))
        async with asyncio.timeout(ROUND_SECONDS), asyncio.TaskGroup() as group:
            disasters = group.create_task(let_happen(fleet, planned))
            playing = [
                group.create_task(_play_run(fleet, callers, settings, tag, conversation))
                for tag, conversation in zip(tags, conversations, strict=True)
            ]
        happened = disasters.result()
        seen = [each.result() for each in playing]
        await _check(fleet, callers, settings, dict(zip(tags, seen, strict=True)), happened, result)
    result.disasters = dict(Counter(each.kind.value for each in happened))
    result.seconds = round(time.monotonic() - began, 1)
    fleet.provider.forget()
    return result


async def _play_run(
    fleet: Fleet, callers: Callers, settings: RoundSettings, tag: str, conversation_id: str
) -> list[Seen | BaseException]:
    """Start a run, and read it with its readers to their ends."""
    chance = random.Random(f"{settings.storage} {tag}")
    await asyncio.sleep(chance.uniform(0, settings.opening))
    client = chance.choice(list(callers.clients))
    known: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    starting = asyncio.create_task(_start(client, callers, chance, tag, conversation_id, known))
    readers = [_reader(callers, random.Random(f"{tag} {number}")) for number in range(chance.choice((0, 1, 1, 2)))]
    following = [asyncio.create_task(_follow(reader, known, chance.uniform(0, 2))) for reader in readers]
    try:
        return await asyncio.gather(starting, *following, return_exceptions=True)
    finally:
        if not known.done():
            known.cancel()


async def _start(
    client: Client,
    callers: Callers,
    chance: random.Random,
    tag: str,
    conversation_id: str,
    known: "asyncio.Future[str]",
) -> Seen:
    """Start a run by SendMessage, or as a detached one by CreateRun, and read it to its end."""
    text, request_id = f"Please answer at length. chaos:{tag}", hashlib.sha256(tag.encode()).hexdigest()[:32]
    try:
        if chance.random() < 0.8:
            return await read_stream(client.send(conversation_id, text, request_id=request_id), known=known)
        request = run_service_pb2.CreateRunRequest(
            request_id=request_id, conversation_id=conversation_id, parts=[ContentPart(text=TextPart(text=text))]
        )
        server = chance.randrange(len(callers.channels))
        response = await patiently(callers.runs(server).CreateRun, request, callers.metadata)
        known.set_result(response.run.id)
        return await read_stream(client.watch(response.run.id))
    finally:
        if not known.done():
            known.cancel()


def _reader(callers: Callers, chance: random.Random) -> Reader:
    leaves = chance.choice((0.0, 0.02, 0.1))
    if chance.random() < 0.3:
        return ClientReader(chance.choice(list(callers.clients)), chance, leaves)
    return RawReader(callers.channels, callers.metadata, chance, polls=chance.random() < 0.4, leaves=leaves)


async def _follow(reader: Reader, known: "asyncio.Future[str]", after: float) -> Seen:
    run_id = await asyncio.shield(known)
    await asyncio.sleep(after)
    return await reader.read(run_id)


async def _check(
    fleet: Fleet,
    callers: Callers,
    settings: RoundSettings,
    seen: dict[str, list[Seen | BaseException]],
    happened: Sequence[Happened],
    result: RoundResult,
) -> None:
    for tag, readers in seen.items():
        result.faults += [f"{tag}: a reader failed: {each!r}" for each in readers if isinstance(each, BaseException)]
    found = {tag: [each for each in readers if isinstance(each, Seen)] for tag, readers in seen.items()}
    for evidence in await gather(fleet, callers, settings.graph, found, happened):
        _count(evidence, judge(evidence), result)
    result.faults += await left_over(fleet)


def _count(evidence: Evidence, verdict: Verdict, result: RoundResult) -> None:
    result.runs += 1
    result.attempts += evidence.run.attempt
    result.readers += len(evidence.seen)
    result.breaks += sum(seen.breaks for seen in evidence.seen)
    result.interrupted += verdict.interrupted
    result.unasked += max(0, evidence.run.attempt - 1 - sum(each.kind in ENDING for each in evidence.happened))
    result.take_overs += [round(seconds, 3) for seconds in verdict.take_overs]
    result.faults += [f"{evidence.tag} ({evidence.run.id}): {fault}" for fault in verdict.faults]
    kinds = Counter(result.provider_faults)
    for call in evidence.calls:
        if call.failed:
            plan = call.plan
            kinds[str(plan.status) if plan.status != 200 else "mute" if plan.mute else plan.fault or "torn"] += 1
    result.provider_faults = dict(kinds)
