"""The program of a process that checks schemas and answers, so that a hostile schema can cost no more than a process.

It reads requests from its standard input and writes replies to its standard output, each a JSON object behind its
length in eight bytes: ``{"schema": text, "answer": text or null}``, and ``{"fault": text or null}``. Before the first
one it says that it has started, by an empty reply. A request whose work takes more processor time than allowed ends the
process by SIGPROF, one that takes more memory by itself.
"""

import json
import re
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NoReturn

import jsonschema
import referencing
import referencing.exceptions
import referencing.jsonschema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
LENGTH_BYTES: Final = 8
PROCESSOR_SECONDS: Final = 1.0
MEMORY_BYTES: Final = 1024 * 1024 * 1024
SHOWN: Final = 300
# What a reference stands behind.
_REFERENCES: Final = ("$ref", "$dynamicRef")
# What leads to the top, to an anchor or into $defs finds a schema, which was looked at with the whole.
_KNOWN: Final = re.compile(r"#([^/].*|/\$defs/[^/%]*)?", re.DOTALL)


def fault_of_schema(text: str) -> str | None:
    """Return why a text is no schema that can be used; ``None`` where it is one."""
    try:
        schema = _parse(text)
        # Its strings go to providers, which are sent UTF-8; that has no place for half a surrogate pair.
        json.dumps(schema, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "must be Unicode: an escape stands for half a surrogate pair"
    except (ValueError, RecursionError) as error:
        return f"must be JSON: {error}"
    if not isinstance(schema, dict):
        return "must be a JSON object"
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        return f"must be of the dialect {DIALECT}"
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        # What stands there is the caller's own: an error names its place, and shows nothing of it.
        return f"is no JSON Schema: at {error.json_path[:SHOWN]}: breaks the draft's rule {error.validator!r}"
    except RecursionError:
        return "is nested too deeply"
    try:
        return _fault_of_references(schema)
    except jsonschema.SchemaError:
        return "refers to what is no JSON Schema"
    except RecursionError:
        return "is nested too deeply"


def fault_of_answer(schema: str, text: str) -> str | None:
    """Return what keeps a text from being JSON that keeps a schema which can be used; ``None`` where it does."""
    try:
        answer = _parse(text)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"
    # A registry that fetches nothing: the only references are within the schema.
    validator = jsonschema.Draft202012Validator(_parse(schema), registry=referencing.Registry())
    try:
        for violation in validator.iter_errors(answer):
            return _shown(violation)
    except RecursionError:
        return "it is nested too deeply"
    except OverflowError:
        return "it has a number that is too large to be compared"
    return None


def _parse(text: str) -> Any:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no value of JSON")

    return json.loads(text, parse_constant=refuse)


def _fault_of_references(schema: dict[str, Any]) -> str | None:
    # A property may have that name: then a schema stands behind it.
    if any(isinstance(part.get("$id"), str) for part in _objects(schema) if part is not schema):
        return "must be one document: $id may stand at its top alone"
    resource_of = referencing.jsonschema.DRAFT202012.create_resource
    resolver = referencing.Registry().with_resource("", resource_of(schema)).resolver()
    checked = set[str]()
    for part in _objects(schema):
        for name in _REFERENCES:
            reference = part.get(name)
            if not isinstance(reference, str) or reference in checked:
                continue
            if not reference.startswith("#"):
                return f"must refer to nothing outside of it, by {name} that begins with '#'"
            try:
                found = resolver.lookup(reference).contents
            except referencing.exceptions.Unresolvable:
                return f"refers by {name} to what is not there"
            if not _KNOWN.fullmatch(reference):
                # It may stand where the draft expects no schema, and has not been looked at then.
                jsonschema.Draft202012Validator.check_schema(found)
            checked.add(reference)
    return None


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)


def _shown(error: Any) -> str:
    shown = f"at {error.json_path[:SHOWN]}: {error.message[:SHOWN]}"
    # It is sent to a model, as UTF-8, which has no place for half a surrogate pair in a name.
    return shown.encode(errors="backslashreplace").decode()


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Say that it has started, and answer requests until there are no more."""
    replies.write(bytes(LENGTH_BYTES))
    replies.flush()
    while head := requests.read(LENGTH_BYTES):
        request = json.loads(requests.read(int.from_bytes(head, "big")))
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
        schema, answer = request["schema"], request["answer"]
        fault = fault_of_schema(schema) if answer is None else fault_of_answer(schema, answer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        reply = json.dumps({"fault": fault}).encode()
        replies.write(len(reply).to_bytes(LENGTH_BYTES, "big") + reply)
        replies.flush()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    serve(sys.stdin.buffer, sys.stdout.buffer)
