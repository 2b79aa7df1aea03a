"""The built-in model quotes, says so, and says plainly when it cannot."""

import asyncio

import pytest

from chatter_grpc.adapters.models.offline import OFFLINE_MODEL, OfflineChat
from chatter_grpc.core.models import Finished, FinishReason, TextPiece, TokenCount
from tests.support.deltas import ask, conversation, count_of, deltas_of, text_of

TEXT = "The lighthouse was first lit in 1887. Its tower is 42 metres tall. The last keeper was Tom Ferry."
UNCONFIGURED = "No language model is configured"


@pytest.fixture
def chat() -> OfflineChat:
    return OfflineChat(seconds_per_token=0)


async def answer(chat: OfflineChat, *texts: str) -> str:
    return text_of(await deltas_of(chat, conversation(*texts, model=OFFLINE_MODEL)))


@pytest.mark.parametrize(
    "layout", ["{text}\n\n{question}", "{question}\n\n{text}", "{text} {question}", "{text}{question}"]
)
async def test_a_question_about_a_text_in_one_message_is_answered_from_the_text(chat: OfflineChat, layout: str) -> None:
    said = await answer(chat, layout.format(text=TEXT, question="How tall is the tower?"))
    assert "\u201cIts tower is 42 metres tall.\u201d (your message)" in said
    assert said.startswith(UNCONFIGURED)
    assert "How tall is the tower?" not in said


async def test_a_question_about_an_earlier_message_is_answered_from_it(chat: OfflineChat) -> None:
    said = await answer(chat, TEXT, "Thank you.", "And now?", "Well.", "Who was the last keeper?")
    assert "\u201cThe last keeper was Tom Ferry.\u201d (your message, 2 back)" in said


async def test_an_answer_of_a_model_may_be_quoted(chat: OfflineChat) -> None:
    said = await answer(chat, "Tell me about Oslo.", "Oslo is the capital of Norway.", "Which capital was that?")
    assert "\u201cOslo is the capital of Norway.\u201d (an answer, 1 back)" in said
    assert "Tell me" not in said


async def test_its_own_answers_are_no_source(chat: OfflineChat) -> None:
    first = await answer(chat, TEXT + " Who was the keeper?")
    second = await answer(chat, TEXT + " Who was the keeper?", first, "The keeper, please?")
    assert "(your message, 1 back)" in second
    assert "an answer" not in second


@pytest.mark.parametrize("message", ["Hello!", "What is the capital of France?", "Write a poem.", "", "  "])
async def test_what_it_cannot_quote_for_it_declines_with_the_way_to_a_model(chat: OfflineChat, message: str) -> None:
    said = await answer(chat, message)
    assert said.startswith(UNCONFIGURED)
    assert "CHATTER_OPENAI_API_KEY" in said
    assert "docs/configuration.md" in said
    assert "\u201c" not in said


async def test_where_models_are_configured_it_names_one_instead() -> None:
    chat = OfflineChat(seconds_per_token=0, language_models=["openai/gpt-5", "local/llama"])
    declined = await answer(chat, "Hello!")
    assert "openai/gpt-5" in declined
    assert UNCONFIGURED not in declined
    quoted = await answer(chat, TEXT + " Who was the keeper?")
    assert UNCONFIGURED not in quoted
    assert "quoted, not written" in quoted


async def test_at_most_three_sentences_are_quoted(chat: OfflineChat) -> None:
    said = await answer(chat, " ".join(f"Storm {n} came." for n in range(9)) + " Which storm came?")
    assert said.count("\u201c") == 3


async def test_tokens_are_words_and_are_counted_as_they_are_said(chat: OfflineChat) -> None:
    deltas = await deltas_of(chat, conversation("Good day to you.", "Hm.", "Why?", system_prompt="Be brief."))
    pieces = [delta.text for delta in deltas if isinstance(delta, TextPiece)]
    assert pieces[:3] == ["No ", "language ", "model "]
    assert [delta for delta in deltas if isinstance(delta, TokenCount)] == [
        TokenCount(8, number) for number in range(1, len(pieces) + 1)
    ]


async def test_a_text_without_spaces_streams_too(chat: OfflineChat) -> None:
    sentence = "\u706f\u53f0" * 40 + "\u3002"
    deltas = await deltas_of(chat, ask(sentence + "\u706f\u53f0\uff1f"))
    assert sentence in text_of(deltas)
    assert all(len(delta.text) <= 34 for delta in deltas if isinstance(delta, TextPiece))


async def test_a_limit_above_the_answer_is_no_limit(chat: OfflineChat) -> None:
    whole = await deltas_of(chat, ask("Hello!"))
    count = count_of(whole)
    assert count is not None
    assert await deltas_of(chat, ask("Hello!", max_tokens=count.output_tokens)) == whole
    assert whole[-1] == Finished(FinishReason.STOP)


async def test_a_temperature_changes_nothing(chat: OfflineChat) -> None:
    cold = await deltas_of(chat, ask(TEXT + " Who was the keeper?", temperature=0.0))
    assert cold == await deltas_of(chat, ask(TEXT + " Who was the keeper?", temperature=2.0))


@pytest.mark.platform("T21")
async def test_a_long_text_is_ranked_beside_the_event_loop() -> None:
    chat = OfflineChat(seconds_per_token=0)
    filler = "".join(f"Chapter {number} tells of ships and of the sea. " for number in range(10_000))
    message = f"{filler} The anchor was made of gold. What about the anchor?"
    reading = asyncio.ensure_future(deltas_of(chat, ask(message)))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert "\u201cThe anchor was made of gold.\u201d" in text_of(await reading)
    assert turns > 20
    chat.close()


async def test_a_conversation_beyond_what_is_read_is_read_from_its_end(chat: OfflineChat) -> None:
    said = await answer(chat, "The anchor was iron.", "Hm.", "Gold it was. " + "x " * 600_000, "Hm.", "What anchor?")
    assert said.startswith(UNCONFIGURED)
    assert "iron" not in said
    chat.close()


def test_a_pace_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds_per_token"):
        OfflineChat(seconds_per_token=-1)
