"""Ranks the sentences of passages against a question, and quotes the best word for word."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chatter_grpc.adapters.models.sentences import is_question, sentences
from chatter_grpc.adapters.models.words import telling_words, words

# The usual constants of BM25: how soon repetition stops to count, and how much length does.
_K1: Final = 1.2
_B: Final = 0.75
# A sentence answers when it holds at least a quarter of the question's telling words ...
_COVERED: Final = 4
# ... and is no more than so much worse than the best one.
_WORST_SCORE: Final = 0.4

_REQUEST_WORDS: Final = """
    answer compare define describe explain find give list name please quote show summarise summarize tell translate
    write
"""
_REQUESTS: Final = frozenset(_REQUEST_WORDS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A text that may be quoted, and what to call it."""

    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A sentence of a passage: ``text`` is ``passage.text[start:end]``."""

    text: str
    source: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    quote: Quote
    length: int
    counts: dict[str, int]


def questions_in(message: str) -> tuple[str, ...]:
    """Return the sentences of a message that ask for something, as far as their form shows it; may be empty.

    They end the message or begin it, since a text may stand before or after them; failing both, the last one counts.
    Requests in the form of an order are known in English only.
    """
    found = [message[start:end] for start, end in sentences(message)]
    asking = [_asks(sentence) for sentence in found]
    if not any(asking):
        return ()
    if asking[-1]:
        first = len(found)
        while first > 0 and asking[first - 1]:
            first -= 1
        return tuple(found[first:])
    if asking[0]:
        return tuple(found[: asking.index(False)])
    last = len(found) - 1 - asking[::-1].index(True)
    return (found[last],)


def last_sentence(text: str) -> str:
    """Return the last sentence of a text; empty where there is none."""
    last = (0, 0)
    for span in sentences(text):
        last = span
    return text[last[0] : last[1]]


def best_quotes(
    passages: Sequence[Passage], question: str, *, never: Collection[str] = (), limit: int = 3
) -> tuple[Quote, ...]:
    """Return up to ``limit`` sentences that share telling words with the question, best first; may be empty.

    The order is that of BM25 (S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond",
    2009) over sentences, then that of the passages. Neither questions nor the sentences in ``never`` are quoted, and no
    sentence twice. The same arguments always give the same quotes.
    """
    asked = telling_words(question)
    if not asked:
        return ()
    seen = {_plain(sentence) for sentence in never}
    candidates: list[_Candidate] = []
    number = total_length = 0
    for quote in _statements(passages, seen):
        length, counts = _count(quote.text, asked)
        number += 1
        total_length += length
        if len(counts) * _COVERED >= len(asked):
            candidates.append(_Candidate(quote, length, counts))
    if not candidates:
        return ()
    weights = _weights(asked, candidates, number)
    average = total_length / number
    scored = [(_score(candidate, weights, average), candidate.quote) for candidate in candidates]
    # The sort is stable: equal scores keep the order of the passages.
    scored.sort(key=lambda pair: -pair[0])
    worst = scored[0][0] * _WORST_SCORE
    return tuple(quote for score, quote in scored[:limit] if score >= worst)


def _asks(sentence: str) -> bool:
    return is_question(sentence) or next(words(sentence), "") in _REQUESTS


def _statements(passages: Sequence[Passage], seen: set[str]) -> Iterator[Quote]:
    for passage in passages:
        for start, end in sentences(passage.text):
            text = passage.text[start:end]
            plain = _plain(text)
            if plain in seen or is_question(text):
                continue
            seen.add(plain)
            yield Quote(text=text, source=passage.source, start=start, end=end)


def _plain(sentence: str) -> str:
    return " ".join(words(sentence))


def _count(sentence: str, asked: frozenset[str]) -> tuple[int, dict[str, int]]:
    length = 0
    counts: dict[str, int] = {}
    for word in words(sentence):
        length += 1
        if word in asked:
            counts[word] = counts.get(word, 0) + 1
    return length, counts


def _weights(asked: frozenset[str], candidates: Sequence[_Candidate], number: int) -> dict[str, float]:
    """Return what each word of the question is worth: more, the fewer sentences hold it."""
    weights = {}
    for word in asked:
        holding = sum(1 for candidate in candidates if word in candidate.counts)
        weights[word] = math.log(1.0 + (number - holding + 0.5) / (holding + 0.5))
    return weights


def _score(candidate: _Candidate, weights: dict[str, float], average: float) -> float:
    norm = _K1 * (1.0 - _B + _B * candidate.length / average)
    # In a fixed order, since the sum of floats depends on it.
    return sum(weights[word] * count * (_K1 + 1.0) / (count + norm) for word, count in sorted(candidate.counts.items()))
