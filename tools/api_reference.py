"""Makes `docs/api.md`, the reference of the contract, from the protos: `python -m tools.api_reference`."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, MethodOptions

from chatter_grpc._gen.chatter.options.v1 import error_pb2, policy_pb2, rules_pb2
from tools.commented_protos import Contract, Part, read_contract

REASONS: Final = "ErrorReason"
REASON_PREFIX: Final = "ERROR_REASON_"
Field = FieldDescriptorProto
KINDS: Final = {number: name.removeprefix("TYPE_").lower() for name, number in Field.Type.items()}
OF_GOOGLE: Final = re.compile(r"\.google\.protobuf\.(\w+)")
OWN: Final = re.compile(r"\.chatter\.v1\.([\w.]+)")
EXAMPLE: Final = re.compile(r"\s*Example\s+of\s+its\s+metadata:\s+(`.*?`)\.?", re.DOTALL)

HEAD: Final = """\
# API reference

<!-- Made by `make derive` from the protos; a test compares the two. -->

The contract `chatter.v1`, as the files in [`protos/`](../protos) have it; their comments are this page.
[The cookbook](grpcurl.md) shows every call on the wire, and [concepts](concepts.md) what runs, frames and cursors are.

*Access* says who may call: anyone (public), every caller with valid credentials (authenticated), or those whose
credentials hold a scope. *Rate class* is the limit that a call counts against, and by how many units. *Repeatable*
calls may be repeated by a client that heard no answer: `no side effects` because nothing changes, `idempotent` because
the `request_id`, or the nature of the change, makes the repeat the same call.
"""


def reference() -> str:
    """Return the page."""
    contract = read_contract()
    return "\n".join([HEAD, *_contents(contract), *_services(contract), *_messages(contract), *_enums(contract)])


def _contents(contract: Contract) -> Iterator[str]:
    for service in contract.services:
        methods = " · ".join(f"[{each.proto.name}](#{anchor(each.proto.name)})" for each in service.inner)
        yield f"- [{service.proto.name}](#{anchor(service.proto.name)}): {methods}"
    yield "- [Messages](#messages) · [Enums](#enums) · [Errors](#errors)"
    yield ""


def _services(contract: Contract) -> Iterator[str]:
    messages = {each.proto.name: each for each in contract.messages}
    for service in contract.services:
        yield f"## {service.proto.name}\n"
        yield _linked(service.comment) + "\n"
        for method in service.inner:
            yield from _method(method, messages)


def _method(method: Part, messages: Mapping[str, Part]) -> Iterator[str]:
    proto = method.proto
    request, response = (OWN.sub(r"\1", each) for each in (proto.input_type, proto.output_type))
    stream = "stream " if proto.server_streaming else ""
    yield f"### {proto.name}\n"
    yield f"```protobuf\nrpc {proto.name}({request}) returns ({stream}{response})\n```\n"
    yield _linked(method.comment) + "\n"
    policy = proto.options.Extensions[policy_pb2.policy]
    access = policy_pb2.Access.Name(policy.access).removeprefix("ACCESS_").lower()
    rate_class = policy_pb2.RateClass.Name(policy.rate_class).removeprefix("RATE_CLASS_").lower()
    level = MethodOptions.IdempotencyLevel.Name(proto.options.idempotency_level)
    repeatable = "no" if level == "IDEMPOTENCY_UNKNOWN" else level.lower().replace("_", " ")
    scope = f" `{policy.scope}`" if policy.scope else ""
    audited = "; each change is audited" if policy.audit else ""
    yield f"*Access* {access}{scope}; *rate class* {rate_class}, {policy.cost}; *repeatable* {repeatable}{audited}.\n"
    for name in (request, response):
        yield f"**{name}**\n"
        yield from _fields(messages[name])


def _messages(contract: Contract) -> Iterator[str]:
    yield "## Messages\n"
    of_methods = {
        OWN.sub(r"\1", each)
        for service in contract.services
        for method in service.inner
        for each in (method.proto.input_type, method.proto.output_type)
    }
    for message in sorted(contract.messages, key=lambda each: each.proto.name):
        if message.proto.name not in of_methods:
            yield f"### {message.proto.name}\n"
            yield _linked(message.comment) + "\n"
            yield from _fields(message)


def _fields(message: Part) -> Iterator[str]:
    fields = [part for part in message.inner if isinstance(part.proto, FieldDescriptorProto)]
    oneofs = [part for part in message.inner if not isinstance(part.proto, FieldDescriptorProto)]
    if not fields:
        yield "It has no fields.\n"
        return
    yield "| Field | Type | Rules | Meaning |"
    yield "|---|---|---|---|"
    maps = {each.name: each for each in message.proto.nested_type if each.options.map_entry}
    for part in fields:
        field = part.proto
        meaning = _cell(part.comment)
        if field.HasField("oneof_index") and not field.proto3_optional:
            oneof = oneofs[field.oneof_index]
            meaning = f"*One of `{oneof.proto.name}`.* {meaning}"
        rules = "; ".join(_rules(field))
        yield f"| `{field.name}` | {_type(field, maps)} | {rules} | {meaning} |"
    yield ""
    for oneof in oneofs:
        if oneof.comment:
            yield f"`{oneof.proto.name}`: {_linked(oneof.comment)}\n"


def _type(field: Field, maps: Mapping[str, object]) -> str:
    inner = field.type_name.rpartition(".")[2]
    if inner in maps:
        return "map of string to string"
    name = KINDS[field.type]
    if field.type_name:
        name = OF_GOOGLE.sub(r"\1", field.type_name)
        own = OWN.fullmatch(field.type_name)
        name = f"[{own[1]}](#{anchor(own[1])})" if own else name
    if field.label == Field.LABEL_REPEATED:
        return f"list of {name}"
    return f"optional {name}" if field.proto3_optional else name


def _rules(field: Field) -> Iterator[str]:
    rules = field.options.Extensions[rules_pb2.rules]
    if rules.required:
        yield "required"
    for name, bounds in (("length", rules.length), ("items", rules.items)):
        if bounds.min or bounds.max:
            yield f"{name} {_bounds(bounds.min or None, bounds.max or None)}"
    if rules.HasField("range"):
        low = rules.range.min if rules.range.HasField("min") else None
        high = rules.range.max if rules.range.HasField("max") else None
        yield f"value {_bounds(low, high)}"
    if rules.pattern:
        yield f"`{rules.pattern.replace('|', chr(92) + '|')}`"
    if field.options.debug_redact:
        yield "not logged"


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"up to {high:,g}"
    return f"from {low:,g}" if high is None else f"{low:,g} to {high:,g}"


def _enums(contract: Contract) -> Iterator[str]:
    yield "## Enums\n"
    for enum in sorted(contract.enums, key=lambda each: each.proto.name):
        if enum.proto.name == REASONS:
            continue
        yield f"### {enum.proto.name}\n"
        yield _linked(enum.comment) + "\n"
        yield "| Value | Number | Meaning |\n|---|---|---|"
        for value in enum.inner:
            yield f"| `{value.proto.name}` | {value.proto.number} | {_cell(value.comment)} |"
        yield ""
    yield from _errors(next(each for each in contract.enums if each.proto.name == REASONS))


def _errors(reasons: Part) -> Iterator[str]:
    yield f'## Errors\n\n<a id="{anchor(REASONS)}"></a>\n'
    yield reasons.comment + "\n"
    yield "| Reason | Number | Status | Meaning | Metadata, for example |\n|---|---|---|---|---|"
    for value in reasons.inner:
        name = value.proto.name.removeprefix(REASON_PREFIX)
        code = value.proto.options.Extensions[error_pb2.error].code
        status = error_pb2.Code.Name(code).removeprefix("CODE_") if code else ""
        example = EXAMPLE.search(value.comment)
        meaning = _cell(EXAMPLE.sub("", value.comment)).removeprefix(f"{value.proto.name}: ")
        shown = _cell(example[1]) if example else ""
        yield f'| <a id="{anchor(name)}"></a>`{name}` | {value.proto.number} | {status} | {meaning} | {shown} |'
    yield ""


def anchor(name: str) -> str:
    """Return where a heading of this name is on the page."""
    return name.lower()


def _linked(comment: str) -> str:
    """Return a comment whose `Errors:` line leads to the errors."""

    def linked(line: re.Match[str]) -> str:
        return "*Errors:* " + re.sub(r"\b[A-Z][A-Z_]+[A-Z]\b", lambda m: f"[{m[0]}](#{anchor(m[0])})", line[1])

    return re.sub(r"^Errors: (.*)\Z", linked, comment, flags=re.MULTILINE | re.DOTALL)


def _cell(comment: str) -> str:
    return " ".join(comment.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
