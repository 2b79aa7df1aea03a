"""A soak: one server under everything that callers do, for minutes: its memory stays flat, and it comes to rest.

No task, no reader, no session of the database and no connection to the provider may be left over.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, linear_regression
from typing import Any, Final

import psutil

from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from tests.chaos.campaign import say
from tests.chaos.crowds import Fault, make_reader
from tests.chaos.gauges import Gauges, read_gauges, wait_for_address
from tests.chaos.readers import Seen
from tests.chaos.sites import UNHURRIED, Site, Way, open_site, provider_settings
from tests.support.provider import Provider, provider_on_a_thread
from tests.support.served import Client, message

KEY: Final = "sk-of-the-soaked"
MB: Final = 1_000_000
MODELS: Final = (
    "brief?tokens=5",
    "quick?tokens=400",
    "paced?tokens=40&delay=0.02",
    "slow?tokens=60&delay=0.05",
    "broken?tokens=60&delay=0.01&after=30&fault=cut",
    "stalled?tokens=60&delay=0.01&after=10&fault=stall",
)
WORKERS: Final = 16
# The share of the time that is not judged: what a process makes but once.
WARM_UP: Final = 0.3
REST_SECONDS: Final = 45.0
# What a server may grow by within the time that is judged, in MB, and from then on in MB a minute.
MOST_GROWTH: Final = 10.0
MOST_SLOPE: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A look at the server: minutes since the beginning, and its resident memory in MB of 10^6 bytes."""

    minutes: float
    memory: float


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What a soak showed."""

    minutes: float
    done: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    idle: Gauges
    left: Gauges
    files: tuple[int, int] = (0, 0)
    faults: list[str] = field(default_factory=list)

    @property
    def judged(self) -> Sequence[Sample]:
        """The samples after the warm-up."""
        return [each for each in self.samples if each.minutes >= self.minutes * WARM_UP]

    @property
    def slope(self) -> float:
        """How memory grew, in MB a minute."""
        judged = self.judged
        return linear_regression([each.minutes for each in judged], [each.memory for each in judged]).slope

    @property
    def growth(self) -> float:
        """From the first quarter of what is judged to the last, in MB."""
        quarter = max(len(self.judged) // 4, 1)
        return fmean(e.memory for e in self.judged[-quarter:]) - fmean(e.memory for e in self.judged[:quarter])

    def judge(self) -> list[str]:
        """Return what is not as it is to be."""
        found = list(self.faults)
        for name, value in self.left.items():
            if value > self.idle.get(name, 0):
                found.append(f"{name} was {self.idle.get(name, 0):g} at rest, and is {value:g}")
        if self.growth > MOST_GROWTH and self.slope > MOST_SLOPE:
            found.append(f"memory grew by {self.growth:.1f} MB, {self.slope:.2f} MB a minute")
        return found

    def __str__(self) -> str:
        done = ", ".join(f"{count} {name}" for name, count in sorted(self.done.items()))
        judged = self.judged
        return (
            f"{self.minutes:g} minutes: {done}\n"
            f"memory {judged[0].memory:.0f} MB after the warm-up, {judged[-1].memory:.0f} at the end,"
            f" {self.growth:+.1f} from the first quarter to the last, {self.slope:+.2f} a minute\n"
            f"at rest before and after: {describe(self.idle)}; {describe(self.left)}; files {self.files[0]},"
            f" {self.files[1]}"
        )


class Traffic:
    """What callers do, again and again."""

    def __init__(self, client: Client, rng: random.Random, soaked: Soaked) -> None:
        self._client = client
        self._rng = rng
        self._soaked = soaked

    async def go_on(self, until: float) -> None:
        """Do one thing after the other until a moment of the monotonic clock, noting what goes wrong."""
        visits = {self._read: 30, self._come_back: 25, self._cancel: 20, self._detach: 15, self._leave: 10}
        while time.monotonic() < until:
            (visit,) = self._rng.choices(list(visits), list(visits.values()))
            try:
                async with asyncio.timeout(120):
                    await visit()
                self._soaked.done[visit.__name__.strip("_")] += 1
            except Exception as error:  # noqa: BLE001 - one visit that fails is a finding, and others go on
                self._soaked.faults.append(f"{visit.__name__}: {type(error).__name__} {error}"[:500])

    async def _read(self) -> None:
        """Send, and read to the end."""
        conversation_id, stream = await self._send()
        await stream.to_end()
        await self._compare(conversation_id, stream.fold.end, stream.fold.stored)

    async def _come_back(self) -> None:
        """Send, go away, watch and leave again and again."""
        conversation_id, stream = await self._send()
        stream.leave()
        await self._compare_seen(conversation_id, await self._follow(stream.run_id, leaves=0.2))

    async def _cancel(self) -> None:
        """Send, and cancel somewhere."""
        conversation_id, stream = await self._send()
        reading = asyncio.create_task(stream.to_end())
        await asyncio.sleep(self._rng.uniform(0, 1.0))
        answer = await self._client.call("CancelRun", run_id=stream.run_id)
        if answer.reason not in ("", "RUN_ALREADY_FINISHED"):
            raise Fault(f"CancelRun ended with {answer.reason}")
        await reading
        await self._compare(conversation_id, stream.fold.end, stream.fold.stored)

    async def _detach(self) -> None:
        """Have a run that nobody waits for, and poll its events; cancel it where its model stalls."""
        conversation = await self._client.conversation()
        model = self._model()
        fields = message(conversation.id, "Go on.", overrides=ModelSettings(model=f"openai/{model}"))
        run = (await self._client.ok("CreateRun", **fields)).run
        following = asyncio.create_task(self._follow(run.id, polls=True, stalls=model.startswith("stalled")))
        await self._compare_seen(conversation.id, await following)

    async def _leave(self) -> None:
        """Send, and never come back but to see what became of it."""
        conversation_id, stream = await self._send()
        stream.leave()
        run_id = stream.run_id
        await asyncio.sleep(self._rng.uniform(0, 3))
        await self._compare_seen(conversation_id, await self._follow(run_id))

    def _model(self) -> str:
        return self._rng.choice(MODELS)

    async def _send(self) -> tuple[str, Any]:
        conversation = await self._client.conversation()
        model = self._model()
        stream = self._client.send(conversation.id, "Go on.", overrides=ModelSettings(model=f"openai/{model}"))
        await stream.until(lambda read: bool(read.events))
        return conversation.id, stream

    async def _follow(self, run_id: str, *, stalls: bool = True, **how: Any) -> Seen:
        """Read a run to its end, which is its cancellation where its model stalls."""
        reader = make_reader((self._client.channel,), self._client, self._rng, **how)
        reading = asyncio.create_task(reader.read(run_id))
        done, _ = await asyncio.wait((reading,), timeout=8)
        if not done and stalls:
            await self._client.call("CancelRun", run_id=run_id)
        return await reading

    async def _compare_seen(self, conversation_id: str, seen: Seen) -> None:
        await self._compare(conversation_id, seen.end, seen.messages)

    async def _compare(self, conversation_id: str, end: str, texts: Mapping[str, str]) -> None:
        if end not in ("completed", "cancelled", "failed"):
            raise Fault(f"a stream ended with {end!r}")
        stored = {
            each.id: "".join(part.text.text for part in each.parts)
            for each in await self._client.messages(conversation_id)
            if each.model
        }
        if texts != stored:
            raise Fault(f"{conversation_id}: a reader has {texts}, stored are {stored}")


async def soak(minutes: float, seed: int, directory: Path) -> Soaked:
    """Let callers at a server for so long, and then let it come to rest."""
    with provider_on_a_thread(KEY) as provider:
        settings = {
            **provider_settings(provider, KEY, MODELS),
            "metrics_listen": "127.0.0.1:0",
            "provider_idle_seconds": "5",
            **UNHURRIED,
        }
        async with open_site(Way.PROCESS, directory, settings) as site:
            address = await wait_for_address(site.servers[0])
            await asyncio.sleep(2)
            idle = await read_gauges(address)
            soaked = Soaked(minutes=minutes, idle=idle, left=idle)
            process = psutil.Process(site.servers[0].pid)
            files = process.num_fds()
            await _soak(site, provider, soaked, process, seed)
            soaked.left = await _come_to_rest(address, idle, provider)
            soaked.files = (files, process.num_fds())
            await _check_runs(site, soaked)
    return soaked


async def _soak(site: Site, provider: Provider, soaked: Soaked, process: psutil.Process, seed: int) -> None:
    began = time.monotonic()
    until = began + soaked.minutes * 60
    traffic = [Traffic(site.clients[0], random.Random(f"{seed} {number}"), soaked) for number in range(WORKERS)]
    async with asyncio.TaskGroup() as group:
        for each in traffic:
            group.create_task(each.go_on(until))
        while time.monotonic() < until:
            await asyncio.sleep(1)
            memory = process.memory_info().rss / MB
            soaked.samples.append(Sample(minutes=(time.monotonic() - began) / 60, memory=memory))
            provider.clear()


async def _come_to_rest(address: str, idle: Gauges, provider: Provider) -> Gauges:
    """Return what is left when all is over, or after a while."""
    give_up_at = time.monotonic() + REST_SECONDS
    while True:
        left = {**await read_gauges(address), "provider connections": float(provider.standin.open_connections)}
        if all(value <= idle.get(name, 0) for name, value in left.items()) or time.monotonic() > give_up_at:
            return left
        await asyncio.sleep(0.5)


async def _check_runs(site: Site, soaked: Soaked) -> None:
    ((active,),) = await site.rows.query(
        "SELECT count(*) FROM runs WHERE state IN ('running', 'pending') AND conversation_id <> ''"
    )
    if active:
        soaked.faults.append(f"{active} runs are still active")


def describe(gauges: Gauges) -> str:
    """Return gauges as a line; those of calls together."""
    return ", ".join(f"{name} {value:g}" for name, value in gauges.items())


def _show(given: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="chatter-soak-") as directory:
        soaked = asyncio.run(soak(given.minutes, given.seed, Path(directory)))
    say(str(soaked))
    faults = soaked.judge()
    for fault in faults:
        say(f"  {fault}")
    return int(bool(faults))


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``soak``."""
    options = commands.add_parser("soak", help="one server under all that callers do, for minutes")
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=1)
    options.set_defaults(run=_show)
