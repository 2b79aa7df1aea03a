"""The contract as tests look at it: every file of `protos/`, its messages and services, and the comments in it."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor

from tests.support.protos import PROTOS, descriptor_set

NAMES = tuple(sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto")))
FILES: tuple[FileDescriptor, ...] = tuple(
    import_module(f"chatter_grpc._gen.{name.removesuffix('.proto').replace('/', '.')}_pb2").DESCRIPTOR for name in NAMES
)
SERVICES: tuple[ServiceDescriptor, ...] = tuple(service for file in FILES for service in file.services_by_name.values())


def messages() -> Iterator[Descriptor]:
    """Every message type of the contract; none is declared inside of another."""
    for file in FILES:
        yield from file.message_types_by_name.values()


def reached_from(message: Descriptor, seen: set[str] | None = None) -> Iterator[FieldDescriptor]:
    """Every field that a message can hold at any depth, those of google.protobuf left out."""
    seen = set() if seen is None else seen
    if message.full_name in seen or message.full_name.startswith("google.protobuf."):
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from reached_from(field.message_type, seen)


@cache
def comments(name: str) -> dict[tuple[int, ...], str]:
    """The leading comments of a file by the path of what they stand before."""
    files = {file.name: file for file in descriptor_set(name, Path(PROTOS)).file}
    locations = files[name].source_code_info.location
    return {tuple(location.path): location.leading_comments for location in locations}


def method_comment(service: ServiceDescriptor, index: int) -> str:
    """The comment of a service's method."""
    file = descriptor_pb2.FileDescriptorProto
    place = list(service.file.services_by_name).index(service.name)
    path = (file.SERVICE_FIELD_NUMBER, place, descriptor_pb2.ServiceDescriptorProto.METHOD_FIELD_NUMBER, index)
    return comments(service.file.name)[path]


def enum_value_comment(file: FileDescriptor, enum: str, index: int) -> str:
    """The comment of an enum's value."""
    place = list(file.enum_types_by_name).index(enum)
    enums, values = descriptor_pb2.FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, 2
    return comments(file.name)[(enums, place, values, index)]
