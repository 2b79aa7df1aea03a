"""How many streams a server holds: the most of which none comes too late."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from benchmarks.load.jobs import StreamReport
from benchmarks.sides import Side
from benchmarks.streaming import Shape, StreamBenchmark

LATE_P99_MS: Final = 100.0
FIRST_P99_MS: Final = 1_000.0
RAMP: Final = 3.0
"""Seconds over which a trial's streams start."""
FACTOR: Final = 2.0
"""From one trial to the next, while nothing has failed yet."""
CLOSER: Final = 1.2
"""The same in later repetitions, which begin where the one before came out."""
MOST: Final = 4_096
TRIALS: Final = 14
"""A search ends after so many at the latest."""
PRECISION: Final = 16
"""It ends, too, where what is left to be known is less than this part of what is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One number of streams, and what came of it."""

    streams: int
    held: bool
    why: str
    """The figures, or what was wrong."""
    cores: dict[str, float] = field(default_factory=dict)
    """What each process took."""


async def search(
    holds: Callable[[int], Awaitable[bool]], *, first: int, factor: float, most: int = MOST, trials: int = TRIALS
) -> int:
    """The most streams that hold, by multiplying until some do not and then by bisection; 0 where not even one does."""
    low, high, streams = 0, most + 1, first
    for _ in range(trials):
        if await holds(streams):
            low = streams
        else:
            high = streams
        if high - low <= max(1, low // PRECISION):
            break
        streams = min(max(low + 1, round(low * factor)), most) if high > most else max((low + high) // 2, 1)
    return low


class HeldStreams:
    """Searches one side after the other."""

    def __init__(self, benchmark: StreamBenchmark, *, most: int = MOST) -> None:
        self._benchmark = benchmark
        self._most = most
        self.trials: dict[str, list[Trial]] = {}

    async def find(self, side: Side, *, first: int, factor: float) -> int:
        """How many streams a side holds. Raises ProcessFailed where its process ends."""
        trials = self.trials.setdefault(side.name, [])

        async def holds(streams: int) -> bool:
            trial = judge(streams, await self._benchmark.attempt(side, Shape(streams=streams, spread=RAMP)))
            trials.append(trial)
            return trial.held

        return await search(holds, first=min(first, self._most), factor=factor, most=self._most)


def judge(streams: int, result: StreamReport | str) -> Trial:
    """Whether streams were held: all complete, and none too late."""
    if isinstance(result, str):
        return Trial(streams=streams, held=False, why=result[:300])
    late = result.late_ms[1] if result.late_ms is not None else 0.0
    first = result.first_token_ms[1]
    return Trial(
        streams=streams,
        held=late < LATE_P99_MS and first < FIRST_P99_MS,
        why=f"late p99 {late:.1f} ms, first token p99 {first:.1f} ms",
        cores={process: result.effort.share(process) for process in result.effort.cpu},
    )
