"""Page tokens lead on in the list that they were made for, and in no other."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, conversation_pb2, run_service_pb2
from chatter_grpc.core.errors import PageTokenInvalid
from chatter_grpc.core.pages import PageRequest, Position
from chatter_grpc.rpc.page_tokens import PageTokenSigner

METHOD = "/chatter.v1.ChatService/ListConversations"
SIGNER = PageTokenSigner(b"k" * 32)
POSITIONS = st.lists(st.text() | st.integers(), min_size=1, max_size=4).map(tuple)
REQUESTS = st.builds(
    chat_service_pb2.ListConversationsRequest,
    page_size=st.integers(0, 2**31 - 1),
    tag=st.text(max_size=5),
    text=st.text(max_size=5),
    status=st.sampled_from(conversation_pb2.ConversationStatus.values()),
)
Request = chat_service_pb2.ListConversationsRequest


def given_out(position: Position, request: Request, *, method: str = METHOD, owner: str = "user_1") -> str:
    return SIGNER.write(position, request, method, owner)


@given(POSITIONS, REQUESTS, st.integers(0, 2000))
def test_a_token_leads_on_whatever_the_size_of_the_next_page(position: Position, request: Request, size: int) -> None:
    request.page_token = given_out(position, request)
    request.page_size = size
    assert SIGNER.read(request, METHOD, "user_1").after == position


@given(POSITIONS, REQUESTS, REQUESTS)
def test_a_token_holds_with_the_same_other_arguments_only(position: Position, one: Request, other: Request) -> None:
    one.ClearField("page_size")
    other.ClearField("page_size")
    assume(one != other)
    other.page_token = given_out(position, one)
    with pytest.raises(PageTokenInvalid):
        SIGNER.read(other, METHOD, "user_1")


@given(POSITIONS, st.data())
def test_a_token_with_one_other_character_is_refused(position: Position, data: st.DataObject) -> None:
    token = given_out(position, Request())
    place = data.draw(st.integers(0, len(token) - 1))
    forged = (
        token[:place] + data.draw(st.characters(codec="utf-8", exclude_characters=token[place])) + token[place + 1 :]
    )
    with pytest.raises(PageTokenInvalid):
        SIGNER.read(Request(page_token=forged), METHOD, "user_1")


@given(st.text(min_size=1, max_size=100))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(PageTokenInvalid):
        SIGNER.read(Request(page_token=text), METHOD, "user_1")


@pytest.mark.parametrize("padding", ["=", "==", "\n", " ", "!"])
def test_another_spelling_of_a_token_is_refused(padding: str) -> None:
    token = given_out(("conv_1",), Request())
    with pytest.raises(PageTokenInvalid):
        SIGNER.read(Request(page_token=token + padding), METHOD, "user_1")


def test_a_token_of_another_method_owner_or_key_is_refused() -> None:
    request = run_service_pb2.ListRunsRequest()
    elsewhere = PageTokenSigner(b"other" * 8).write(("run_1",), request, METHOD, "user_1")
    for token in (
        SIGNER.write(("run_1",), request, "/chatter.v1.RunService/ListRuns", "user_1"),
        SIGNER.write(("run_1",), request, METHOD, "user_2"),
        elsewhere,
    ):
        with pytest.raises(PageTokenInvalid):
            SIGNER.read(run_service_pb2.ListRunsRequest(page_token=token), METHOD, "user_1")


def test_a_token_of_a_later_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatter_grpc.rpc.page_tokens.VERSION", b"\x02")
    later = given_out(("conv_1",), Request())
    monkeypatch.undo()
    with pytest.raises(PageTokenInvalid):
        SIGNER.read(Request(page_token=later), METHOD, "user_1")


@pytest.mark.parametrize(("asked", "given_size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_a_page_has_the_size_asked_for_up_to_the_maximum(asked: int, given_size: int) -> None:
    assert SIGNER.read(Request(page_size=asked), METHOD, "user_1") == PageRequest(size=given_size)


def test_the_last_page_has_no_token() -> None:
    assert SIGNER.write(None, Request(), METHOD, "user_1") == ""


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 65])
def test_a_key_of_the_wrong_size_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        PageTokenSigner(key)
