"""Nothing holds the event loop up (T21)."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.storage import Storage
from tests.support.edge import ANSWER
from tests.support.provider import Provider
from tests.support.served import METHODS, Account, Client, message, sign_in_administrator, signed_in

pytestmark = pytest.mark.platform("T21")


async def test_a_whole_conversation_blocks_nothing(in_loop: Client, storage: Storage) -> None:
    """T21: hashing, signing, the database and the run, under the detector that all tests run under."""
    ada = await sign_in_administrator(in_loop, storage)
    conversation = await ada.client.conversation(title="x" * 200)
    stream = await ada.client.ask(conversation.id, "y" * 30_000)
    assert (stream.fold.end, stream.text) == ("completed", ANSWER)
    ids = {"conversation_id": conversation.id, "run_id": stream.run_id, "message_id": next(iter(stream.fold.stored))}
    ids |= {"user_id": ada.user.id, "query": "garden"}
    for name, (_, method) in METHODS.items():
        if name.startswith(("Get", "List", "Search", "Watch")):
            request: Any = GetMessageClass(method.input_type)()
            for field in method.input_type.fields:
                if field.name in ids:
                    setattr(request, field.name, ids[field.name])
            assert (await ada.client.call(name, request)).reason == "", name
    assert await in_loop.reason("Refresh", refresh_token=ada.tokens.refresh_token) == ""
    assert await ada.client.reason("Logout") == ""


@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
async def test_the_detector_would_notice(in_loop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """T21: code of Chatter that blocks makes its call fail."""
    ada = await signed_in(in_loop)

    async def block(*_: object) -> None:
        time.sleep(0.001)  # noqa: ASYNC251 - this is what is to be noticed

    monkeypatch.setattr(Messages, "get", block)
    answer = await ada.client.call("GetMessage", message_id="msg_any")
    assert (answer.code, answer.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_a_long_text_for_the_offline_model_holds_nobody_up(
    anyone: Client, ada: Account, provider: Provider
) -> None:
    """T21: while it is ranked, which takes a while, other calls are answered."""
    sentences = (f"The garden number {number} is {'very ' * (number % 7)}green." for number in range(4_000))
    text = f"{' '.join(sentences)[:199_000]} What colour is the garden number 77?"
    conversation = await ada.client.conversation()
    stream = ada.client.open(
        "SendMessage",
        **{**message(conversation.id, ""), "parts": message("", text)["parts"] * 5},
        overrides={"model": "chatter/offline", "max_tokens": 20},
    )
    # The first frame comes at once; the first word when all has been ranked.
    await stream.until(lambda stream: bool(stream.frames))
    assert stream.text == ""
    reading = asyncio.create_task(stream.until(lambda stream: bool(stream.text)))
    answered = 0
    while not reading.done():
        assert await ada.client.reason("GetServerInfo") == ""
        answered += 1
    await reading
    assert answered >= 5
    assert (await stream.to_end()).reason == ""
    assert stream.fold.end == "completed"
    assert not provider.calls
