"""Every RPC states its policy, and the server covers every RPC."""

from chatter_grpc.core.callers import SESSION_SCOPES, Scope
from chatter_grpc.rpc import contract
from chatter_grpc.rpc.policy import Access, read_policies
from tests.support.contract import SERVICES


def test_the_server_knows_every_service_of_the_contract() -> None:
    assert {service.full_name for service in contract.SERVICES} == {service.full_name for service in SERVICES}


def test_every_method_has_a_whole_policy() -> None:
    methods = {f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
    assert read_policies(SERVICES).keys() == methods


def test_every_scope_but_act_as_opens_some_method() -> None:
    scopes = {policy.scope for policy in read_policies(SERVICES).values() if policy.access is Access.SCOPED}
    assert scopes == set(Scope) - {Scope.ACT_AS}


def test_a_session_may_call_every_method() -> None:
    scopes = {policy.scope for policy in read_policies(SERVICES).values() if policy.scope}
    assert scopes <= SESSION_SCOPES
