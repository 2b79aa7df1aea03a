"""Sentences are spans of their text, found in prose, lists and scripts without spaces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.sentences import MAX_SENTENCE_CHARS, is_question, sentences

TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(["Dr. Ada", "saw", "3.5", "it.", "Why?", "\n\n", "- item", "\u3002", "a" * 90])).map(
        " ".join
    ),
)


def found_in(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@settings(deadline=None)
@given(TEXTS)
def test_sentences_are_spans_in_order_with_nothing_around_them(text: str) -> None:
    last = 0
    for start, end in sentences(text):
        assert last <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert end - start <= MAX_SENTENCE_CHARS
        last = end


@settings(deadline=None)
@given(st.text(alphabet="ab .?!\n", max_size=1500))
def test_no_word_is_lost(text: str) -> None:
    assert "".join(found_in(text)).replace("\n", " ").replace(" ", "") == text.replace("\n", " ").replace(" ", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Finch met J. R. Moss at no. 5 in St. Ives.", ["Dr. Finch met J. R. Moss at no. 5 in St. Ives."]),
        ("It is 3.5 m tall, e.g. so.", ["It is 3.5 m tall, e.g. so."]),
        ("Wait ... what. now", ["Wait ... what. now"]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("A line\nthat is wrapped. Next.", ["A line\nthat is wrapped.", "Next."]),
        ("A title\n\nA text.", ["A title", "A text."]),
        ("# Head\n\n- first item\n- second item\n2. third", ["Head", "first item", "second item", "third"]),
        ("-5 degrees. Cold.", ["-5 degrees.", "Cold."]),
        ("\u706f\u53f0\u3002\u9ad8\u3044\uff1f", ["\u706f\u53f0\u3002", "\u9ad8\u3044\uff1f"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert found_in(text) == expected


def test_a_run_without_end_is_cut_at_spaces() -> None:
    pieces = found_in("word " * 200)
    assert len(pieces) > 1
    assert " ".join(pieces) == ("word " * 200).strip()


def test_a_run_without_spaces_is_cut_by_length() -> None:
    assert [len(piece) for piece in found_in("x" * 1000)] == [400, 400, 200]


@pytest.mark.parametrize("text", ["Why?", "Why?\u201d", "\u9ad8\u3044\uff1f", "\u0644\u0645\u0627\u0630\u0627\u061f"])
def test_a_question_is_known_by_its_mark(text: str) -> None:
    assert is_question(text)
    assert not is_question(text[:3].replace("?", "").replace("\uff1f", "") + " so.")
