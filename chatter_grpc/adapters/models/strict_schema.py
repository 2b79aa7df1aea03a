"""Tells which JSON Schemas OpenAI's models can be held to strictly: those that its structured outputs know whole."""

from typing import Any, Final

_KEYWORDS: Final = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    }
)
_MARKS: Final = frozenset({"$schema", "$id", "$comment"})


def can_be_strict(schema: dict[str, Any]) -> bool:
    """Whether a schema is in the subset of structured outputs' strict mode, which refuses any other.

    Its root is an object, every object names all of its properties as required and no further ones, and there are no
    keywords but those that are known.
    """
    bare = {name: value for name, value in schema.items() if name not in _MARKS}
    return bare.get("type") == "object" and _is_strict(bare)


def _is_strict(schema: Any) -> bool:
    if not isinstance(schema, dict) or not schema.keys() <= _KEYWORDS:
        return False
    properties = schema.get("properties", {})
    if "object" in _types(schema) or properties:
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != properties.keys():
            return False
    elif "additionalProperties" in schema or "required" in schema:
        return False
    nested = [*properties.values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        nested.append(schema["items"])
    return all(map(_is_strict, nested))


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type", ())
    return [types] if isinstance(types, str) else list(types)
