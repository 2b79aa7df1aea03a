"""The services of the contract, as their descriptors say them."""

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from chatter_grpc._gen.chatter.v1 import (
    auth_service_pb2,
    chat_service_pb2,
    run_service_pb2,
    system_service_pb2,
    user_service_pb2,
)

SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    service
    for module in (auth_service_pb2, user_service_pb2, chat_service_pb2, run_service_pb2, system_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


def methods_of(services: Iterable[ServiceDescriptor]) -> Iterator[tuple[str, MethodDescriptor]]:
    """Yield each method with its full name, such as ``/chatter.v1.RunService/GetRun``."""
    for service in services:
        for method in service.methods:
            yield f"/{service.full_name}/{method.name}", method
