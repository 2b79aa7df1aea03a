"""The log is one event a line and holds no content, whoever logs."""

import asyncio
import gc
import logging
from collections.abc import Iterator

import pytest
import structlog

from chatter_grpc.logs import set_up_logs
from tests.support.logs import Log, captured_log

PLANTED = "planted-secret"


@pytest.fixture
def log() -> Iterator[Log]:
    with captured_log() as log:
        yield log


def raise_planted() -> None:
    try:
        raise KeyError(PLANTED)
    except KeyError as error:
        raise ValueError(f"cannot take {PLANTED}") from error


def test_an_exception_is_logged_by_type_place_and_cause_without_its_message(log: Log) -> None:
    try:
        raise_planted()
    except ValueError as error:
        structlog.get_logger().error("fault", call_id="call_1", exc_info=error)
    (event,) = log.events()
    assert (event["event"], event["level"], event["call_id"]) == ("fault", "error", "call_1")
    assert [each["type"] for each in event["exception"]] == ["builtins.ValueError", "builtins.KeyError"]
    assert event["exception"][0]["frames"][-1].startswith("tests/unit/test_logs.py:")
    assert event["exception"][0]["frames"][-1].endswith(" raise_planted")
    assert PLANTED not in log.getvalue()


def test_the_cores_loggers_give_facts(log: Log) -> None:
    logging.getLogger("chatter_grpc.core.runs").warning("run_lost", extra={"run_id": "run_1"})
    (event,) = log.events()
    assert event.pop("timestamp")
    assert event == {
        "event": "run_lost",
        "level": "warning",
        "logger": "chatter_grpc.core.runs",
        "run_id": "run_1",
    }


def test_of_other_libraries_only_warnings_and_their_constant_text_are_logged(log: Log) -> None:
    other = logging.getLogger("some.library")
    other.info("below %s", PLANTED)
    other.warning("cannot read %s", PLANTED, extra={"body": PLANTED})
    other.error("first line\n%s", PLANTED)
    assert [event["event"] for event in log.events()] == ["cannot read %s", "first line"]
    assert PLANTED not in log.getvalue()


async def test_a_task_that_nobody_awaited_is_logged_without_its_exceptions_message(log: Log) -> None:
    async def fail() -> None:
        raise_planted()

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    (event,) = log.events()
    assert event["event"] == "Task exception was never retrieved"
    assert event["exception"][0]["type"] == "builtins.ValueError"
    assert PLANTED not in log.getvalue()


def test_below_its_level_nothing_is_logged(log: Log) -> None:
    set_up_logs("warning", "json", log)
    structlog.get_logger().info("quiet")
    logging.getLogger("chatter_grpc.app").info("quiet")
    assert log.events() == []


def test_a_person_reads_lines_instead_of_json(log: Log) -> None:
    set_up_logs("info", "console", log)
    structlog.get_logger().info("serving", port=1)
    assert "serving" in log.getvalue()
    assert "port=1" in log.getvalue()
