"""Behind a proxy callers are told apart by the address that it names: in limits, in the login throttle, in the log."""

import pytest

from chatter_grpc._gen.chatter.v1.auth_service_pb2 import LoginRequest
from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.auth import FAILURES_PER_ADDRESS
from chatter_grpc.core.limits import Limit
from chatter_grpc.rpc.policy import RateClass
from tests.support.edge import ANSWER, UNLIMITED, Answer, Edge, EdgeOptions
from tests.support.logs import Log

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
LOGIN = "/chatter.v1.AuthService/Login"
CALLS = 2 * FAILURES_PER_ADDRESS.amount


@pytest.fixture(params=[["unix"], []], ids=["trusted", "not trusted"])
def trusted(request: pytest.FixtureRequest) -> list[str]:
    """Whom the server trusts; the tests' client comes over a unix socket."""
    trusted: list[str] = request.param
    return trusted


@pytest.fixture
def options(trusted: list[str]) -> EdgeOptions:
    limits = {**UNLIMITED, RateClass.AUTH: Limit(amount=CALLS, seconds=60)}
    return EdgeOptions(model=ScriptedChat(answer_script(ANSWER)), limits=limits, trusted_proxies=trusted)


async def log_in(edge: Edge, forwarded_for: str, login: str = "nobody") -> Answer:
    """Fail to log in, from an address as a proxy names it."""
    request = LoginRequest(login=login, password="a wrong password")
    return await edge.call(LOGIN, request, (("x-forwarded-for", forwarded_for),))


async def test_calls_are_counted_by_the_address_that_a_trusted_proxy_names(edge: Edge, trusted: list[str]) -> None:
    """IPv6 clients count together by their /64."""
    answers = [await log_in(edge, f"2001:db8::{number}", f"user-{number}") for number in range(CALLS)]
    assert (await log_in(edge, "2001:db8::ffff")).reason == "RATE_LIMITED"
    elsewhere = await log_in(edge, "2001:db8:0:1::1")
    assert elsewhere.reason == ("LOGIN_FAILED" if trusted else "RATE_LIMITED")
    assert {answer.reason for answer in answers} <= {"LOGIN_FAILED", "LOGIN_THROTTLED"}


async def test_failed_logins_are_throttled_by_that_address(edge: Edge, trusted: list[str]) -> None:
    amount = FAILURES_PER_ADDRESS.amount
    # What stands before the last address, a client may have written itself to look like another.
    answers = [await log_in(edge, f"198.51.100.{number}, 192.0.2.7", f"user-{number}") for number in range(amount + 1)]
    throttled = (answers[-1].reason, (await log_in(edge, "192.0.2.8", "user-x")).reason)
    assert throttled == (("LOGIN_THROTTLED" if trusted else "LOGIN_FAILED"), "LOGIN_FAILED")


async def test_the_log_names_that_address(edge: Edge, trusted: list[str], log: Log) -> None:
    await log_in(edge, "1.2.3.4, 192.0.2.7")
    (call,) = await log.wait_for("call")
    assert call["peer"] == ("192.0.2.7" if trusted else "")
