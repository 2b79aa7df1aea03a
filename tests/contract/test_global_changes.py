"""What concerns everybody is for administrators alone (T6)."""

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from chatter_grpc.core.callers import ADMIN_SCOPES, SCOPES_OF, SESSION_SCOPES
from chatter_grpc.core.users import UserRole
from chatter_grpc.rpc.contract import SERVICES, methods_of
from chatter_grpc.rpc.policy import Access, read_policies
from tests.support.request_fields import fields_of

pytestmark = pytest.mark.platform("T6")

# What a caller may change is its own account and session, and what it owns. A method that changes anything else, such
# as providers, models, tool servers, grants or jobs of the whole server, belongs behind a scope that no member has.
OF_ONES_OWN = {
    "/chatter.v1.AuthService/Register": "a new account, with no rights over others",
    "/chatter.v1.AuthService/Login": "a session of the account whose password came",
    "/chatter.v1.AuthService/Refresh": "the session whose token came",
    "/chatter.v1.AuthService/Logout": "the session of the call",
    "/chatter.v1.AuthService/LogoutEverywhere": "the sessions of the caller's account",
    "/chatter.v1.AuthService/ChangePassword": "of the caller's account, which has to know the one before",
    "/chatter.v1.AuthService/CreateApiKey": "for the caller's account, with no more than the caller has",
    "/chatter.v1.AuthService/RevokeApiKey": "of the caller's account",
    "/chatter.v1.UserService/UpdateMe": "the caller's account, but for its role, state and limits",
    "/chatter.v1.ChatService/CreateConversation": "owned by the caller",
    "/chatter.v1.ChatService/UpdateConversation": "owned by the caller",
    "/chatter.v1.ChatService/DeleteConversation": "owned by the caller",
    "/chatter.v1.ChatService/SendMessage": "in a conversation of the caller's",
    "/chatter.v1.ChatService/UndeleteConversation": "owned by the caller",
    "/chatter.v1.ChatService/ForkConversation": "a copy of what the caller owns",
    "/chatter.v1.ChatService/DeleteMessage": "owned by the caller",
    "/chatter.v1.ChatService/RateMessage": "owned by the caller",
    "/chatter.v1.ChatService/RegenerateMessage": "in a conversation of the caller's",
    "/chatter.v1.RunService/CreateRun": "in a conversation of the caller's",
    "/chatter.v1.RunService/CancelRun": "owned by the caller",
}
# What concerns everybody, or somebody else.
OF_ADMINISTRATORS = {
    "/chatter.v1.UserService/GetUser": "users:read",
    "/chatter.v1.UserService/ListUsers": "users:read",
    "/chatter.v1.UserService/UpdateUser": "users:write",
}
# Fields that would give a role or a right, with why nobody gives more than they have.
BOUNDED = {
    ("/chatter.v1.AuthService/CreateApiKey", "scopes"): "no more than those of the credentials that the call came with",
    ("/chatter.v1.UserService/UpdateMe", "role"): "no update mask of this method may name it",
}
POLICIES = read_policies(SERVICES)
CHANGING = {
    name
    for name, method in methods_of(SERVICES)
    if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
}


def test_members_change_what_is_their_own_and_nothing_else() -> None:
    """T6: a new method that changes something has to be put into one of two lists: one's own, or for administrators."""
    open_to_members = {
        name
        for name in CHANGING
        if POLICIES[name].access is not Access.SCOPED or POLICIES[name].scope in SESSION_SCOPES
    }
    assert open_to_members == OF_ONES_OWN.keys()


def test_what_concerns_everybody_is_behind_a_scope_that_only_administrators_hold() -> None:
    """T6: no session and no key of a member or a service ever holds such a scope."""
    closed = {name: policy.scope for name, policy in POLICIES.items() if policy.scope in ADMIN_SCOPES}
    assert closed == OF_ADMINISTRATORS
    for role, scopes in SCOPES_OF.items():
        assert (role is UserRole.ADMIN) == bool(scopes & ADMIN_SCOPES), role


def test_no_member_can_say_what_role_or_owner_something_is_to_have() -> None:
    """T6: no request that a member may make names an owner, a role, a scope or a right, unless it is bounded."""
    fields = {
        (name, path[-1])
        for name, method in methods_of(SERVICES)
        for path, _ in fields_of(method.input_type)
        if name in CHANGING - OF_ADMINISTRATORS.keys()
    }
    assert len(fields) > 20
    rights = {"owner_id", "user_id", "role", "scopes", "subject"}
    assert {(name, field) for name, field in fields if field in rights} == BOUNDED.keys()
