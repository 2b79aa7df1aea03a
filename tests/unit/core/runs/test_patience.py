"""Whoever is patient tries again while the database is away, and for no other fault."""

import pytest

from chatter_grpc.core.errors import RunInterrupted, StorageUnavailable
from chatter_grpc.core.runs.patience import Patience

LASTING = Patience(give_up_after=60, pause=0)


class Database:
    """Is away for the first calls; keeps whether each was told that it is tried again."""

    def __init__(self, away: int, error: Exception | None = None) -> None:
        self._away = away
        self._error = error or StorageUnavailable()
        self.told: list[bool] = []

    async def commit(self, again: bool) -> str:
        self.told.append(again)
        if len(self.told) <= self._away:
            raise self._error
        return "done"


async def test_what_succeeds_is_tried_once() -> None:
    database = Database(away=0)
    assert await LASTING.insist(database.commit) == "done"
    assert database.told == [False]


async def test_it_is_tried_again_until_the_database_is_back_and_told_so() -> None:
    database = Database(away=3)
    assert await LASTING.insist(database.commit) == "done"
    assert database.told == [False, True, True, True]


async def test_once_the_time_is_over_the_last_failure_is_raised() -> None:
    database = Database(away=10**9)
    with pytest.raises(StorageUnavailable):
        await Patience(give_up_after=0.01, pause=0.002).insist(database.commit)
    assert database.told[:2] == [False, True]


async def test_without_time_it_is_tried_once() -> None:
    database = Database(away=1)
    with pytest.raises(StorageUnavailable):
        await Patience(give_up_after=0, pause=0).insist(database.commit)
    assert database.told == [False]


async def test_another_fault_is_not_waited_for() -> None:
    database = Database(away=1, error=RunInterrupted(run_id="run_1"))
    with pytest.raises(RunInterrupted):
        await LASTING.insist(database.commit)
    assert database.told == [False]
