"""When a pass is due, and what the moments of one are."""

from datetime import timedelta

import pytest

from chatter_grpc.core.housekeeping.duties import Cutoffs, Retention
from chatter_grpc.core.housekeeping.schedule import LOOK_SECONDS, Timetable
from chatter_grpc.core.housekeeping.store import Passes
from tests.support.records import NOW

HOUR = timedelta(hours=1)
HOURLY = Timetable(interval=3600, pass_seconds=240)


def test_the_first_pass_is_due() -> None:
    assert HOURLY.is_due(Passes(), NOW)


@pytest.mark.parametrize(("after", "due"), [(HOUR - timedelta(microseconds=1), False), (HOUR, True)])
def test_a_pass_is_due_an_interval_after_the_one_before_began(after: timedelta, due: bool) -> None:
    assert HOURLY.is_due(Passes(began_at=NOW, ended_at=NOW + timedelta(seconds=239)), NOW + after) is due
    assert HOURLY.is_due(Passes(began_at=NOW), NOW + after) is due


def test_a_pass_that_ran_out_of_time_is_gone_on_with_at_once() -> None:
    assert HOURLY.is_due(Passes(began_at=NOW, ended_at=NOW + timedelta(seconds=240)), NOW + timedelta(seconds=241))


def test_without_an_interval_none_is_ever_due() -> None:
    never = Timetable(interval=0)
    assert not never.is_due(Passes(), NOW)
    assert not never.is_due(Passes(began_at=NOW), NOW + 1000 * HOUR)


@pytest.mark.parametrize(("interval", "between"), [(4.0, 1.0), (3600.0, LOOK_SECONDS), (0.0, LOOK_SECONDS)])
def test_processes_look_often_enough_and_not_at_the_same_moment(interval: float, between: float) -> None:
    pauses = {Timetable(interval=interval).pause() for _ in range(20)}
    assert all(between / 2 <= pause <= between for pause in pauses)
    assert len(pauses) > 1


def test_the_month_of_a_day_is_counted_until_it_is_over_everywhere() -> None:
    days = {moment: Cutoffs.at(NOW.replace(month=12, day=moment), Retention()).day for moment in (1, 2)}
    assert days == {1: "2026-11-01", 2: "2026-12-01"}


def test_what_is_kept_for_good_has_no_moment() -> None:
    assert Cutoffs.at(NOW, Retention(audit=None)).audit is None
