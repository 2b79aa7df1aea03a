"""Every field rule of the contract is kept, and all violations of a request are found together."""

import math
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass

from chatter_grpc._gen.chatter.v1 import chat_service_pb2
from chatter_grpc.rpc.contract import SERVICES
from chatter_grpc.rpc.faults import ContractFault
from chatter_grpc.rpc.rules import RuleCompiler, request_rules
from tests.support.protos import compile_proto

RULES = "(chatter.options.v1.rules)"
CASE = compile_proto(f"""
enum Colour {{ COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; }}
message Inner {{
  string text = 1 [{RULES} = {{required: true, length: {{max: 3}}}}];
  Inner inner = 2;
  repeated Inner inners = 3 [{RULES} = {{items: {{max: 2}}}}];
}}
message Case {{
  string name = 1 [{RULES} = {{required: true, length: {{min: 2, max: 4}}, pattern: "[a-z]+"}}];
  string free = 2 [{RULES} = {{length: {{min: 2, max: 4}}, pattern: "[a-z]+"}}];
  optional string model = 3 [{RULES} = {{length: {{min: 1, max: 4}}}}];
  bytes raw = 4 [{RULES} = {{length: {{min: 2, max: 3}}}}];
  int32 size = 5 [{RULES} = {{range: {{min: 0, max: 10}}}}];
  optional double heat = 6 [{RULES} = {{range: {{min: 0.5, max: 2}}}}];
  Colour colour = 7 [{RULES} = {{defined_enum: true}}];
  Colour needed = 8 [{RULES} = {{required: true, defined_enum: true}}];
  Inner inner = 9 [{RULES} = {{required: true}}];
  repeated string tags = 10 [{RULES} = {{length: {{min: 1, max: 2}}, items: {{min: 2, max: 3}}}}];
  map<string, string> notes = 11 [{RULES} = {{length: {{max: 3}}, pattern: "[a-z]*", items: {{max: 2}}}}];
  oneof what {{
    Colour kind = 12 [{RULES} = {{required: true, defined_enum: true}}];
    string other = 13 [{RULES} = {{required: true, length: {{max: 3}}}}];
    Inner deep = 14 [{RULES} = {{required: true}}];
  }}
  map<string, Inner> named = 15 [{RULES} = {{items: {{max: 2}}}}];
  repeated Inner listed = 16 [{RULES} = {{required: true, items: {{max: 2}}}}];
  string plain = 17;
  optional int32 count = 18 [{RULES} = {{required: true}}];
  google.protobuf.Timestamp time = 19;
  repeated int32 numbers = 20 [{RULES} = {{range: {{max: 5}}, items: {{max: 9}}}}];
}}
""").message_types_by_name["Case"]
Case: Any = GetMessageClass(CASE)
VALID = {
    "name": "abc",
    "needed": 1,
    "inner": {"text": "x"},
    "listed": [{"text": "y"}],
    "count": 0,
}


def violations(**fields: Any) -> list[tuple[str, str]]:
    message = Case(**{**VALID, **fields})
    return [(each.field, each.description) for each in RuleCompiler().compile(CASE).violations(message)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "ab"},
        {"name": "abcd"},
        {"free": "ab"},
        {"model": "m"},
        {"model": "äöü€"},
        {"raw": b"ab"},
        {"size": 10},
        {"heat": 0.5},
        {"colour": 1},
        {"tags": ["a", "bb"]},
        {"notes": {"a": "", "abc": "xyz"}},
        {"kind": 1},
        {"other": "abc"},
        {"deep": {"text": "abc"}},
        {"named": {"any key at all": {"text": "x"}}},
        {"plain": "x" * 10_000},
        {"count": -1},
        {"numbers": [5, -5]},
    ],
)
def test_what_keeps_the_rules_passes(fields: dict[str, Any]) -> None:
    assert violations(**fields) == []


@pytest.mark.parametrize(
    ("fields", "field", "description"),
    [
        ({"name": ""}, "name", "must be set"),
        ({"name": "a"}, "name", "must have at least 2 characters"),
        ({"name": "abcde"}, "name", "must have at most 4 characters"),
        ({"name": "aB"}, "name", "must match [a-z]+"),
        ({"name": "ab\n"}, "name", "must match [a-z]+"),
        ({"free": "a"}, "free", "must have at least 2 characters"),
        ({"model": ""}, "model", "must have at least 1 characters"),
        ({"model": "äöü€ß"}, "model", "must have at most 4 characters"),
        ({"raw": b"a"}, "raw", "must have at least 2 bytes"),
        ({"raw": "äö".encode()}, "raw", "must have at most 3 bytes"),
        ({"size": -1}, "size", "must be at least 0"),
        ({"size": 11}, "size", "must be at most 10"),
        ({"heat": 0.0}, "heat", "must be at least 0.5"),
        ({"heat": math.inf}, "heat", "must be at most 2"),
        ({"heat": math.nan}, "heat", "must be a number"),
        ({"colour": 2}, "colour", "must be a defined value of made.up.Colour"),
        ({"needed": 0}, "needed", "must be set"),
        ({"inner": None}, "inner", "must be set"),
        ({"inner": {"text": "x", "inner": {}}}, "inner.inner.text", "must be set"),
        ({"inner": {"text": "x", "inners": [{"text": "x"}, {}]}}, "inner.inners[1].text", "must be set"),
        ({"tags": ["a"]}, "tags", "must have at least 2 elements"),
        ({"tags": ["a"] * 4}, "tags", "must have at most 3 elements"),
        ({"tags": ["a", ""]}, "tags[1]", "must have at least 1 characters"),
        ({"tags": ["a", "bbb"]}, "tags[1]", "must have at most 2 characters"),
        ({"notes": dict.fromkeys("abc", "")}, "notes", "must have at most 2 elements"),
        ({"notes": {"abcd": ""}}, 'notes["abcd"]', "must have at most 3 characters"),
        ({"notes": {"a": "abcd"}}, 'notes["a"]', "must have at most 3 characters"),
        ({"notes": {"A": ""}}, 'notes["A"]', "must match [a-z]*"),
        ({"kind": 0}, "kind", "must be set"),
        ({"kind": 5}, "kind", "must be a defined value of made.up.Colour"),
        ({"other": ""}, "other", "must be set"),
        ({"deep": {}}, "deep.text", "must be set"),
        ({"named": {"k": {}}}, 'named["k"].text', "must be set"),
        ({"listed": []}, "listed", "must be set"),
        ({"listed": [{"text": "long!"}]}, "listed[0].text", "must have at most 3 characters"),
        ({"count": None}, "count", "must be set"),
        ({"numbers": [1, 6]}, "numbers[1]", "must be at most 5"),
        ({"plain": "a\0b"}, "plain", "must not hold the character U+0000"),
        ({"model": "\0"}, "model", "must not hold the character U+0000"),
        ({"named": {"\0": {"text": "x"}}}, 'named["\0"]', "must not hold the character U+0000"),
    ],
)
def test_what_breaks_a_rule_is_found(fields: dict[str, Any], field: str, description: str) -> None:
    assert violations(**fields) == [(field, description)]


