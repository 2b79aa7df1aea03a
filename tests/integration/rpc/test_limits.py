"""Rate limits hold per owner and class of methods, and say when to come back."""

import grpc
import pytest
from google.rpc import error_details_pb2

from chatter_grpc._gen.chatter.v1.auth_service_pb2 import RefreshRequest
from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.limits import Limit
from chatter_grpc.rpc.policy import RateClass
from tests.support.edge import ANSWER, CHAT, UNLIMITED, Account, Edge, EdgeOptions

pytestmark = [
    pytest.mark.parametrize("databases", ["sqlite"], indirect=True),
    pytest.mark.platform("T19"),
]
READ = "/chatter.v1.SystemService/GetServerInfo"
WRITE = f"{CHAT}/CreateConversation"
REGISTER = "/chatter.v1.AuthService/Register"
REFRESH = "/chatter.v1.AuthService/Refresh"
LIMITS = {RateClass.READ: Limit(amount=3, seconds=60), RateClass.AUTH: Limit(amount=5, seconds=60)}


@pytest.fixture
def options() -> EdgeOptions:
    return EdgeOptions(model=ScriptedChat(answer_script(ANSWER)), limits={**UNLIMITED, **LIMITS})


async def test_calls_beyond_the_limit_are_refused_until_the_window_has_passed(edge: Edge, account: Account) -> None:
    """T19: RATE_LIMITED with RetryInfo, a pushback, and the state of the limit; then the next window."""
    answers = [await edge.call(READ, metadata=account.metadata) for _ in range(5)]
    assert [answer.reason for answer in answers] == ["", "", "", "RATE_LIMITED", "RATE_LIMITED"]
    assert [answer.trailing["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    refused = answers[-1]
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    (retry,) = refused.all_of(error_details_pb2.RetryInfo)
    (quota,) = refused.all_of(error_details_pb2.QuotaFailure)
    assert 0 < retry.retry_delay.seconds <= 60
    assert quota.violations[0].subject == "read"
    assert refused.trailing["grpc-retry-pushback-ms"] == "-1"
    edge.replica.clock.advance(60)
    # Revocations that were read a minute ago are no longer trusted.
    await edge.replica.watch.poll()
    assert (await edge.call(READ, metadata=account.metadata)).reason == ""


async def test_another_class_and_another_owner_have_limits_of_their_own(edge: Edge, account: Account) -> None:
    """T19: what one owner used up of one class, others still have."""
    answers = [await edge.call(READ, metadata=account.metadata) for _ in range(4)]
    assert answers[-1].reason == "RATE_LIMITED"
    assert (await edge.call(WRITE, metadata=account.metadata)).reason == ""
    stranger = await edge.sign_in("eve")
    assert (await edge.call(READ, metadata=stranger.metadata)).reason == ""


async def test_a_method_takes_as_many_units_as_it_costs(edge: Edge) -> None:
    """T19: Register takes two; callers without an owner are counted by their address."""
    answers = [await edge.call(REGISTER) for _ in range(3)]
    assert [answer.trailing["ratelimit-remaining"] for answer in answers] == ["3", "1", "1"]
    assert [answer.reason for answer in answers] == ["FIELD_INVALID", "FIELD_INVALID", "RATE_LIMITED"]


async def test_a_refresh_is_counted_for_its_session_and_not_for_its_address(edge: Edge) -> None:
    """T19: those behind one address, here one socket, do not use up one another's limit."""
    for name in ("ada", "eve"):
        token = (await edge.sign_in(name)).refresh_token
        answers = [await edge.call(REFRESH, RefreshRequest(refresh_token=token)) for _ in range(6)]
        assert [answer.reason for answer in answers] == [*[""] * 5, "RATE_LIMITED"]


async def test_what_is_no_refresh_token_is_counted_for_its_address(edge: Edge, account: Account) -> None:
    tokens = ["x", f"{account.refresh_token}x", account.access_token, "x" * 5000, account.refresh_token]
    answers = [await edge.call(REFRESH, RefreshRequest(refresh_token=token)) for token in (*tokens, "y", "z")]
    invalid = "TOKEN_INVALID"
    assert [answer.reason for answer in answers] == [invalid] * 3 + ["FIELD_INVALID", "", invalid, "RATE_LIMITED"]


async def test_bytes_that_are_no_request_are_counted_too(edge: Edge) -> None:
    answers = [await edge.call(REFRESH, b"\xff\xff") for _ in range(6)]
    assert [answer.reason for answer in answers] == [*["REQUEST_MALFORMED"] * 5, "RATE_LIMITED"]
