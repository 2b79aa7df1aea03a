"""The contract with its comments, which the descriptors that a server knows leave out."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

PROTOS: Final = Path(__file__).resolve().parents[1] / "protos"
PACKAGE: Final = "chatter.v1"
# Field numbers of descriptor.proto, of which the paths of comments are made.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, ONEOFS = 2, 3, 8
METHODS = VALUES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A message, field, oneof, enum, value, service or method: its descriptor, and what its comment says.

    ``inner`` are a message's fields and oneofs, an enum's values, a service's methods, in their order.
    """

    proto: Any
    comment: str
    inner: tuple["Part", ...] = ()


@dataclass(frozen=True, slots=True)
class Contract:
    """All of the contract, in the order of its files."""

    services: list[Part]
    messages: list[Part]
    enums: list[Part]


def read_contract() -> Contract:
    """Compile the protos and return them with their comments; raises ``CalledProcessError`` where they do not compile.

    The options of the contract are read where their generated modules have been imported before.
    """
    contract = Contract([], [], [])
    for file in _compiled().file:
        if file.package != PACKAGE:
            continue
        comments = {
            tuple(location.path): _text(location.leading_comments) for location in file.source_code_info.location
        }
        contract.services.extend(_services(file, comments))
        contract.messages.extend(_messages(file.message_type, comments, (MESSAGES,)))
        contract.enums.extend(_enums(file.enum_type, comments, (ENUMS,)))
    return contract


def _compiled() -> FileDescriptorSet:
    names = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "contract.binpb"
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{files('grpc_tools') / '_proto'}"),
            *("--include_source_info", f"--descriptor_set_out={out}", *names),
        ]
        subprocess.run(command, check=True, timeout=120)  # noqa: S603 - no outside input
        return FileDescriptorSet.FromString(out.read_bytes())


Comments = dict[tuple[int, ...], str]


def _services(file: FileDescriptorProto, comments: Comments) -> Iterator[Part]:
    for number, service in enumerate(file.service):
        path = (SERVICES, number)
        methods = tuple(
            Part(proto=method, comment=comments.get((*path, METHODS, index), ""))
            for index, method in enumerate(service.method)
        )
        yield Part(proto=service, comment=comments.get(path, ""), inner=methods)


def _messages(messages: Any, comments: Comments, where: tuple[int, ...]) -> Iterator[Part]:
    for number, message in enumerate(messages):
        path = (*where, number)
        if message.options.map_entry:
            continue
        fields = [
            Part(proto=field, comment=comments.get((*path, FIELDS, index), ""))
            for index, field in enumerate(message.field)
        ]
        oneofs = [
            Part(proto=oneof, comment=comments.get((*path, ONEOFS, index), ""))
            for index, oneof in enumerate(message.oneof_decl)
        ]
        yield Part(proto=message, comment=comments.get(path, ""), inner=(*fields, *oneofs))
        yield from _messages(message.nested_type, comments, (*path, NESTED))


def _enums(enums: Any, comments: Comments, where: tuple[int, ...]) -> Iterator[Part]:
    for number, enum in enumerate(enums):
        path = (*where, number)
        values = tuple(
            Part(proto=value, comment=comments.get((*path, VALUES, index), ""))
            for index, value in enumerate(enum.value)
        )
        yield Part(proto=enum, comment=comments.get(path, ""), inner=values)


def _text(comment: str) -> str:
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.strip("\n").splitlines())
