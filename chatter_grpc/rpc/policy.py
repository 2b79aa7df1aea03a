"""Reads the policy of every method from the contract: who may call it, and what a call costs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from chatter_grpc._gen.chatter.options.v1 import policy_pb2
from chatter_grpc.core.callers import Scope
from chatter_grpc.rpc.contract import methods_of
from chatter_grpc.rpc.faults import ContractFault


class Access(Enum):
    """Who may call a method."""

    PUBLIC = policy_pb2.ACCESS_PUBLIC
    AUTHENTICATED = policy_pb2.ACCESS_AUTHENTICATED
    SCOPED = policy_pb2.ACCESS_SCOPED


class RateClass(StrEnum):
    """The limit that a call counts against; the value is the ``limit_class`` of RATE_LIMITED."""

    AUTH = "auth"
    READ = "read"
    WRITE = "write"
    START = "start"


RATE_CLASSES: Final[Mapping[int, RateClass]] = {
    policy_pb2.RATE_CLASS_AUTH: RateClass.AUTH,
    policy_pb2.RATE_CLASS_READ: RateClass.READ,
    policy_pb2.RATE_CLASS_WRITE: RateClass.WRITE,
    policy_pb2.RATE_CLASS_START: RateClass.START,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodPolicy:
    """What the edge enforces for one method. ``scope`` is empty unless access is ``SCOPED``.

    ``audit`` says that a call that changes something leaves a row in the audit log.
    """

    access: Access
    scope: str
    rate_class: RateClass
    cost: int
    audit: bool = False


def read_policies(services: Iterable[ServiceDescriptor]) -> dict[str, MethodPolicy]:
    """Return the policy of each method of the services, by the method's full name.

    Raises ``ContractFault``, which lists everything that is missing or wrong.
    """
    policies = {}
    faults = []
    for name, method in methods_of(services):
        wrong = list(faults_of(method))
        faults += [f"{name}: {fault}" for fault in wrong]
        if not wrong:
            stated = method.GetOptions().Extensions[policy_pb2.policy]
            policies[name] = MethodPolicy(
                access=Access(stated.access),
                scope=stated.scope,
                rate_class=RATE_CLASSES[stated.rate_class],
                cost=stated.cost,
                audit=stated.audit,
            )
    if faults:
        raise ContractFault("\n".join(faults))
    return policies


def faults_of(method: MethodDescriptor) -> Iterable[str]:
    """Yield what is wrong with a method's policy, and how to put it right."""
    options = method.GetOptions()
    if not options.HasExtension(policy_pb2.policy):
        yield "no policy: give it the option chatter.options.v1.policy"
        return
    stated = options.Extensions[policy_pb2.policy]
    if stated.access not in {access.value for access in Access}:
        yield "no access: say public, authenticated or scoped"
    if stated.access == policy_pb2.ACCESS_SCOPED and not stated.scope:
        yield "access is scoped and no scope is named"
    if stated.access != policy_pb2.ACCESS_SCOPED and stated.scope:
        yield "a scope is named and access is not scoped"
    if stated.scope and stated.scope not in set(Scope):
        yield f"scope {stated.scope!r} is not one of chatter_grpc.core.callers.Scope"
    if stated.rate_class not in RATE_CLASSES:
        yield "no rate class"
    if stated.audit and method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        yield "it is audited and changes nothing"
    if stated.cost < 1:
        yield "no cost: a call takes at least 1 unit"
    if stated.access == policy_pb2.ACCESS_PUBLIC and "request_id" in method.input_type.fields_by_name:
        yield "a public method has no owner whose request_id it could be"
