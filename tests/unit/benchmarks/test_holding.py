"""The search finds what a server holds, in few trials; what is not complete or too late is not held."""

import pytest

from benchmarks.holding import MOST, PRECISION, TRIALS, judge, search
from benchmarks.load.jobs import Effort, StreamReport


def report(*, late: float, first: float) -> StreamReport:
    return StreamReport(
        effort=Effort(wall=2.0, cpu={"server": 1.0, "load": 0.5}),
        streams=4,
        tokens=100,
        messages=100,
        wire_bytes=1,
        first_token_ms=(1.0, first),
        late_ms=(1.0, late),
    )


@pytest.mark.parametrize("limit", [1, 2, 15, 16, 38, 127, 533, 1_111])
@pytest.mark.parametrize(("first", "factor"), [(16, 2.0), (128, 2.0), (500, 1.2)])
async def test_a_search_comes_near_the_limit_in_few_trials(limit: int, first: int, factor: float) -> None:
    tried: list[int] = []

    async def holds(streams: int) -> bool:
        tried.append(streams)
        return streams <= limit

    found = await search(holds, first=first, factor=factor)
    assert found <= limit
    assert len(tried) == len(set(tried)) <= TRIALS
    assert limit - found <= max(1, limit // (PRECISION // 2))


async def test_a_server_that_holds_none_and_one_that_holds_all_end_the_search() -> None:
    tried: list[int] = []

    async def holds(streams: int, *, answer: bool) -> bool:
        tried.append(streams)
        return answer

    assert await search(lambda streams: holds(streams, answer=False), first=16, factor=2.0) == 0
    assert min(tried) == 1
    assert await search(lambda streams: holds(streams, answer=True), first=16, factor=2.0) == MOST


@pytest.mark.parametrize(("late", "first", "held"), [(99.0, 999.0, True), (100.0, 10.0, False), (10.0, 1_000.0, False)])
def test_streams_are_held_where_none_is_too_late(late: float, first: float, held: bool) -> None:
    trial = judge(4, report(late=late, first=first))
    assert trial.held is held
    assert trial.cores == {"server": 0.5, "load": 0.25}


def test_streams_that_are_not_complete_are_not_held() -> None:
    trial = judge(9, "3 of 9 streams were not complete")
    assert not trial.held
    assert "3 of 9" in trial.why
