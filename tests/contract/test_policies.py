"""Every RPC states its policy, and the server covers every RPC."""

from google.protobuf.descriptor_pb2 import MethodOptions

from chatter_grpc.core.callers import ADMIN_SCOPES, SCOPES_OF, Scope
from chatter_grpc.core.users import UserRole
from chatter_grpc.rpc import contract
from chatter_grpc.rpc.contract import methods_of
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


def test_an_administrators_session_may_call_every_method_and_a_members_all_but_those_on_everybody() -> None:
    scopes = {policy.scope for policy in read_policies(SERVICES).values() if policy.scope}
    assert scopes <= SCOPES_OF[UserRole.ADMIN]
    assert scopes - SCOPES_OF[UserRole.MEMBER] == ADMIN_SCOPES


def test_what_changes_accounts_credentials_or_takes_things_away_is_audited() -> None:
    changing = {
        name
        for name, method in methods_of(SERVICES)
        if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    }
    accounts = {name for name in changing if name.split("/")[1] in {"chatter.v1.AuthService", "chatter.v1.UserService"}}
    taking = {name for name in changing if name.rpartition("/")[2].startswith(("Delete", "Undelete", "Revoke"))}
    audited = {name for name, policy in read_policies(SERVICES).items() if policy.audit}
    assert audited == accounts | taking
