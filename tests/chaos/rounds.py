"""One round: some dozens of runs, the disasters that they share, and what is found wrong when all is over."""

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from chatter_client import ApiKey
from chatter_client.aio import Client, connect
from chatter_grpc._gen.chatter.v1 import chat_service_pb2, run_pb2, run_service_pb2
from chatter_grpc._gen.chatter.v1.chat_service_pb2_grpc import ChatServiceStub
from chatter_grpc._gen.chatter.v1.content_pb2 import ContentPart, TextPart
from chatter_grpc._gen.chatter.v1.run_service_pb2_grpc import RunServiceStub
from tests.chaos.checker import Evidence, Verdict, judge
from tests.chaos.disasters import Happened, let_happen, plan_disasters
from tests.chaos.readers import RESUMPTION, ClientReader, RawReader, Reader, Seen, patiently, read_stream
from tests.chaos.rows import Rows
from tests.chaos.servers import Fleet

# Runs begin within so many seconds, and disasters come within somewhat more.
OPENING: Final = 3.0
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
    disasters: bool = True

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
    seconds: float = 0.0
    disasters: dict[str, int] = field(default_factory=dict)
    provider_faults: dict[str, int] = field(default_factory=dict)
    take_overs: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Callers:
    """Clients of a fleet with one account's key: the real one through each proxy, and channels past them."""

    metadata: Sequence[tuple[str, str]]
    clients: Sequence[Client]
    channels: Sequence[grpc.aio.Channel]

    def chat(self, server: int = 0) -> Any:
        """The conversations of a server."""
        return ChatServiceStub(self.channels[server])

    def runs(self, server: int = 0) -> Any:
        """The runs of a server."""
        return RunServiceStub(self.channels[server])


@asynccontextmanager
async def callers_of(fleet: Fleet, name: str) -> AsyncIterator[Callers]:
    """Make an account, and clients that call with its key."""
    key = await fleet.api_key(name)
    # A connection that is lost is tried again at once, as soon as the server may be back.
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    addresses = [proxy.address for proxy in fleet.proxies]
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(len(addresses)):
            # Each begins at a proxy of its own, and goes to the others where that leads nowhere.
            target = "ipv4:" + ",".join(addresses[number:] + addresses[:number])
            client = connect(target, credentials=ApiKey(key=key), tls=False, options=options, resumption=RESUMPTION)
            clients.append(await stack.enter_async_context(client))
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(server.address, options=options))
            for server in fleet.servers
        ]
        yield Callers(metadata=[("authorization", f"Bearer {key}")], clients=clients, channels=channels)


async def play(fleet: Fleet, settings: RoundSettings) -> RoundResult:
    """Play a round on a fleet that is well, and leave it well."""
    began = time.monotonic()
    result = RoundResult(number=settings.number)
    async with callers_of(fleet, f"chaos-{settings.seed}-{settings.number}-{int(time.time() * 1000)}") as callers:
        chance = random.Random(f"{settings.storage} {settings.graph} {settings.name}")
        planned = (
            plan_disasters(chance, settings.storage, len(fleet.servers), OPENING + 2.0) if settings.disasters else ()
        )
        tags = [f"{settings.name}/{number}" for number in range(settings.runs)]
        conversations = await asyncio.gather(*(_new_conversation(callers) for _ in tags))
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


async def _new_conversation(callers: Callers) -> str:
    request = chat_service_pb2.CreateConversationRequest()
    response = await patiently(callers.chat().CreateConversation, request, callers.metadata)
    return str(response.conversation.id)


async def _play_run(
    fleet: Fleet, callers: Callers, settings: RoundSettings, tag: str, conversation_id: str
) -> list[Seen | BaseException]:
    """Start a run, and read it with its readers to their ends."""
    chance = random.Random(f"{settings.storage} {tag}")
    await asyncio.sleep(chance.uniform(0, OPENING))
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
    rows = Rows(fleet.url)
    offset = time.time() - time.monotonic()
    found = {tag: [each for each in readers if isinstance(each, Seen)] for tag, readers in seen.items()}
    for tag, each_seen in seen.items():
        result.faults += [f"{tag}: a reader failed: {each!r}" for each in each_seen if isinstance(each, BaseException)]
    runs = await rows.runs([readers[0].run_id for readers in found.values() if readers])
    for tag, readers in found.items():
        if not readers:
            continue
        stored = runs[readers[0].run_id]
        shown = (
            await patiently(callers.runs().GetRun, run_service_pb2.GetRunRequest(run_id=stored.id), callers.metadata)
        ).run
        messages, hashes_match = await _messages(callers, stored.conversation_id)
        calls = fleet.provider.calls_of(tag)
        evidence = Evidence(
            tag=tag,
            graph=settings.graph,
            run=stored,
            messages=messages,
            hashes_match=hashes_match,
            state=run_pb2.RunState.Name(shown.state).removeprefix("RUN_STATE_").lower(),
            output_tokens=shown.usage.output_tokens,
            estimated=shown.usage.estimated,
            seen=readers,
            calls=calls,
            happened=happened,
            wall_offset=offset,
        )
        verdict = judge(evidence)
        _count(evidence, verdict, result)
    (left,) = await rows.query("SELECT count(*) FROM runs WHERE state IN ('pending', 'running')")
    if left[0]:
        result.faults.append(f"{left[0]} runs are left running")
    result.faults += [f"the provider refused a request: {each}" for each in fleet.provider.refused]


async def _messages(callers: Callers, conversation_id: str) -> tuple[dict[str, str], bool]:
    request = chat_service_pb2.ListMessagesRequest(conversation_id=conversation_id, page_size=1000)
    messages = (await patiently(callers.chat().ListMessages, request, callers.metadata)).messages
    answers = [message for message in messages if message.model]
    texts = {message.id: "".join(part.text.text for part in message.parts) for message in answers}
    match = all(hashlib.sha256(texts[message.id].encode()).hexdigest() == message.text_sha256 for message in answers)
    return texts, match and len(messages) == len(answers) + 1


def _count(evidence: Evidence, verdict: Verdict, result: RoundResult) -> None:
    result.runs += 1
    result.attempts += evidence.run.attempt
    result.readers += len(evidence.seen)
    result.breaks += sum(seen.breaks for seen in evidence.seen)
    result.interrupted += verdict.interrupted
    result.take_overs += [round(seconds, 3) for seconds in verdict.take_overs]
    result.faults += [f"{evidence.tag} ({evidence.run.id}): {fault}" for fault in verdict.faults]
    kinds = Counter(result.provider_faults)
    for call in evidence.calls:
        if call.failed:
            plan = call.plan
            kinds[str(plan.status) if plan.status != 200 else "mute" if plan.mute else plan.fault or "torn"] += 1
    result.provider_faults = dict(kinds)
