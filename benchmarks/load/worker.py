"""The load client's own process, so that it neither waits for the benchmark's loop nor slows it."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager

from benchmarks.load.client import run_streams, run_unary
from benchmarks.load.jobs import StreamJob, StreamReport, UnaryJob, UnaryReport


class LoadWorker:
    """Runs jobs, one after the other, in one process that is kept."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    async def stream(self, job: StreamJob) -> StreamReport:
        """Raises LoadFailed unless every stream was complete, TimeoutError at the job's deadline."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, run_streams, job)

    async def call(self, job: UnaryJob) -> UnaryReport:
        """Raises LoadFailed unless every call ended with OK, TimeoutError at the job's deadline."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, run_unary, job)


@asynccontextmanager
async def start_worker() -> AsyncIterator[LoadWorker]:
    """A worker while the context lasts. Each of its jobs has a deadline, so that leaving does not hang."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield LoadWorker(pool)
