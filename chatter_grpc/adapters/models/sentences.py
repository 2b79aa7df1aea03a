"""Finds the sentences of a text, as spans of it."""

import re
from collections.abc import Iterator
from typing import Final

MAX_SENTENCE_CHARS: Final = 400
"""A longer run of text without an end is cut at a space."""

_END: Final = re.compile(
    r"""[.!?\u2026\u061f]+[)\]"'\u201d\u2019\u00bb]*(?=\s)   # an end, with the quotes and brackets that it closes
    | [\u3002\uff01\uff1f\uff61]+[\u300d\u300f\u201d\u2019\uff09]*  # an end in scripts that put no space after it
    | \n[ \t]*\n                                            # a blank line
    | \n(?=[ \t]*(?:[-*\u2022#>|]|\d{1,3}[.)])[ \t])          # a new item of a list, or a heading
    """,
    re.VERBOSE,
)
_MARKUP: Final = re.compile(r"\s*(?:(?:[-*\u2022>|]|\#{1,6}|\d{1,3}[.)])[ \t]+)*")
_NOT_AN_END: Final = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|mrs?|ms|dr|prof|st|sr|jr|vs|no|nos|fig|vol|pp?|ca|cf|approx|e\.g|i\.e)\.$", re.IGNORECASE
)
_ASKS: Final = re.compile(r"[?\uff1f\u061f][)\]\"'\u201d\u2019\u00bb\u300d\u300f\uff09]*$")


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each sentence, in order, without the space and list markup around it."""
    begin = 0
    while begin < len(text):
        end = _end_of_sentence(text, begin)
        markup = _MARKUP.match(text, begin, end)
        start = markup.end() if markup else begin
        sentence = text[start:end].rstrip()
        if sentence:
            yield start, start + len(sentence)
        begin = end


def is_question(sentence: str) -> bool:
    """Return whether a sentence ends in a question mark."""
    return _ASKS.search(sentence) is not None


def _end_of_sentence(text: str, begin: int) -> int:
    limit = begin + MAX_SENTENCE_CHARS
    for found in _END.finditer(text, begin, limit + 1):
        if found.end() <= limit and _is_end(text, begin, found):
            return found.end()
    if limit >= len(text):
        return len(text)
    space = max(text.rfind(" ", begin + 1, limit), text.rfind("\n", begin + 1, limit))
    return limit if space < 0 else space


def _is_end(text: str, begin: int, found: re.Match[str]) -> bool:
    if found[0].strip(".\u2026"):
        return True
    if _NOT_AN_END.search(text, max(begin, found.end() - 8), found.end()):
        return False
    following = text[found.end() : found.end() + 2].lstrip()
    return not following[:1].islower()
