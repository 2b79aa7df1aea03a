"""A schema is held to strictly only where OpenAI would take it so."""

from typing import Any

import pytest

from chatter_grpc.adapters.models.strict_schema import can_be_strict

TEXT = {"type": "string"}
FLAT = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}


def over(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**FLAT, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "schema",
    [
        FLAT,
        over(title="A", description="A thing", **{"$schema": "https://json-schema.org/draft/2020-12/schema"}),
        over(properties={"a": {"type": ["string", "null"], "pattern": "^a", "enum": ["a", None]}}),
        over(properties={"a": {"type": "array", "items": FLAT, "minItems": 1, "maxItems": 3}}),
        over(properties={"a": {"anyOf": [TEXT, FLAT]}}),
        over(properties={"a": {"$ref": "#/$defs/b"}}, **{"$defs": {"b": FLAT}}),
        over(properties={}, required=[]),
        over(properties={}, required=None),
    ],
)
def test_what_names_all_of_its_properties_can_be(schema: dict[str, Any]) -> None:
    assert can_be_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TEXT,
        {"type": "array", "items": FLAT},
        {"anyOf": [FLAT, FLAT]},
        over(additionalProperties=None),
        over(additionalProperties=True),
        over(additionalProperties=TEXT),
        over(required=[]),
        over(required=None),
        over(required=["a", "b"]),
        over(properties={"a": {**TEXT, "minLength": 1}}),
        over(patternProperties={"^a": TEXT}),
        over(properties={"a": {"type": "object"}}),
        over(properties={"a": {"type": ["object", "null"]}}),
        over(properties={"a": {"properties": {"b": TEXT}}}),
        over(properties={"a": {"type": "array", "items": over(required=[])}}),
        over(properties={"a": {"anyOf": [TEXT, over(required=[])]}}),
        over(properties={"a": True}),
        over(**{"$defs": {"b": over(required=[])}}),
        over(properties={"a": {"required": ["b"]}}),
    ],
)
def test_anything_else_cannot(schema: dict[str, Any]) -> None:
    assert not can_be_strict(schema)
