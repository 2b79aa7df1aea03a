"""What administrators let an account send in a day and in a month is all that is answered (T9)."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.support.edge import Answer
from tests.support.openai_plans import Plan
from tests.support.provider import Provider
from tests.support.served import Account, Client, Served, administrator_of, message

pytestmark = pytest.mark.platform("T9")
SECONDS_OF_A_DAY = 24 * 60 * 60


async def limit(root: Client, account: Account, **limits: int) -> None:
    """Have an administrator set what an account may send."""
    paths = [f"limits.{name}" for name in ("messages_per_day", "messages_per_month")]
    await root.ok("UpdateUser", user={"id": account.user.id, "limits": limits}, update_mask={"paths": paths})


def period_of(refused: Answer) -> str:
    """Which quota is used up, by an answer that has to say how to go on."""
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_QUOTA_EXCEEDED")
    (info,) = refused.all_of(error_details_pb2.ErrorInfo)
    assert info.metadata["limit"] == "2"
    assert refused.all_of(error_details_pb2.QuotaFailure)
    (retry,) = refused.all_of(error_details_pb2.RetryInfo)
    assert retry.retry_delay.seconds <= 31 * SECONDS_OF_A_DAY
    # No client should wait so long by itself.
    assert refused.trailing["grpc-retry-pushback-ms"] == "-1"
    return str(info.metadata["period"])


async def test_no_more_is_answered_than_an_account_may_send(
    server: Served, anyone: Client, ada: Account, provider: Provider
) -> None:
    root = await administrator_of(server, anyone)
    await limit(root, ada, messages_per_day=2)
    provider.plan(*(Plan(text="Yes.") for _ in range(3)))
    conversation = await ada.client.conversation()
    first = message(conversation.id, "Hello?", request_id="first")
    starts: list[tuple[str, dict[str, Any]]] = [
        ("SendMessage", message(conversation.id, "Another?")),
        ("CreateRun", message(conversation.id, "Another?")),
    ]
    for fields in (first, first, message(conversation.id, "And?"), first):
        assert await ada.client.reason("SendMessage", **fields) == ""
    last = (await ada.client.messages(conversation.id))[-1]
    starts.append(("RegenerateMessage", {"message_id": last.id, "request_id": "again"}))
    for name, fields in starts:
        assert period_of(await ada.client.call(name, **fields)) == "day", name
    assert len(await ada.client.messages(conversation.id)) == 4
    await limit(root, ada, messages_per_month=2)
    assert period_of(await ada.client.call("SendMessage", **starts[0][1])) == "month"
    await limit(root, ada, messages_per_day=3)
    assert await ada.client.reason("SendMessage", **starts[0][1]) == ""
