"""Portions follow how long they take, and others go first."""

import pytest

from chatter_grpc.core.housekeeping.pace import FIRST, MOST, Pace


def test_portions_that_take_no_time_grow_to_a_bound() -> None:
    pace = Pace()
    for _ in range(20):
        pace.took(0.0)
    assert pace.rows == MOST


def test_portions_that_take_too_long_shrink_to_one_row() -> None:
    pace = Pace()
    for _ in range(20):
        pace.took(1.0)
    assert pace.rows == 1


def test_a_portion_of_about_the_right_length_is_followed_by_one_as_large() -> None:
    pace = Pace(longest=0.02)
    pace.took(0.01)
    assert pace.rows == FIRST


@pytest.mark.parametrize(("took", "rest"), [(0.0, 0.001), (0.01, 0.04), (10.0, 1.0)])
def test_others_have_a_multiple_of_the_time_within_bounds(took: float, rest: float) -> None:
    assert Pace(rests=4).took(took) == pytest.approx(rest)
