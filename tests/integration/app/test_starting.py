"""A server that starts goes on with what others left, and keeps what it has taken."""

import asyncio
from pathlib import Path

import pytest

from chatter_grpc.app.serving import serve
from chatter_grpc.config import load_settings
from chatter_grpc.core.runs.reaper import Reaper
from chatter_grpc.core.runs.supervisor import Supervisor
from tests.support.waiting import soon


async def test_leases_are_renewed_while_lost_runs_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewing, stop = asyncio.Event(), asyncio.Event()
    run, reap = Supervisor.run, Reaper.reap

    async def running(self: Supervisor) -> None:
        renewing.set()
        await run(self)

    async def reaping(self: Reaper) -> int:
        # As if there were more to take than fits into a lease.
        await soon(renewing.wait())
        return await reap(self)

    monkeypatch.setattr(Supervisor, "run", running)
    monkeypatch.setattr(Reaper, "reap", reaping)
    settings = await asyncio.to_thread(lambda: load_settings(data_dir=tmp_path / "data", listen="127.0.0.1:0"))
    await serve(settings, stop=stop, ready=lambda _: stop.set())
