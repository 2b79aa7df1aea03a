"""The words of a text as a lexical search compares them."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

# Scripts that put no spaces between words are compared by character.
_UNSPACED: Final = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")

_STOP_WORDS: Final = """
    a about again all also am an and any are as at be been before being but by can could d did do does doing don for
    from had has have he her here him his how i if in into is it its just ll me more most my no not of on one or other
    our please re s said say says she should so some such t tell than that the their them then there these they this
    those to up us ve very was we were what when where which who whom whose why will with would you your
"""


def words(text: str) -> Iterator[str]:
    """Yield all words: compatibility forms unified, case folded, English plurals without their ending."""
    for found in _WORD.finditer(unicodedata.normalize("NFKC", text).casefold()):
        yield _singular(found[0])


def telling_words(text: str) -> frozenset[str]:
    """Return the distinct words that say what a text is about: those that are no stop words."""
    return frozenset(words(text)) - _STOPPED


def _singular(word: str) -> str:
    """Take off a plural's ending: the "S stemmer" of D. Harman, "How effective is suffixing?", 1991."""
    if len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else word[:-3] + "y"
    if word.endswith("es"):
        return word if word.endswith(("aes", "ees", "oes")) else word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]


_STOPPED: Final = frozenset(_singular(word) for word in _STOP_WORDS.split())
