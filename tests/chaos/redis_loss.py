"""Redis forgets everything, and goes, in the middle of runs: nothing is lost, and readers elsewhere go on (G8)."""

import argparse
import asyncio
import random
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import redis.asyncio

from tests.chaos.campaign import say
from tests.chaos.crowds import Followed, check_runs, longest_silence, make_reader, now, start_run
from tests.chaos.sites import UNHURRIED, Site, Way, open_site, provider_settings
from tests.support.provider import provider_on_a_thread

KEY: Final = "sk-of-the-unwoken"
DELAY: Final = 0.02
# A reader that nobody wakes looks every second.
MOST_SILENCE: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many runs there are, and how long each of them and each trouble takes, in seconds."""

    runs: int = 40
    seconds: float = 8.0
    seed: int = 1

    @property
    def model(self) -> str:
        """What answers for so long."""
        return f"paced?tokens={round(self.seconds / DELAY)}&delay={DELAY}"

    @property
    def answer(self) -> str:
        """What it says."""
        return " ".join(f"w{number}" for number in range(round(self.seconds / DELAY)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How long a reader on the other replica heard nothing at most, in seconds: while all was well, and with Redis."""

    runs: int
    well: float
    flushed: float
    away: float

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, each read on both replicas: nothing lost; the longest silence of a reader on the"
            f" other replica was {self.well:.2f} s before, {self.flushed:.2f} s around a flush, {self.away:.2f} s"
            " without Redis"
        )


async def lose_redis(shape: Shape, site: Site) -> Outcome:
    """Start runs on one of two servers, flush Redis, kill it and start it again; raises ``Fault``."""
    rng = random.Random(shape.seed)
    runs = [await start_run(site.clients[0], shape.model, shape.answer) for _ in range(shape.runs)]
    for run in runs:
        for client in site.clients:
            run.read_by(make_reader((client.channel,), client, rng, stays=True))
    outcome = await _trouble(site, shape, runs)
    await check_runs(runs, site.clients[1])
    return outcome


async def _trouble(site: Site, shape: Shape, runs: list[Followed]) -> Outcome:
    assert site.redis is not None
    elsewhere = [run.readers[1] for run in runs]
    share = shape.seconds / 5
    await asyncio.sleep(share / 2)
    moments = [now()]
    await asyncio.sleep(share / 2)
    moments.append(now())
    async with redis.asyncio.from_url(site.redis.url) as flushing:
        await flushing.flushall()
    await asyncio.sleep(share)
    moments.append(now())
    site.redis.kill()
    await asyncio.sleep(share)
    moments.append(now())
    await asyncio.to_thread(site.redis.start)
    well, flushed, away = (longest_silence(elsewhere, since, until) for since, until in pairwise(moments))
    return Outcome(runs=len(runs), well=well, flushed=flushed, away=away)


async def _show(shape: Shape) -> int:
    with tempfile.TemporaryDirectory() as directory, provider_on_a_thread(KEY) as provider:
        settings = {**provider_settings(provider, KEY, [shape.model]), **UNHURRIED}
        async with open_site(Way.BOTH, Path(directory), settings) as site:
            outcome = await lose_redis(shape, site)
    say(str(outcome))
    return int(max(outcome.flushed, outcome.away) > MOST_SILENCE)


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``redis``."""
    options = commands.add_parser("redis", help="Redis is flushed and stopped in the middle of runs on two servers")
    options.add_argument("--runs", type=int, default=40)
    options.add_argument("--seconds", type=float, default=8.0, help="how long each run takes")
    options.add_argument("--seed", type=int, default=1)
    options.set_defaults(
        run=lambda given: asyncio.run(_show(Shape(runs=given.runs, seconds=given.seconds, seed=given.seed)))
    )
