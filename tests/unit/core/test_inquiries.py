"""What a model is asked is made to fit it, and what cannot be is refused before anybody is asked."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import ContextExceeded, ImagesNotTaken
from chatter_grpc.core.inquiries import IMAGE_TOKENS, TURN_TOKENS, Inquiry, corrected, request_for, words_for
from chatter_grpc.core.models import Image, ModelInfo, ModelRequest, Role, Turn
from tests.support.images import PNG

INFO = ModelInfo(name="p/m", provider="p")
PICTURE = Image(media_type="image/png", data=PNG)
SCHEMA = '{"type": "object"}'


def user(text: str, *images: Image) -> Turn:
    return Turn(role=Role.USER, text=text, images=images)


def model(text: str) -> Turn:
    return Turn(role=Role.ASSISTANT, text=text)


def asked(info: ModelInfo, *turns: Turn, schema: str = "", **settings: Any) -> ModelRequest:
    inquiry = Inquiry(turns=turns, settings=ModelSettings(model="p/m", **settings), response_schema=schema)
    return request_for(info, inquiry)


def test_what_fits_is_asked_as_it_is() -> None:
    turns = (user("one"), model("two"), user("three"))
    request = asked(INFO, *turns, system_prompt="Be brief.", temperature=0.5, max_tokens=7)
    assert request == ModelRequest(
        model="p/m", turns=turns, system_prompt="Be brief.", temperature=0.5, max_tokens=7, response_schema=None
    )


@pytest.mark.parametrize(("wanted", "given_"), [(None, None), (7, 7), (8, 8), (9, 8)])
def test_no_answer_is_asked_for_that_is_longer_than_the_model_can_give(wanted: int | None, given_: int | None) -> None:
    info = replace(INFO, max_output_tokens=8)
    assert asked(info, user("Hello"), max_tokens=wanted).max_tokens == given_
    assert asked(INFO, user("Hello"), max_tokens=wanted).max_tokens == wanted


def test_a_schema_goes_to_the_provider_that_keeps_it_and_into_words_for_the_others() -> None:
    native = asked(replace(INFO, structured_output=True), user("Hello"), schema=SCHEMA, system_prompt="Be brief.")
    assert (native.response_schema, native.system_prompt) == (SCHEMA, "Be brief.")
    in_words = asked(INFO, user("Hello"), schema=SCHEMA, system_prompt="Be brief.")
    assert in_words.response_schema is None
    assert in_words.system_prompt.startswith("Be brief.\n\nAnswer with one JSON value")
    assert in_words.system_prompt.endswith(SCHEMA)


def test_words_stand_for_earlier_images_where_the_model_takes_none() -> None:
    turns = (user("Look:", PICTURE, PICTURE), user("", PICTURE), model("Nice."), user("And now?"))
    words = words_for("image/png")
    texts = [turn.text for turn in asked(INFO, *turns).turns]
    assert texts == [f"Look:\n{words}\n{words}", words, "Nice.", "And now?"]
    assert not any(turn.images for turn in asked(INFO, *turns).turns)
    assert asked(replace(INFO, takes_images=True), *turns).turns == turns


def test_an_image_in_the_question_itself_is_refused_where_the_model_takes_none() -> None:
    with pytest.raises(ImagesNotTaken) as caught:
        asked(INFO, user("What is this?", PICTURE))
    assert caught.value.metadata == {"model": "p/m"}


def room(*turns: Turn, answer: int, prompt: int = 0) -> ModelInfo:
    """A model that has just enough room for these turns of four bytes for a token, and an answer."""
    texts = sum(len(turn.text) // 4 + TURN_TOKENS + IMAGE_TOKENS * len(turn.images) for turn in turns)
    return replace(INFO, context_tokens=texts + answer + prompt, takes_images=True)


TURNS = (user("a" * 40), model("b" * 40), user("c" * 40), model("d" * 40), user("e" * 40))


@pytest.mark.parametrize("kept", [5, 4, 3, 2, 1])
def test_the_oldest_turns_are_left_out_until_the_rest_fits(kept: int) -> None:
    info = room(*TURNS[-kept:], answer=100, prompt=5)
    assert asked(info, *TURNS, max_tokens=100, system_prompt="p" * 20).turns == TURNS[-kept:]
    if kept > 1:
        assert asked(info, *TURNS, max_tokens=101, system_prompt="p" * 20).turns == TURNS[-kept + 1 :]


def test_images_take_room_too() -> None:
    turns = (user("Look", PICTURE), user("four"))
    assert asked(room(*turns, answer=9), *turns, max_tokens=9).turns == turns
    assert asked(room(*turns, answer=8), *turns, max_tokens=9).turns == turns[1:]


@pytest.mark.parametrize(
    ("settings", "schema"),
    [({"max_tokens": 100}, ""), ({"system_prompt": "x" * 400}, ""), ({}, '{"description": "' + "x" * 400 + '"}')],
)
def test_a_question_that_is_too_long_by_itself_is_refused(settings: dict[str, Any], schema: str) -> None:
    info = replace(room(user("four"), answer=99), structured_output=True, max_output_tokens=50)
    assert asked(info, user("four")).turns == (user("four"),)
    with pytest.raises(ContextExceeded) as caught:
        asked(replace(info, max_output_tokens=None), *TURNS[:4], user("four"), schema=schema, **settings)
    assert caught.value.metadata["model"] == "p/m"
    assert int(caught.value.metadata["estimated_tokens"]) > int(caught.value.metadata["context_tokens"])


def test_without_a_limit_a_third_of_the_window_is_left_for_the_answer_or_its_maximum() -> None:
    text = "x" * 4 * (600 - TURN_TOKENS)
    info = replace(INFO, context_tokens=900)
    assert asked(info, user(text)).turns
    with pytest.raises(ContextExceeded):
        asked(info, user(text + "x"))
    assert asked(replace(info, max_output_tokens=299), user(text + "x")).turns


def test_where_the_window_is_not_known_everything_is_asked() -> None:
    turns = (user("x" * 10_000_000), user("x" * 10_000_000))
    assert asked(INFO, *turns).turns == turns


@given(st.lists(st.sampled_from(TURNS)), st.integers(1, 300), st.integers(1, 300))
def test_the_question_is_never_left_out_and_what_is_left_fits(past: list[Turn], context: int, limit: int) -> None:
    info = replace(INFO, context_tokens=context)
    try:
        request = asked(info, *past, user("e" * 40), max_tokens=limit)
    except ContextExceeded:
        assert 10 + TURN_TOKENS + limit > context
        return
    kept = len(request.turns)
    assert tuple(request.turns) == (*past, user("e" * 40))[-kept:]
    assert kept * (10 + TURN_TOKENS) + limit <= context
    assert kept == len(past) + 1 or (kept + 1) * (10 + TURN_TOKENS) + limit > context


def test_a_correction_names_the_fault_where_there_is_room_for_it() -> None:
    request = asked(INFO, user("Hello"), schema=SCHEMA)
    again = corrected(INFO, request, "no JSON", "it is no JSON")
    assert again.turns[:2] == (user("Hello"), model("no JSON"))
    assert again.turns[2].role is Role.USER
    assert "it is no JSON" in again.turns[2].text
    assert replace(again, turns=request.turns) == request
    assert corrected(INFO, request, "", "it is no JSON") == request, "nothing can be said of nothing"
    tight = replace(INFO, context_tokens=150, max_output_tokens=1)
    assert corrected(tight, request, "x" * 1000, "it is no JSON") == request
