"""Schemas and answers are checked as the draft says, in bounded time, and nothing hostile reaches the server."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from chatter_grpc.adapters.schemas.checker import SchemaChecker, Worker, WorkerBroken, WorkerLost
from chatter_grpc.adapters.schemas.worker import fault_of_answer, fault_of_schema
from chatter_grpc.core.schemas import SchemaRefused
from tests.support.waiting import until

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TOO_MUCH = "longer to check, or more memory"


@pytest.fixture
async def checker() -> AsyncIterator[SchemaChecker]:
    running = SchemaChecker()
    yield running
    await running.close()
    assert not workers()


def workers() -> list[psutil.Process]:
    """The processes of this one that check schemas."""
    children = psutil.Process().children()
    return [child for child in children if any("schemas/worker.py" in word for word in child.cmdline())]


def doubling(depth: int) -> dict[str, Any]:
    """A short schema that takes two to the power of ``depth`` steps."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/s0", "$defs": {**steps, f"s{depth}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": DRAFT, "type": "object"},
        {"type": "array", "prefixItems": [{"const": 1}], "items": False},
        {"$defs": {"a b": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a%20b"}}},
        {"$anchor": "top", "items": {"$ref": "#top"}},
        {"$dynamicAnchor": "node", "items": {"$dynamicRef": "#node"}},
        {"properties": {"$ref": {"type": "string"}}},
        {"properties": {"$id": {"type": "string"}}},
        {"$ref": "#/shapes/a", "shapes": {"a": {"items": {"$ref": "#/shapes/b"}}, "b": True}},
        {"type": "object", "unknown": {"to": "the draft"}},
    ],
)
def test_what_the_draft_allows_is_a_schema(schema: dict[str, Any]) -> None:
    assert fault_of_schema(json.dumps(schema)) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be JSON"),
        ("{", "must be JSON"),
        ('{"minimum": NaN}', "NaN is no value"),
        ("[" * 100_000, "must be JSON"),
        ("true", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ('{"type": "text"}', r"at \$.type"),
        ('{"properties": {"a": {"minLength": -1}}}', r"at \$.properties.a.minLength"),
        ('{"pattern": "("}', r"at \$.pattern"),
        ('{"$schema": "http://json-schema.org/draft-07/schema#"}', "of the dialect"),
        ('{"$schema": 7}', "of the dialect"),
        ('{"$ref": "https://example.org/schema"}', "refer to nothing outside"),
        ('{"not": {"$ref": "file:///etc/passwd"}}', "refer to nothing outside"),
        ('{"properties": {"a": {"$ref": "other.json#/a"}}}', "refer to nothing outside"),
        ('{"$ref": "#/$defs/none"}', "to what is not there"),
        ('{"$dynamicRef": "#none"}', "to what is not there"),
        ('{"$defs": {"a": {"$id": "https://example.org/a"}}}', "one document"),
        ('{"$ref": "#/required", "required": ["a"]}', "to what is no JSON Schema"),
        ('{"$ref": "#/shape", "shape": 5}', "to what is no JSON Schema"),
        ('{"items": {"$ref": "#/shape"}, "shape": {"pattern": "("}}', "to what is no JSON Schema"),
        ('{"$ref": "#/$defs/a%2Frequired", "$defs": {"a": {"required": ["b"]}}}', "to what is no JSON Schema"),
        (r'{"title": "\ud800"}', "half a surrogate pair"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_is_wrong(text: str, told: str) -> None:
    fault = fault_of_schema(text) or ""
    assert re.search(told, fault)
    assert not any(secret in fault for secret in ("text", "example.org", "passwd", "none", "other.json"))


async def test_a_schema_is_refused_with_what_is_wrong_with_it(checker: SchemaChecker) -> None:
    await checker.check('{"type": "object"}')
    with pytest.raises(SchemaRefused, match=r"at \$.type: breaks the draft's rule 'anyOf'"):
        await checker.check('{"type": "text"}')


@pytest.mark.parametrize(
    ("schema", "answer", "told"),
    [
        ({}, "1", None),
        ({}, ' {"a": [null, true, "\\u0000"]}\n', None),
        ({"type": "object", "required": ["a"]}, '{"a": 1}', None),
        ({"type": "object", "required": ["a"]}, "{}", "'a' is a required property"),
        ({"properties": {"a": {"type": "integer"}}}, '{"a": "1"}', "at $.a: '1' is not of type 'integer'"),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"maximum": 3}}}, '{"a": 4}', "at $.a"),
        ({"pattern": "^g.+n$"}, '"green"', None),
        ({"pattern": "^g.+n$"}, '"red"', "does not match"),
        ({}, "", "no JSON"),
        ({}, "green", "no JSON"),
        ({}, "```json\n{}\n```", "no JSON"),
        ({}, '{"a": 1} {"b": 2}', "no JSON"),
        ({}, "NaN", "NaN is no value"),
        ({"multipleOf": 0.1}, "1e400", "too large"),
        ({"multipleOf": 0.1}, "1" * 400, "too large"),
        ({"additionalProperties": False}, r'{"\ud800": 1}', "'\\ud800'"),
        ({"additionalProperties": {"type": "null"}}, r'{"\ud800": 1}', r"at $['\ud800']"),
        ({}, "[" * 100_000, "no JSON"),
        ({"type": "number"}, '"' + "x" * 3_000_000 + '"', "at $: 'xxx"),
    ],
)
def test_an_answer_keeps_a_schema_or_it_is_told_why_not(schema: dict[str, Any], answer: str, told: str | None) -> None:
    fault = fault_of_answer(json.dumps(schema), answer)
    if told is None:
        assert fault is None
    else:
        assert fault is not None
        assert told in fault
        assert len(fault.encode()) < 1000


