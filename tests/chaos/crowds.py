"""Many runs at once, started on one server, each with readers of several kinds, and what all of them must agree on."""

import asyncio
import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import grpc

from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from tests.chaos.readers import RawReader, Seen
from tests.support.served import Client

MINUTES: Final = 180.0


class Fault(AssertionError):
    """What readers saw, what is stored and what was to come do not agree."""


@dataclass(slots=True, kw_only=True)
class Followed:
    """A run, and those who read it; ``text`` is what its answer is to be."""

    run_id: str
    conversation_id: str
    text: str
    readers: list[RawReader] = field(default_factory=list)
    reading: list["asyncio.Task[Seen]"] = field(default_factory=list)

    def read_by(self, reader: RawReader) -> None:
        """Have a reader begin."""
        self.readers.append(reader)
        self.reading.append(asyncio.create_task(reader.read(self.run_id)))


async def start_run(client: Client, model: str, text: str) -> Followed:
    """Start a run that goes on without whoever started it."""
    conversation = await client.conversation()
    stream = client.send(conversation.id, "Go on.", overrides=ModelSettings(model=f"openai/{model}"))
    await stream.until(lambda read: bool(read.events))
    run_id = stream.run_id
    stream.leave()
    return Followed(run_id=run_id, conversation_id=conversation.id, text=text)


def make_reader(channels: Sequence[grpc.aio.Channel], client: Client, rng: random.Random, **more: Any) -> RawReader:
    """Make a reader of a client's account on these channels."""
    return RawReader(channels=channels, metadata=tuple(client.metadata), chance=random.Random(rng.random()), **more)


async def check_runs(runs: Sequence[Followed], client: Client) -> None:
    """Wait for all readers; raises ``Fault`` unless each has exactly what is stored, which is the whole answer."""
    async with asyncio.timeout(MINUTES):
        for run in runs:
            stored = {message.id: message for message in await _ended(run, client) if message.model}
            texts = {key: "".join(part.text.text for part in each.parts) for key, each in stored.items()}
            for seen in [await each for each in run.reading]:
                if seen.end != "completed" or seen.messages != texts:
                    raise Fault(f"{run.run_id}: a reader has {seen}, stored are {texts}")
            if list(texts.values()) != [run.text]:
                raise Fault(f"{run.run_id}: stored are {texts}, sent was {run.text}")
            for key, each in stored.items():
                if each.text_sha256 != hashlib.sha256(texts[key].encode()).hexdigest():
                    raise Fault(f"{run.run_id}: {key} has another hash than its text")


async def _ended(run: Followed, client: Client) -> list[Any]:
    for each in run.reading:
        await each
    return await client.messages(run.conversation_id)


def longest_silence(readers: Sequence[RawReader], since: float, until: float) -> float:
    """Return the longest time in seconds that one of the readers heard nothing, between two moments of its run."""
    longest = 0.0
    for reader in readers:
        times = [since, *(each.at for each in reader.arrivals if since < each.at < until)]
        if reader.arrivals and reader.arrivals[-1].at > until:
            times.append(until)
        longest = max([longest, *(after - before for before, after in pairwise(times))])
    return longest


def now() -> float:
    """Return the time by which arrivals are noted."""
    return time.monotonic()
