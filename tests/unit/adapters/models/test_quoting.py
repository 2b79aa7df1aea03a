"""Quotes are word for word, to the point, and always the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.quoting import Passage, best_quotes, last_sentence, questions_in

TEXT = """The lighthouse at Gull Point was first lit on 3 March 1887. It stands 42 metres tall, and Dr. Ada Finch
designed its lens. For ninety years, keepers climbed 217 steps every night to wind the clockwork.

In 1977 the light was automated; the last keeper, Tom Ferry, moved to the village. Storms broke the
lantern twice, in 1903 and in 1951. Today the tower is a museum, open from May to October."""

WORDS = ["light", "storm", "keeper", "tower", "sea", "the", "a", "is", "was", "\u00fcber", "\u706f\u53f0", "42"]
PROSE = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([" ", " ", ". ", "? ", "\n", "\n\n", "! "]))).map(
    lambda pairs: "".join(word + end for word, end in pairs)
)
PASSAGES = st.lists(PROSE, max_size=4).map(
    lambda texts: [Passage(text=text, source=f"source {number}") for number, text in enumerate(texts)]
)


def quoted(question: str, text: str = TEXT, **settings: object) -> list[str]:
    quotes = best_quotes([Passage(text=text, source="here")], question, **settings)  # type: ignore[arg-type]
    return [quote.text for quote in quotes]


@settings(deadline=None)
@given(PASSAGES, PROSE, st.integers(1, 5))
def test_every_quote_is_a_span_of_its_source(passages: list[Passage], question: str, limit: int) -> None:
    texts = {passage.source: passage.text for passage in passages}
    quotes = best_quotes(passages, question, limit=limit)
    assert len(quotes) <= limit
    for quote in quotes:
        assert texts[quote.source][quote.start : quote.end] == quote.text
        assert quote.text.strip()


@settings(deadline=None)
@given(PASSAGES, PROSE)
def test_the_same_question_gets_the_same_quotes(passages: list[Passage], question: str) -> None:
    assert best_quotes(passages, question) == best_quotes(passages, question)


@settings(deadline=None)
@given(PASSAGES, PROSE)
def test_no_question_and_nothing_twice_is_quoted(passages: list[Passage], question: str) -> None:
    quotes = [quote.text for quote in best_quotes(passages, question, limit=10)]
    assert not any(quote.endswith("?") for quote in quotes)
    assert len(set(quotes)) == len(quotes)


@settings(deadline=None)
@given(PROSE.filter(lambda text: text.strip()), PROSE)
def test_what_is_never_to_be_quoted_is_not(text: str, question: str) -> None:
    never = quoted(question, text, limit=10)
    assert not set(never) & set(quoted(question, text, never=never, limit=10))


@pytest.mark.parametrize(
    ("question", "holds"),
    [
        ("When was the lighthouse first lit?", "3 March 1887"),
        ("How tall is it?", "42 metres"),
        ("Who designed the lens?", "Ada Finch"),
        ("How many steps did each keeper climb?", "217 steps"),
        ("Who was the last keeper?", "Tom Ferry"),
        ("WHEN DID A STORM BREAK THE LANTERN?", "1903 and in 1951"),
        ("When is the museum open?", "May to October"),
    ],
)
def test_the_best_quote_answers_the_question(question: str, holds: str) -> None:
    assert holds in quoted(question)[0]


@pytest.mark.parametrize("question", ["What is the capital of France?", "Why?", "Is it?", "", "???"])
def test_a_question_that_the_text_does_not_touch_gets_nothing(question: str) -> None:
    assert quoted(question) == []


def test_a_rare_word_counts_for_more_than_a_common_one() -> None:
    text = "The ship sank. The ship sailed. The ship burned. The captain sailed home."
    assert quoted("ship captain", text)[0] == "The captain sailed home."


def test_one_word_of_many_is_not_enough() -> None:
    question = "Which capital city of France hosted the summer games?"
    assert quoted(question, "The city wall is old.") == []
    assert quoted(question, "The summer games were in a city of France.") != []


def test_the_earlier_passage_goes_first_among_equals() -> None:
    passages = [Passage(text="The cat sat.", source="first"), Passage(text="A cat sat.", source="second")]
    assert [quote.source for quote in best_quotes(passages, "cat")] == ["first", "second"]


def test_a_sentence_that_two_passages_hold_is_quoted_from_the_first() -> None:
    passages = [Passage(text="The cat sat.", source="first"), Passage(text="The  CAT sat!", source="second")]
    assert [quote.source for quote in best_quotes(passages, "cat")] == ["first"]


def test_writing_forms_of_a_word_are_one_word() -> None:
    assert quoted("stra\u00dfe", "Die STRASSE ist lang.") == ["Die STRASSE ist lang."]
    assert quoted("cafe\u0301", "Das Caf\u00e9 ist zu.") == ["Das Caf\u00e9 ist zu."]


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("A text. It is long. What is it?", ("What is it?",)),
        ("A text. What is it? And why?", ("What is it?", "And why?")),
        ("What is it? A text. It is long.", ("What is it?",)),
        ("Who asks? A text. Tell me about it.", ("Tell me about it.",)),
        ("Hello. Who was he? He was tall.", ("Who was he?",)),
        ("A text. It is long.", ()),
        ("Summarise this.", ("Summarise this.",)),
        ("", ()),
    ],
)
def test_a_question_is_told_from_the_text_beside_it(message: str, asked: tuple[str, ...]) -> None:
    assert questions_in(message) == asked


def test_the_last_sentence_is_the_last_one() -> None:
    assert last_sentence("One. Two. Three") == "Three"
    assert last_sentence("  ") == ""
