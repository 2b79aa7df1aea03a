"""Short forms of ``make chaos``: runs survive their servers, with every token, and start once."""

import asyncio
from pathlib import Path

from tests.chaos.disasters import Kind, Planned
from tests.chaos.provider import chaos_provider
from tests.chaos.rounds import RoundResult, RoundSettings, play
from tests.chaos.servers import fleet
from tests.chaos.starts import Started, Starts, send_all
from tests.chaos.zombies import Trials, Woken, hold_all

KILLED = (Planned(at=1.2, kind=Kind.KILL, server=0, seconds=0),)


async def on_sqlite(directory: Path) -> tuple[RoundResult, Started]:
    settings = RoundSettings(storage="sqlite", seed=1, number=1, runs=12, profile="brisk", opening=1.2, planned=KILLED)
    with chaos_provider() as provider:
        async with fleet("sqlite", directory, provider, messages_per_day="1000000") as servers:
            started = await send_all(servers, Starts(storage="sqlite", seed=1, sends=20))
            return await play(servers, settings), started


async def on_postgres(directory: Path) -> tuple[RoundResult, Woken]:
    settings = RoundSettings(
        storage="postgres",
        seed=1,
        number=1,
        runs=8,
        graph="parallel",
        profile="brisk",
        opening=1.2,
        planned=KILLED,
    )
    with chaos_provider() as provider:
        async with fleet("postgres", directory, provider, graph="parallel") as servers:
            woken = await hold_all(servers, Trials(storage="postgres", seed=1, trials=3, size=3))
            return await play(servers, settings), woken


async def test_runs_survive_their_servers_and_start_once(tmp_path: Path) -> None:
    # Most of it is waiting, which both can do at the same time.
    (plain, started), (parallel, woken) = await asyncio.gather(
        on_sqlite(tmp_path / "sqlite"), on_postgres(tmp_path / "postgres")
    )
    assert not plain.faults
    assert (plain.runs, plain.disasters) == (12, {"kill": 1})
    assert not started.faults
    assert started.cut
    assert not parallel.faults
    assert (parallel.runs, parallel.disasters) == (8, {"kill": 1})
    # A busy machine may begin the runs of one of them after its disaster.
    assert plain.attempts + parallel.attempts > 12 + 8
    assert not woken.faults
    assert woken.trials == 3
    assert woken.closings
