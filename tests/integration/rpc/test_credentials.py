"""Who may call what: credentials, scopes, subjects, and what public methods ignore."""

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import auth_service_pb2, chat_service_pb2, user_service_pb2
from chatter_grpc.core.callers import Scope
from chatter_grpc.rpc.contract import SERVICES
from chatter_grpc.rpc.policy import Access, read_policies
from tests.support.edge import Account, Edge, Metadata, bearer

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
ME = "/chatter.v1.UserService/GetMe"
CLOSED = [name for name, policy in read_policies(SERVICES).items() if policy.access is not Access.PUBLIC]
SCOPED = {name: policy.scope for name, policy in read_policies(SERVICES).items() if policy.access is Access.SCOPED}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "CREDENTIALS_MISSING"),
        ((("authorization", ""),), "CREDENTIALS_MISSING"),
        ((("authorization", "Bearer"),), "CREDENTIALS_MISSING"),
        ((("authorization", "Bearer  "),), "CREDENTIALS_MISSING"),
        ((("authorization", "Basic YTpi"),), "CREDENTIALS_MISSING"),
        ((("authorization", "Bearer a b"),), "CREDENTIALS_MISSING"),
        (bearer("not-a-token"), "TOKEN_INVALID"),
        (bearer("ck_unknown_key"), "TOKEN_INVALID"),
    ],
)
async def test_a_call_without_good_credentials_is_refused(edge: Edge, metadata: Metadata, reason: str) -> None:
    answer = await edge.call(ME, metadata=metadata)
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_every_method_that_is_not_public_asks_for_credentials(edge: Edge) -> None:
    reasons = {name: (await edge.call(name)).reason for name in CLOSED}
    assert reasons == dict.fromkeys(CLOSED, "CREDENTIALS_MISSING")


async def test_several_credentials_are_refused_even_where_each_is_good(edge: Edge, account: Account) -> None:
    answer = await edge.call(ME, metadata=(*account.metadata, *account.metadata))
    assert answer.reason == "CREDENTIALS_MISSING"


async def test_the_scheme_is_known_in_any_case(edge: Edge, account: Account) -> None:
    answer = await edge.call(ME, metadata=(("authorization", f"bEARER {account.access_token}"),))
    assert answer.code is grpc.StatusCode.OK


async def test_credentials_are_not_looked_at_on_public_methods(edge: Edge, account: Account) -> None:
    request = auth_service_pb2.RefreshRequest(refresh_token=account.refresh_token)
    answer = await edge.call("/chatter.v1.AuthService/Refresh", request, bearer("rubbish"))
    assert answer.code is grpc.StatusCode.OK


async def test_each_scoped_method_needs_its_scope(edge: Edge) -> None:
    await edge.sign_in_administrator("root")
    for name, scope in SCOPED.items():
        others = [each for each in Scope if each not in {scope, Scope.ACT_AS}]
        key = await edge.replica.accounts.create_api_key(login="root", name=name, scopes=others, expires_at=None)
        answer = await edge.call(name, metadata=bearer(key.text))
        assert (answer.code, answer.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"), name
        assert answer.details[0].metadata["scope"] == scope


async def test_a_service_acts_for_its_subjects_who_share_nothing(edge: Edge) -> None:
    await edge.replica.accounts.create_service(username="shop")
    key = await edge.replica.accounts.create_api_key(
        login="shop", name="k", scopes=[Scope.ACT_AS, Scope.CHAT_READ, Scope.CHAT_WRITE], expires_at=None
    )
    one, other = ((*bearer(key.text), ("x-chatter-subject", name)) for name in ("customer-1", "customer-2"))
    me = user_service_pb2.GetMeResponse.FromString((await edge.call(ME, metadata=one)).responses[0])
    assert (me.user.username, me.subject, me.owner_id.startswith("subj_")) == ("shop", "customer-1", True)
    assert list(me.scopes) == ["act_as", "chat:read", "chat:write"]
    made = await edge.call("/chatter.v1.ChatService/CreateConversation", metadata=one)
    conversation = chat_service_pb2.CreateConversationResponse.FromString(made.responses[0]).conversation
    read = chat_service_pb2.GetConversationRequest(conversation_id=conversation.id)
    reasons = [
        (await edge.call("/chatter.v1.ChatService/GetConversation", read, metadata)).reason
        for metadata in (one, other, bearer(key.text))
    ]
    assert reasons == ["", "CONVERSATION_NOT_FOUND", "CONVERSATION_NOT_FOUND"]


@pytest.mark.parametrize("subjects", [["customer-1"], [""], ["a", "b"]])
async def test_a_subject_that_may_not_be_named_is_refused(edge: Edge, account: Account, subjects: list[str]) -> None:
    named = tuple(("x-chatter-subject", subject) for subject in subjects)
    answer = await edge.call(ME, metadata=(*account.metadata, *named))
    assert (answer.code, answer.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SUBJECT_REFUSED")


async def test_an_account_is_made_logged_in_refreshed_and_logged_out(edge: Edge) -> None:
    auth = "/chatter.v1.AuthService"
    register = auth_service_pb2.RegisterRequest(username="lin", email="lin@example.org", password="long enough")
    made = await edge.call(f"{auth}/Register", register)
    user = auth_service_pb2.RegisterResponse.FromString(made.responses[0]).user
    assert (user.username, user.email) == ("lin", "lin@example.org")
    again = await edge.call(f"{auth}/Register", register)
    assert (again.code, again.reason) == (grpc.StatusCode.ALREADY_EXISTS, "USERNAME_TAKEN")
    login = auth_service_pb2.LoginRequest(login="lin", password="long enough")
    tokens = auth_service_pb2.LoginResponse.FromString((await edge.call(f"{auth}/Login", login)).responses[0]).tokens
    assert tokens.refresh_expire_time.seconds > tokens.access_expire_time.seconds > user.create_time.seconds
    metadata = bearer(tokens.access_token)
    assert (await edge.call(ME, metadata=metadata)).reason == ""
    assert (await edge.call(ME, metadata=bearer(tokens.refresh_token))).reason == "TOKEN_INVALID"
    assert (await edge.call(f"{auth}/Logout", metadata=metadata)).reason == ""
    assert (await edge.call(ME, metadata=metadata)).reason == "SESSION_REVOKED"
    wrong = auth_service_pb2.LoginRequest(login="lin", password="wrong guess")
    assert (await edge.call(f"{auth}/Login", wrong)).reason == "LOGIN_FAILED"


async def test_an_api_key_has_no_session_to_end(edge: Edge, account: Account) -> None:
    key = await edge.replica.accounts.create_api_key(login="ada", name="k", scopes=[Scope.CHAT_READ], expires_at=None)
    answer = await edge.call("/chatter.v1.AuthService/Logout", metadata=bearer(key.text))
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_REQUIRED")
