"""A query is read as it was meant, whatever was typed, and what is found is shown where it stands."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.errors import SearchQueryEmpty
from chatter_grpc.core.search_query import SNIPPET_CHARACTERS, Clause, SearchQuery, parse_query, snippet_of
from chatter_grpc.core.search_words import WORD_CHARACTERS, placed_words_of, words_of

ANYTHING = st.text(
    alphabet=st.one_of(
        st.sampled_from("\"*- aAbBéß'()&|!:^\\%_\x00\x01\n東京ガด็क्" + "́̈"), st.characters(exclude_categories=["Cs"])
    )
)


def clause(*words: str, is_prefix: bool = False) -> Clause:
    return Clause(words=words, is_prefix=is_prefix)


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("garden", [clause("garden")], []),
        ("Green GARDEN green", [clause("green"), clause("garden")], []),
        ('"the  garden" house', [clause("the", "garden"), clause("house")], []),
        ("house -garden", [clause("house")], [clause("garden")]),
        ('house -"red garden"', [clause("house")], [clause("red", "garden")]),
        ("gard*", [clause("gard", is_prefix=True)], []),
        ('"the gard"*', [clause("the", "gard", is_prefix=True)], []),
        ('"the gard*"', [clause("the", "gard")], []),
        ("house -gard*", [clause("house")], [clause("gard", is_prefix=True)]),
        ("well-known dog's", [clause("well", "known"), clause("dog", "s")], []),
        ('"no end', [clause("no", "end")], []),
        ('a"b c"d', [clause("a"), clause("b", "c"), clause("d")], []),
        ("- house", [clause("house")], []),
        ("--house tree", [clause("tree")], [clause("house")]),
        ("a*b", [clause("a", "b")], []),
        ("NEAR(a AND b) OR NOT", [clause(each) for each in ("near", "a", "and", "b", "or", "not")], []),
        ("東京", [clause("東", "京")], []),
        ("x" * 100, [clause("x" * WORD_CHARACTERS)], []),
    ],
)
def test_a_query_is_words_phrases_exclusions_and_beginnings(
    text: str, wanted: list[Clause], unwanted: list[Clause]
) -> None:
    if text.startswith("NEAR"):
        wanted = [clause("near", "a"), *wanted[2:]]
    assert parse_query(text) == SearchQuery(wanted=tuple(wanted), unwanted=tuple(unwanted))


@pytest.mark.parametrize("text", ["", "  ", '"', '""', "*", "-", "-house", '-"a b"', "!?", "\x00", "\N{SNOWMAN}"])
def test_a_query_that_wants_no_word_is_refused(text: str) -> None:
    with pytest.raises(SearchQueryEmpty):
        parse_query(text)


@given(text=ANYTHING)
def test_whatever_is_typed_is_a_query_or_wants_no_word(text: str) -> None:
    try:
        query = parse_query(text)
    except SearchQueryEmpty:
        return
    assert all(each.words and all(each.words) for each in (*query.wanted, *query.unwanted))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Größe", "GRÖSSE"),
        ("café", "cafe"),
        ("cafe\u0301", "café"),
        ("ΣΊΣΥΦΟΣ", "Σισυφος"),
        ("ﬁne", "fine"),
        ("\uff46\uff55\uff4c\uff4c", "full"),
        ("Ё", "\u0435"),
        ("Å", "\u212b"),
        ("ガ", "ｶﾞ"),
        ("مُحَمَّد", "محمد"),
        ("İ", "i"),
    ],
)
def test_case_accents_and_forms_make_no_difference(one: str, other: str) -> None:
    assert words_of(one) == words_of(other) != []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("snake_case and 3.14, 42!", ["snake", "case", "and", "3", "14", "42"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("東京に行く", ["東", "京", "に", "行", "く"]),
        ("Tokyo東京2020", ["tokyo", "東", "京", "2020"]),
        ("", []),
        ("…—!", []),
    ],
)
def test_words_are_letters_digits_and_their_marks(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(text=ANYTHING)
def test_words_hold_nothing_that_a_database_gives_a_meaning(text: str) -> None:
    for word in words_of(text):
        assert 0 < len(word) <= WORD_CHARACTERS
        assert not set(word) & set(" '\"\\*&|!:()<>_%-+^{}~.,;\t\n\x00\x01")
        assert word.isascii() is False or word.isalnum()
        assert words_of(word) == [word]


@given(text=ANYTHING)
def test_placed_words_are_the_words_each_where_it_stands(text: str) -> None:
    placed = list(placed_words_of(text))
    assert [word for word, _ in placed] == words_of(text)
    for word, span in placed:
        assert 0 <= span.start < span.end <= len(text)
        assert word in words_of(text[span.start : span.end])


@given(text=ANYTHING, query=ANYTHING)
def test_a_snippet_is_a_piece_of_the_text_whose_spans_were_found(text: str, query: str) -> None:
    try:
        parsed = parse_query(query)
    except SearchQueryEmpty:
        return
    snippet = snippet_of(text * 3, parsed)
    assert snippet.text in text * 3
    assert len(snippet.text) <= 2 * SNIPPET_CHARACTERS
    end = 0
    for span in snippet.spans:
        assert end <= span.start < span.end <= len(snippet.text)
        end = span.end
    wanted = SearchQuery(wanted=parsed.wanted)
    assert bool(snippet.spans) >= wanted.matches(words_of(text * 3))


def test_a_snippet_surrounds_the_first_place_and_marks_all_it_shows() -> None:
    text = "far away " * 50 + "the Größe of a house, the grösse again" + " and so on" * 50
    snippet = snippet_of(text, parse_query('GRÖSSE "a house"'))
    marked = [snippet.text[span.start : span.end] for span in snippet.spans]
    assert marked == ["Größe", "a house", "grösse"]
    assert 0 < snippet.text.index("Größe") <= 65
    assert not snippet.text.startswith(" ")
    assert text.count(snippet.text) == 1


@given(
    words=st.lists(st.sampled_from(["a", "b", "ab", "ba"]), min_size=1, max_size=200),
    clauses=st.lists(
        st.builds(
            lambda words, is_prefix: clause(*words, is_prefix=is_prefix),
            st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_a_snippet_marks_every_place_of_every_clause(words: list[str], clauses: list[Clause]) -> None:
    text = " ".join(words)
    shown = snippet_of(text, SearchQuery(wanted=tuple(clauses)))
    start = text.index(shown.text)
    edges = [span for _, span in placed_words_of(text)]
    marked = {
        index
        for place in range(len(words))
        for each in clauses
        if each.found_at(words, place)
        for index in range(edges[place].start, edges[place + len(each.words) - 1].end)
    }
    # The snippet may begin at any place where the same text stands; only one of them is marked alike.
    starts = [at for at in range(start, len(text)) if text.startswith(shown.text, at)]
    told = {index for span in shown.spans for index in range(span.start, span.end)}
    assert any({at - begin for at in marked if begin <= at < begin + len(shown.text)} == told for begin in starts)


def test_a_query_of_many_clauses_costs_a_long_text_little_more_than_one() -> None:
    text = "a b " * 2_000 + "end"

    def calls_for(query: str) -> int:
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            snippet_of(text, parse_query(query))
        finally:
            sys.setprofile(None)
        return calls

    many = " ".join(f'"a {first}{second}"' for first in "cdefgh" for second in "cdefgh")
    assert calls_for(f"end {many}") < 4 * calls_for("end")


def test_a_snippet_of_a_short_text_is_the_text() -> None:
    assert snippet_of("A house.", parse_query("house")).text == "A house."


def test_what_follows_one_another_across_the_match_is_no_phrase() -> None:
    words = words_of("the red house and the green garden")
    for text, is_found in (
        ("the house", True),
        ('"the house"', False),
        ('"red house"', True),
        ('"red hous"', False),
        ('"red hous"*', True),
        ("garden -blue", True),
        ("garden -gree*", False),
        ('garden -"green house"', True),
        ("gardens", False),
    ):
        assert parse_query(text).matches(words) is is_found, text
