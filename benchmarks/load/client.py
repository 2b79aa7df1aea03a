"""Runs a job against a server: raw connections, a record per call, CPU time around it, and then the checks."""

import asyncio
import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

import psutil
import uvloop

from benchmarks.figures import percentiles
from benchmarks.load.calls import Call, CallSpec
from benchmarks.load.connection import Connection, open_connections
from benchmarks.load.folding import StreamFault, StreamRecord, read_stream
from benchmarks.load.http1 import HttpConnection, open_http_connections
from benchmarks.load.jobs import Effort, StreamJob, StreamReport, Target, UnaryJob, UnaryReport
from benchmarks.processes import read_cpu_seconds

AnyConnection = Connection | HttpConnection

HOST = "127.0.0.1"
SETTLE = 0.1
"""Seconds between the last answer and the second look at the CPU clocks: what a server puts off counts too."""


class LoadFailed(RuntimeError):
    """A job whose calls did not all end as they should."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks at one moment."""

    wall: float
    cpu: dict[str, float]


def run_streams(job: StreamJob) -> StreamReport:
    """Run a job of streams in this process. Raises LoadFailed unless every stream was complete."""
    return uvloop.run(stream_all(job))


def run_unary(job: UnaryJob) -> UnaryReport:
    """Run a job of unary calls in this process. Raises LoadFailed unless every call ended with OK."""
    return uvloop.run(call_all(job))


async def stream_all(job: StreamJob) -> StreamReport:
    """Start all streams of a job, read them to their ends, then check and count them."""
    pending = len(job.calls)
    finished = asyncio.Event()

    def end(_: Call) -> None:
        nonlocal pending
        pending -= 1
        if not pending:
            finished.set()

    calls = [Call(on_end=end, http=job.target.http) for _ in job.calls]
    pause = job.spread / max(len(calls) - 1, 1)

    def start(connections: Sequence[AnyConnection]) -> None:
        for number, (spec, call) in enumerate(zip(job.calls, calls, strict=True)):
            connection = connections[number % len(connections)]
            if pause:
                asyncio.get_running_loop().call_later(number * pause, start_or_fail, connection, spec, call)
            else:
                start_or_fail(connection, spec, call)

    effort = await measure(job.target, start, finished)
    return summarize_streams(job, calls, effort)


def start_or_fail(connection: AnyConnection, spec: CallSpec, call: Call) -> None:
    """Start a call; where the connection is gone, the call has ended with an error."""
    try:
        connection.start(spec, call)
    except ConnectionError as error:
        call.error = str(error)
        call.on_end(call)


async def call_all(job: UnaryJob) -> UnaryReport:
    """Make a job's calls, each of its lanes one after the other, without a task switch in between."""
    finished = asyncio.Event()
    unstarted = job.count
    records: list[Call] = []

    def start_next(connection: AnyConnection) -> None:
        nonlocal unstarted
        if not unstarted:
            return
        unstarted -= 1
        connection.start(job.call, Call(on_end=lambda call: end(connection, call)))

    def end(connection: AnyConnection, call: Call) -> None:
        records.append(call)
        if call.fault() or len(records) == job.count:
            finished.set()
        else:
            start_next(connection)

    def start(connections: Sequence[AnyConnection]) -> None:
        for lane in range(job.concurrency):
            start_next(connections[lane % len(connections)])

    effort = await measure(job.target, start, finished)
    faults = [fault for call in records if (fault := call.fault())]
    if faults or len(records) != job.count:
        raise LoadFailed(f"{len(records)} of {job.count} calls ended, {len(faults)} of them badly: {faults[:3]}")
    latencies = [(call.ended - call.started) / 1e3 for call in records]
    return UnaryReport(effort=effort, calls=len(records), latency_us=percentiles(latencies))


async def measure(target: Target, start: Callable[[Sequence[AnyConnection]], None], finished: asyncio.Event) -> Effort:
    """Connect, start, wait for the end, and say what that took. Raises TimeoutError at the target's deadline."""
    connections: Sequence[AnyConnection] = ()
    gc.collect()
    gc.disable()
    try:
        async with asyncio.timeout(target.deadline):
            open_all = open_http_connections if target.http else open_connections
            connections = await open_all(HOST, target.port, target.connections)
            await asyncio.sleep(SETTLE)
            before = read_clocks(target.watch)
            start(connections)
            await finished.wait()
            wall = monotonic() - before.wall
            own = psutil.Process().cpu_times()
            await asyncio.sleep(SETTLE)
            after = read_clocks(target.watch)
    finally:
        gc.enable()
        for connection in connections:
            connection.close()
    cpu = {name: after.cpu[name] - seconds for name, seconds in before.cpu.items()}
    cpu["load"] = own.user + own.system - before.cpu["load"]
    return Effort(wall=wall, cpu=cpu)


def read_clocks(watch: Iterable[tuple[str, int]]) -> Clocks:
    """The wall clock, and the CPU seconds that each watched process and its children have used so far."""
    cpu = {name: read_cpu_seconds(pid) for name, pid in watch}
    own = psutil.Process().cpu_times()
    return Clocks(wall=monotonic(), cpu={**cpu, "load": own.user + own.system})


def summarize_streams(job: StreamJob, calls: list[Call], effort: Effort) -> StreamReport:
    """Check each stream and put them together. Raises LoadFailed, with the first faults, unless all are complete."""
    records: list[StreamRecord] = []
    faults: list[str] = []
    for call in calls:
        try:
            records.append(read_stream(call, job.wire, job.plan))
        except StreamFault as fault:
            faults.append(str(fault))
    if faults:
        raise LoadFailed(f"{len(faults)} of {len(calls)} streams were not complete: {faults[:3]}")
    late = [late for record in records for late in list_late_ms(record, job)]
    return StreamReport(
        effort=effort,
        streams=len(records),
        tokens=sum(record.tokens for record in records),
        messages=sum(record.messages for record in records),
        wire_bytes=sum(record.wire_bytes for record in records),
        first_token_ms=percentiles([(record.first_token - record.started) / 1e6 for record in records]),
        late_ms=percentiles(late) if late else None,
    )


def list_late_ms(record: StreamRecord, job: StreamJob) -> list[float]:
    """The lateness of each token that counts; a flat answer has no schedule to be late behind."""
    if not job.plan.rate:
        return []
    counts_from = record.started + job.skipped * 1e9 if job.skipped else 0
    return [
        late / 1e6
        for index, late in enumerate(record.lateness)
        if record.epoch + index * job.plan.interval_ns >= counts_from
    ]
