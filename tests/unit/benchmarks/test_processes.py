"""A benchmark's child processes come up in time or are reported, and none is left behind."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from benchmarks import processes
from benchmarks.processes import Child, ProcessFailed, find_free_port, read_cpu_seconds, read_memory_mb, run_child

LISTEN = """
import signal, socket, subprocess, sys, time
{before}
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
{after}
time.sleep(60)
"""


Use = Callable[[Child], Awaitable[None]]


async def run_script(logs: Path, use: Use, *, before: str = "", after: str = "") -> None:
    port = find_free_port()
    command = [sys.executable, "-c", LISTEN.format(before=before, after=after), str(port)]
    async with run_child("child", command, port=port, logs=logs) as child:
        await use(child)


def living_children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


async def test_a_child_lives_as_long_as_its_context(tmp_path: Path) -> None:
    seen: list[int] = []

    async def use(child: Child) -> None:
        seen.append(child.pid)
        assert psutil.pid_exists(child.pid)
        assert read_cpu_seconds(child.pid) >= 0
        assert read_memory_mb(child.pid) > 1

    await run_script(tmp_path, use)
    assert not psutil.pid_exists(seen[0])


async def test_a_child_that_ends_at_once_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    async def use(child: Child) -> None:
        raise AssertionError("it never listened")

    with pytest.raises(ProcessFailed, match=r"(?s)ended with 1.*no such setting"):
        await run_script(tmp_path, use, before="sys.exit('no such setting')")


async def test_a_child_that_does_not_listen_is_given_up_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "START_DEADLINE", 0.5)

    async def use(child: Child) -> None:
        raise AssertionError("it never listened")

    before = living_children()
    with pytest.raises(ProcessFailed, match="does not listen"):
        await run_script(tmp_path, use, after="server.close()")
    assert living_children() <= before


async def test_a_child_that_ends_during_its_context_is_reported(tmp_path: Path) -> None:
    async def use(child: Child) -> None:
        child.process.kill()
        await asyncio.wait_for(child.process.wait(), 10)

    with pytest.raises(ProcessFailed, match="ended with -9"):
        await run_script(tmp_path, use)


async def test_what_fails_while_a_child_runs_tells_what_the_child_said_last(tmp_path: Path) -> None:
    async def use(child: Child) -> None:
        raise LookupError("the load failed")

    with pytest.raises(LookupError) as raised:
        await run_script(tmp_path, use, before="print('the disk is full', flush=True)")
    assert "the disk is full" in raised.value.__notes__[0]


async def test_a_child_that_ignores_the_request_to_end_is_killed_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_DEADLINE", 0.2)
    family: list[psutil.Process] = []

    async def use(child: Child) -> None:
        family.extend([psutil.Process(child.pid), *psutil.Process(child.pid).children()])

    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN); subprocess.Popen(['sleep', '60'])"
    await run_script(tmp_path, use, before=stubborn)
    assert len(family) == 2
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 10)
    assert alive == []


async def test_what_children_take_counts_for_their_parent(tmp_path: Path) -> None:
    async def use(child: Child) -> None:
        alone = psutil.Process().memory_info().rss / 1e6
        assert read_memory_mb(os.getpid()) - alone > 1

    await run_script(tmp_path, use)
