"""Describes the settings for people: names, values without secrets, sources, kinds and meanings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import getdoc
from typing import Any, Final

import chatter_grpc.config
from chatter_grpc.config import PREFIX, Settings

DEFAULT: Final = "default"
ENVIRONMENT: Final = "environment"
DERIVED: Final = "derived"

_USER: Final = re.compile(r"(?<=://)[^/\s]*@")
_QUERY: Final = re.compile(r"(\w://[^?\s]*)\?\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: ``value`` is what JSON can hold, with asterisks for secrets, and ``None`` where it is not set.

    ``source`` says where it is from: the environment, the default, or derived from another setting, in which case
    ``in_effect`` says what is used in its place.
    """

    name: str
    value: Any
    source: str
    in_effect: str | None
    kind: str
    meaning: str


def describe_settings(settings: Settings | None) -> list[Setting]:
    """Return every setting in the reference's order: with its value in ``settings``, or with its default."""
    schema = Settings.model_json_schema()
    # Construction without validation reads no environment: these are the defaults.
    shown = settings if settings is not None else Settings.model_construct()
    values = shown.model_dump(mode="json")
    given = settings.model_fields_set if settings is not None else frozenset[str]()
    derived = derived_values(settings) if settings is not None else {}
    return [
        Setting(
            name=f"{PREFIX}{name.upper()}",
            value=without_credentials(values[name]),
            source=ENVIRONMENT if name in given else DERIVED if name in derived else DEFAULT,
            in_effect=derived.get(name),
            kind=kind_of(schema["properties"][name]),
            meaning=" ".join(schema["properties"][name]["description"].split()),
        )
        for name in Settings.model_fields
    ]


def without_credentials(value: Any) -> Any:
    """Return a value with asterisks for what an address holds beside its place: it may be a secret, if misplaced."""
    match value:
        case str():
            return _QUERY.sub(r"\1?**********", _USER.sub("**********@", value))
        case list():
            return [without_credentials(each) for each in value]
        case dict():
            return {name: without_credentials(each) for name, each in value.items()}
        case _:
            return value


def derived_values(settings: Settings) -> Mapping[str, str]:
    """Return what is in effect for settings that are not set and follow from another one."""
    if not settings.embedded:
        return {}
    derived = {"database_url": settings.database}
    if settings.secret is None:
        derived["secret"] = f"the content of {settings.data_dir / 'secret'}"
    return derived


def introduction() -> str:
    """Return what the module of the settings says about all of them."""
    return (getdoc(chatter_grpc.config) or "").replace("``", "`")


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return what a setting may be, in words, from its JSON schema."""
    if "anyOf" in schema:
        return kind_of(next(each for each in schema["anyOf"] if each["type"] != "null"))
    if "enum" in schema:
        return "one of " + ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("format") == "password":
        return "secret text"
    if schema.get("format") == "path":
        return "path"
    return KINDS[schema["type"]] + _range(schema)


KINDS: Final = {
    "string": "text",
    "boolean": "`true` or `false`",
    "integer": "whole number",
    "number": "number",
    "array": "JSON list",
    "object": "JSON map",
}


def _range(schema: Mapping[str, Any]) -> str:
    if "maximum" not in schema:
        return ""
    if "minimum" in schema:
        return f", {schema['minimum']:,} to {schema['maximum']:,}"
    return f", more than {schema['exclusiveMinimum']:,} and at most {schema['maximum']:,}"