def test_all_violations_are_found_together() -> None:
    found = violations(name="", size=-1, inner={"text": ""}, tags=["", "b", "ccc"], notes={"ABCD": "abcd"})
    assert found == [
        ("name", "must be set"),
        ("size", "must be at least 0"),
        ("inner.text", "must be set"),
        ("tags[0]", "must have at least 1 characters"),
        ("tags[2]", "must have at most 2 characters"),
        ('notes["ABCD"]', "must have at most 3 characters"),
        ('notes["ABCD"]', "must match [a-z]*"),
        ('notes["ABCD"]', "must have at most 3 characters"),
    ]


def test_of_a_list_that_is_too_long_the_elements_are_not_looked_at() -> None:
    assert violations(tags=[""] * 100_000) == [("tags", "must have at most 3 elements")]


def test_a_path_shows_the_beginning_of_a_long_key_only() -> None:
    assert violations(notes={"k" * 1000: ""}) == [(f'notes["{"k" * 40}"]', "must have at most 3 characters")]


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("int32 a = 1 [%s = {required: true}]", "required cannot tell 0 from unset"),
        ("bool a = 1 [%s = {required: true}]", "required cannot tell 0 from unset"),
        ("int32 a = 1 [%s = {length: {max: 1}}]", "length is for strings"),
        ("google.protobuf.Timestamp a = 1 [%s = {length: {max: 1}}]", "length is for strings"),
        ("string a = 1 [%s = {range: {max: 1}}]", "range is for numbers"),
        ("bytes a = 1 [%s = {pattern: 'a'}]", "pattern is for strings"),
        ("int32 a = 1 [%s = {defined_enum: true}]", "defined_enum is for enums"),
        ("string a = 1 [%s = {items: {max: 1}}]", "items is for lists"),
        ("string a = 1 [%s = {length: {min: 2, max: 1}}]", "length.min is greater"),
        ("int32 a = 1 [%s = {range: {min: 2, max: 1}}]", "range.min is greater"),
        ("repeated string a = 1 [%s = {items: {min: 2, max: 1}}]", "not below items.min"),
        ("repeated string a = 1 [%s = {length: {max: 1}}]", "needs items.max"),
        ("map<string, string> a = 1", "needs items.max"),
        ("map<string, int32> a = 1 [%s = {length: {max: 1}, items: {max: 1}}]", "length is for strings"),
        ("string a = 1 [%s = {pattern: '(?=a)'}]", "RE2 has no lookaround"),
        ("string a = 1 [%s = {pattern: '('}]", "pattern '\\('"),
    ],
)
def test_a_rule_that_makes_no_sense_where_it_stands_keeps_the_server_from_starting(field: str, fault: str) -> None:
    source = compile_proto(f"message Case {{ {field.replace('%s', RULES)}; }}")
    with pytest.raises(ContractFault, match=fault):
        RuleCompiler().compile(source.message_types_by_name["Case"])


def test_a_stream_of_requests_keeps_the_server_from_starting() -> None:
    source = compile_proto("message In {} service S { rpc Upload(stream In) returns (In); }")
    with pytest.raises(ContractFault, match="no streams of requests"):
        request_rules([source.services_by_name["S"]])


def test_the_contracts_rules_find_every_fault_of_a_request() -> None:
    fields: dict[str, Any] = {
        "request_id": "with space",
        "parts": [{"text": {"text": ""}}],
        "overrides": {"temperature": 3, "max_tokens": 0},
        "on_disconnect": 7,
    }
    request = chat_service_pb2.SendMessageRequest(**fields)
    rules = request_rules(SERVICES)["/chatter.v1.ChatService/SendMessage"]
    assert {each.field for each in rules.violations(request)} == {
        "request_id",
        "conversation_id",
        "parts[0].text.text",
        "overrides.temperature",
        "overrides.max_tokens",
        "on_disconnect",
    }
