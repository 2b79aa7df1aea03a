"""The stand-in's answers are what their model's name says, and every position in them is known."""

import pytest

from benchmarks.answers import (
    EPOCH_WIDTH,
    MAX_TOKENS,
    TOKEN_WIDTH,
    AnswerPlan,
    count_tokens,
    parse_model,
    read_epoch,
    write_rest,
    write_token,
)


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (AnswerPlan(tokens=500), "flat-500"),
        (AnswerPlan(tokens=1, rate=50), "paced-50-1"),
        (AnswerPlan(tokens=MAX_TOKENS, rate=0.5), "paced-0.5-65536"),
    ],
)
def test_a_model_name_states_its_plan(plan: AnswerPlan, name: str) -> None:
    assert plan.model == name
    assert parse_model(name) == plan


@pytest.mark.parametrize("name", ["", "gpt-4o", "flat-", "flat-0", "flat-65537", "paced-50", "paced--1-5", "flat-5x"])
def test_any_other_name_is_no_model(name: str) -> None:
    with pytest.raises(ValueError, match=r"model|answer"):
        parse_model(name)


def test_every_token_has_its_width_and_no_two_are_equal() -> None:
    tokens = [write_token(index, 0) for index in range(MAX_TOKENS)]
    assert {len(token.encode()) for token in tokens[1:]} == {TOKEN_WIDTH}
    assert len(tokens[0]) == EPOCH_WIDTH
    assert len(set(tokens)) == MAX_TOKENS


def test_tokens_are_counted_once_they_are_whole() -> None:
    text = write_token(0, 17) + write_rest(3)
    counts = [count_tokens(length) for length in range(len(text) + 1)]
    assert counts == [0] * EPOCH_WIDTH + [1] * TOKEN_WIDTH + [2] * TOKEN_WIDTH + [3]


def test_the_first_token_carries_the_epoch() -> None:
    assert read_epoch(write_token(0, 123_456_789) + write_rest(9)) == 123_456_789


@pytest.mark.parametrize("text", ["", "123", " 0001 0002 0003 0004 0005"])
def test_a_text_without_its_first_token_has_no_epoch(text: str) -> None:
    with pytest.raises(ValueError, match="epoch"):
        read_epoch(text)
