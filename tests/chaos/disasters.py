"""What happens to servers, databases and connections in a round, when and to whom, by chance of the round's seed."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from redis.asyncio import Redis

from tests.chaos.servers import LEASE_SECONDS, Fleet, ServerProcess


class Kind(StrEnum):
    """A disaster."""

    KILL = "kill"
    """A server is killed, and started again."""
    HOLD = "hold"
    """A server is held up for longer than its leases hold, and goes on."""
    STOP = "stop"
    """A server is told to stop, and started again."""
    CUT = "cut"
    """All connections of clients are cut."""
    DATABASE = "database"
    """PostgreSQL is stopped, and started again."""
    FLUSH = "flush"
    """Redis forgets everything."""
    REDIS = "redis"
    """Redis is killed, and started again."""


# Those that end the attempts of a server.
LOSING: Final = (Kind.KILL, Kind.HOLD, Kind.DATABASE)
# An attempt that is told to stop is handed over, which is no loss.
ENDING: Final = (*LOSING, Kind.STOP)
WEIGHTS: Final = {
    "sqlite": {Kind.KILL: 50, Kind.HOLD: 20, Kind.STOP: 15, Kind.CUT: 15},
    "postgres": {
        Kind.KILL: 35,
        Kind.HOLD: 20,
        Kind.STOP: 12,
        Kind.CUT: 10,
        Kind.DATABASE: 8,
        Kind.FLUSH: 7,
        Kind.REDIS: 8,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A disaster that is to come, so many seconds into the round; ``seconds`` is how long it lasts at least."""

    at: float
    kind: Kind
    server: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """A disaster that came, by ``time.monotonic()``; its ``wall`` is when it began by ``time.time()``."""

    kind: Kind
    server: int
    began: float
    ended: float
    wall: float


def plan_disasters(chance: random.Random, storage: str, servers: int, within: float) -> tuple[Planned, ...]:
    """Plan one to three disasters, in order; three losses of a run in a row are rare."""
    weights = WEIGHTS[storage]
    number = chance.choices((1, 2, 3), (45, 45, 10))[0]
    kinds = chance.choices(list(weights), list(weights.values()), k=number)
    return tuple(
        Planned(
            at=chance.uniform(0.3, within),
            kind=kind,
            server=chance.randrange(servers),
            seconds=chance.uniform(LEASE_SECONDS, LEASE_SECONDS + 1.5) if kind is Kind.HOLD else chance.uniform(0, 1.0),
        )
        for kind in kinds
    )


async def let_happen(fleet: Fleet, planned: Sequence[Planned]) -> list[Happened]:
    """Have the disasters come at their times, one after the other where they overlap; then all is well again."""
    began = time.monotonic()
    happened = []
    for each in sorted(planned, key=lambda each: each.at):
        await asyncio.sleep(max(0.0, began + each.at - time.monotonic()))
        start, wall = time.monotonic(), time.time()
        await _happen(fleet, each)
        happened.append(Happened(kind=each.kind, server=each.server, began=start, ended=time.monotonic(), wall=wall))
    return happened


async def _happen(fleet: Fleet, planned: Planned) -> None:
    server = fleet.servers[planned.server]
    match planned.kind:
        case Kind.KILL:
            await server.kill()
            await _start_again(server, planned.seconds)
        case Kind.STOP:
            await server.stop()
            await _start_again(server, planned.seconds)
        case Kind.HOLD:
            server.hold()
            await asyncio.sleep(planned.seconds)
            server.go_on()
        case Kind.CUT:
            for proxy in fleet.proxies:
                await asyncio.to_thread(proxy.cut)
        case Kind.DATABASE:
            assert fleet.postgres is not None
            await asyncio.to_thread(fleet.postgres.stop)
            await asyncio.sleep(planned.seconds)
            await asyncio.to_thread(fleet.postgres.start)
        case Kind.FLUSH:
            assert fleet.redis is not None
            async with Redis.from_url(fleet.redis.url) as redis:
                await redis.flushall()
        case Kind.REDIS:
            assert fleet.redis is not None
            await asyncio.to_thread(fleet.redis.kill)
            await asyncio.sleep(planned.seconds)
            await asyncio.to_thread(fleet.redis.start)


async def _start_again(server: ServerProcess, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await server.start()