async def test_what_takes_too_long_is_given_up_and_the_next_is_checked(checker: SchemaChecker) -> None:
    hostile = {
        json.dumps({"pattern": "^(a+)+$"}): json.dumps("a" * 50 + "!"),
        json.dumps({"patternProperties": {"^(a|a)*$": True}}): json.dumps({"a" * 50 + "!": 1}),
        json.dumps(doubling(40)): "1",
    }
    for schema in hostile:
        await checker.check(schema)
    faults = await asyncio.gather(*(checker.fault_of(schema, answer) for schema, answer in hostile.items()))
    assert all(TOO_MUCH in (fault or "") for fault in faults)
    assert await checker.fault_of("{}", "1") is None


async def test_the_event_loop_goes_on_meanwhile(checker: SchemaChecker) -> None:
    checking = asyncio.create_task(checker.fault_of('{"pattern": "^(a+)+$"}', json.dumps("a" * 50 + "!")))
    rounds = 0
    while not checking.done():
        await asyncio.sleep(0.01)
        rounds += 1
    assert rounds > 10


async def test_processes_are_used_again_and_no_more_than_allowed(checker: SchemaChecker) -> None:
    await asyncio.gather(*(checker.check("{}") for _ in range(20)))
    running = {child.pid for child in workers()}
    assert 1 <= len(running) <= 2
    await asyncio.gather(*(checker.check("{}") for _ in range(20)))
    assert {child.pid for child in workers()} == running


async def test_a_process_that_was_killed_is_replaced(checker: SchemaChecker) -> None:
    await checker.check("{}")
    (running,) = workers()
    os.kill(running.pid, signal.SIGKILL)
    assert TOO_MUCH in (await checker.fault_of("{}", "1") or "")
    assert await checker.fault_of("{}", "1") is None


async def test_a_process_knows_nothing_of_the_server(checker: SchemaChecker) -> None:
    await checker.check("{}")
    (running,) = workers()
    assert running.environ() == {}


async def test_checks_under_way_end_when_it_is_closed() -> None:
    checker = SchemaChecker()
    checking = asyncio.create_task(checker.fault_of('{"pattern": "^(a+)+$"}', json.dumps("a" * 50 + "!")))
    await until(lambda: bool(workers()))
    await checker.close()
    assert TOO_MUCH in (await checking or "")
    assert not workers()


async def test_a_process_that_does_not_start_is_no_fault_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, checker: SchemaChecker
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        with pytest.raises(WorkerBroken):
            await checker.fault_of("{}", "1")
    assert await checker.fault_of("{}", "1") is None


async def test_a_process_that_says_nothing_is_given_up() -> None:
    worker = await asyncio.to_thread(Worker)
    os.kill(worker.process_id, signal.SIGSTOP)
    with pytest.raises(WorkerLost):
        await asyncio.to_thread(worker.ask, b"{}", 0.05)
    await asyncio.to_thread(worker.kill)
