"""Search: what a query asks for, and what of a text is shown where it was found."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from chatter_grpc.core.errors import SearchQueryEmpty
from chatter_grpc.core.search_words import Span, placed_words_of, words_of

# A snippet shows about so many characters before the first match, and so many in all.
SNIPPET_BEFORE: Final = 60
SNIPPET_CHARACTERS: Final = 240

# One part of a query: an exclusion's sign, then a phrase in quotes or what stands up to the next space, then a star.
_PART: Final = re.compile(r'(?P<out>-?)(?:"(?P<phrase>[^"]*)(?:"|$)(?P<star>\*?)|(?P<plain>[^\s"]+))')


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """Words that follow one another in a text; of the last one the beginning is enough where ``is_prefix``."""

    words: tuple[str, ...]
    is_prefix: bool = False

    def found_at(self, words: Sequence[str], place: int) -> bool:
        """Whether the clause stands at a place among a text's words."""
        here = words[place : place + len(self.words)]
        if len(here) < len(self.words) or tuple(here[:-1]) != self.words[:-1]:
            return False
        return here[-1].startswith(self.words[-1]) if self.is_prefix else here[-1] == self.words[-1]

    def found_in(self, words: Sequence[str]) -> bool:
        """Whether the clause stands anywhere among a text's words."""
        return any(self.found_at(words, place) for place in range(len(words) - len(self.words) + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """What is looked for: every one of ``wanted``, of which there is at least one, and none of ``unwanted``."""

    wanted: tuple[Clause, ...]
    unwanted: tuple[Clause, ...] = ()

    def matches(self, words: Sequence[str]) -> bool:
        """Whether a text of these words is found; the databases have to come to the same."""
        return all(clause.found_in(words) for clause in self.wanted) and not any(
            clause.found_in(words) for clause in self.unwanted
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A piece of a text, and the places in it, in characters, at which a query was found; they do not overlap."""

    text: str
    spans: tuple[Span, ...]


def parse_query(text: str) -> SearchQuery:
    """Read what a user typed: words, ``"a phrase"``, ``-exclusion``, ``prefix*``; whatever else there is separates.

    Nothing is an error but a query that names nothing to find, which raises ``SearchQueryEmpty``.
    """
    wanted: dict[Clause, None] = {}
    unwanted: dict[Clause, None] = {}
    for part in _PART.finditer(text):
        phrase, plain = part["phrase"], part["plain"]
        words = tuple(words_of(plain if phrase is None else phrase))
        if words:
            is_prefix = bool(part["star"]) if plain is None else plain.endswith("*")
            (unwanted if part["out"] else wanted)[Clause(words=words, is_prefix=is_prefix)] = None
    if not wanted:
        raise SearchQueryEmpty
    return SearchQuery(wanted=tuple(wanted), unwanted=tuple(unwanted))


def snippet_of(text: str, query: SearchQuery) -> Snippet:
    """Return the piece of a text around the first place at which a query was found, on whole words where it can."""
    placed = list(placed_words_of(text))
    spans = _merged(_shown(_spans(placed, query)))
    if not spans:
        return Snippet(text=text[:SNIPPET_CHARACTERS], spans=())
    first, edges = spans[0], [span for _, span in placed]
    start = max(first.start - SNIPPET_BEFORE, 0)
    start = next((span.start for span in edges if start <= span.start), first.start) if start else 0
    end = min(max(start + SNIPPET_CHARACTERS, first.end), len(text), start + 2 * SNIPPET_CHARACTERS)
    if end < len(text):
        whole = [span.end for span in edges if first.end <= span.end <= end]
        end = whole[-1] if whole else end
    shown = (Span(span.start - start, min(span.end, end) - start) for span in spans if span.start < end)
    return Snippet(text=text[start:end], spans=tuple(shown))


def _spans(placed: Sequence[tuple[str, Span]], query: SearchQuery) -> Iterator[Span]:
    """Yield the places of all that was wanted, in order of their beginnings, of those that begin at one the longest.

    A long text costs no more for a query of many clauses: at each word one look per length tells of all of them.
    """
    words = [word for word, _ in placed]
    whole: dict[int, set[tuple[str, ...]]] = {}
    # By the words before the last one, with what that has to begin with.
    begun: dict[tuple[str, ...], tuple[str, ...]] = {}
    for clause in query.wanted:
        if clause.is_prefix:
            begun[clause.words[:-1]] = (*begun.get(clause.words[:-1], ()), clause.words[-1])
        else:
            whole.setdefault(len(clause.words), set()).add(clause.words)
    lengths = sorted({len(clause.words) for clause in query.wanted}, reverse=True)
    firsts = {clause.words[0] for clause in query.wanted if len(clause.words) > 1 or not clause.is_prefix}
    for place, word in enumerate(words):
        if word not in firsts and not word.startswith(begun.get((), ())):
            continue
        for length in lengths:
            here = tuple(words[place : place + length])
            if len(here) < length:
                continue
            if here in whole.get(length, ()) or here[-1].startswith(begun.get(here[:-1], ())):
                yield Span(placed[place][1].start, placed[place + length - 1][1].end)
                break


def _shown(spans: Iterator[Span]) -> Iterator[Span]:
    """Yield the spans that a snippet around the first of them may show, and look for no more."""
    first = next(spans, None)
    if first is not None:
        yield first
        yield from takewhile(lambda span: span.start < first.start + 2 * SNIPPET_CHARACTERS, spans)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in spans:
        if merged and span.start < merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged
