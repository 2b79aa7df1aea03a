"""When a failed call is made again, and what a provider's Retry-After means."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.retries import CallFailed, Retries, parse_retry_after
from chatter_grpc.core.errors import ProviderUnavailable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RETRIES = Retries(max_attempts=4, backoff_seconds=0.25, backoff_max_seconds=0.8, retry_after_max_seconds=10.0)


def failed(*, may_pass: bool = True, retry_after: float | None = None) -> CallFailed:
    return CallFailed(ProviderUnavailable(provider="p"), may_pass=may_pass, retry_after=retry_after)


@settings(deadline=None)
@given(st.integers(1, 3))
def test_the_bound_of_a_pause_doubles_up_to_the_longest(attempt: int) -> None:
    pause = RETRIES.pause_after(attempt, failed())
    assert pause is not None
    assert 0.0 <= pause <= (0.25, 0.5, 0.8)[attempt - 1]


def test_pauses_differ() -> None:
    assert len({RETRIES.pause_after(3, failed()) for _ in range(20)}) > 1


def test_the_last_attempt_is_not_repeated() -> None:
    assert RETRIES.pause_after(4, failed()) is None


def test_what_does_not_pass_is_not_repeated() -> None:
    assert RETRIES.pause_after(1, failed(may_pass=False)) is None


def test_a_provider_gets_at_least_the_pause_that_it_asks_for() -> None:
    pause = RETRIES.pause_after(1, failed(retry_after=7.0))
    assert pause is not None
    assert 7.0 <= pause <= 7.25


def test_a_provider_that_asks_for_too_long_a_pause_is_not_asked_again() -> None:
    assert RETRIES.pause_after(1, failed(retry_after=10.5)) is None


def test_a_very_late_attempt_is_still_bounded() -> None:
    many = Retries(max_attempts=5000, backoff_seconds=1.0, backoff_max_seconds=2.0, retry_after_max_seconds=1.0)
    pause = many.pause_after(4000, failed())
    assert pause is not None
    assert pause <= 2.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("3", 3.0),
        (" 1.5 ", 1.5),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30.0),
        ("Fri, 02 Jan 2026 03:04:35 -0000", 30.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("9" * 400, None),
        ("\u0663", None),
        ("Fri, 99 Jan 2026 03:04:35 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, now=NOW) == seconds


@settings(deadline=None)
@given(st.text())
def test_no_header_breaks_the_reading_of_it(header: str) -> None:
    seconds = parse_retry_after(header, now=NOW)
    assert seconds is None or seconds >= 0
