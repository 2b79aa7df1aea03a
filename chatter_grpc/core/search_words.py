"""Words: how a text is cut into what search compares, without regard to case and accents, alike on every database."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

# Of a text this many characters are searched; folded, some characters become several.
INDEXED_CHARACTERS: Final = 50_000
_FOLDED_CHARACTERS: Final = 80_000
# A longer word counts as its beginning, in texts and in queries alike.
WORD_CHARACTERS: Final = 64

# Marks that a word is found without: accents of Latin, Greek and Cyrillic, points of Hebrew, vowels of Arabic.
_DROPPED: Final = (
    *((0x0300, 0x036F), (0x0483, 0x0487), (0x0591, 0x05BD), (0x05BF, 0x05BF), (0x05C1, 0x05C7), (0x0610, 0x061A)),
    *((0x064B, 0x065F), (0x0670, 0x0670), (0x06D6, 0x06DC), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20F0)),
    (0xFE20, 0xFE2F),
)
# Scripts that are written without spaces: each character is a word of its own. Thai, Lao, Myanmar, Khmer, kana, Han.
_SPACELESS: Final = (
    "\u0e01-\u0e30\u0e32-\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2-\u0eb3\u0ebd-\u0ec6\u1000-\u102a\u103f\u1780-\u17b3"
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U000323af"
)


def _kept_marks() -> str:
    """Return the marks that are part of a word, as the inside of a regular expression's class."""
    dropped = {code for first, last in _DROPPED for code in range(first, last + 1)}
    marks = (code for code in range(0x0300, 0xFFFF) if unicodedata.category(chr(code)).startswith("M"))
    return "".join(chr(code) for code in marks if code not in dropped)


_MARKS: Final = _kept_marks()
_DROP: Final = {code: None for first, last in _DROPPED for code in range(first, last + 1)}
_ASCII_WORD: Final = re.compile(r"[0-9a-z]+")
_WORD: Final = re.compile(rf"(?:[^\W_]|[{_MARKS}])+")
_HAS_SPACELESS: Final = re.compile(rf"[{_SPACELESS}]")
_MIXED_WORD: Final = re.compile(rf"[{_SPACELESS}][{_MARKS}]*|(?:(?![{_SPACELESS}])[^\W_]|[{_MARKS}])+")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of a text: from ``start`` up to, and without, ``end``."""

    start: int
    end: int


def words_of(text: str) -> list[str]:
    """Return the words of a text in order, folded; no word holds anything but letters, digits and marks."""
    if text.isascii():
        folded, pattern = text[:INDEXED_CHARACTERS].lower(), _ASCII_WORD
    else:
        folded = _fold(text[:INDEXED_CHARACTERS])[:_FOLDED_CHARACTERS]
        pattern = _pattern_for(folded)
    return [word[:WORD_CHARACTERS] for word in pattern.findall(folded)]


def placed_words_of(text: str) -> Iterator[tuple[str, Span]]:
    """Yield the words of ``words_of``, each with its place in the text."""
    searched = text[:INDEXED_CHARACTERS]
    if text.isascii():
        for match in _ASCII_WORD.finditer(searched.lower()):
            yield match.group()[:WORD_CHARACTERS], Span(match.start(), match.end())
        return
    ends = list(accumulate(map(_folded_length, searched)))
    # Folding a text as a whole may only order marks within it, which moves no word's end.
    folded = _fold(searched)[:_FOLDED_CHARACTERS]
    for match in _pattern_for(folded).finditer(folded):
        start, end = bisect_right(ends, match.start()), bisect_right(ends, match.end() - 1) + 1
        yield match.group()[:WORD_CHARACTERS], Span(start, end)


def _pattern_for(folded: str) -> re.Pattern[str]:
    return _MIXED_WORD if _HAS_SPACELESS.search(folded) else _WORD


@lru_cache(maxsize=4096)
def _folded_length(character: str) -> int:
    return len(_fold(character))


def _fold(text: str) -> str:
    """Return a text in the form that makes equal what differs by case, compatibility or accent alone."""
    compatible = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return compatible.translate(_DROP)
