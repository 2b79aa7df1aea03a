"""Tells whether a pattern keeps to the syntax that RE2 and Python's ``re`` read alike."""

import re
from typing import Final

# What Python knows and RE2 does not, after escaped characters and character classes are taken out.
FOREIGN: Final = re.compile(
    r"""
      (?P<lookaround> \(\?<?[=!])
    | (?P<backreference> \(\?P= )
    | (?P<conditional> \(\?\( )
    | (?P<atomic_group> \(\?> )
    | (?P<comment> \(\?\# )
    | (?P<possessive_repetition> [*+?}]\+ )
    """,
    re.VERBOSE,
)
ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
# Escapes that mean the same in both, under re.ASCII; any punctuation may be escaped too.
SHARED_ESCAPES: Final = frozenset("dDsSwWbBAnrtfv")
CLASS: Final = re.compile(r"\[\^?\]?[^\]]*\]")
MAX_REPETITION: Final = 1000


def compile_shared(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that means the same in RE2 (so: no lookaround, no backreference, classes of ASCII).

    Raises ``ValueError`` on any other one.
    """
    for escape in ESCAPE.finditer(pattern):
        if escape[1].isalnum() and escape[1] not in SHARED_ESCAPES:
            raise ValueError(f"pattern {pattern!r}: RE2 does not read {escape[0]} as Python does")
    bare = CLASS.sub("c", ESCAPE.sub("e", pattern))
    if found := FOREIGN.search(bare):
        raise ValueError(f"pattern {pattern!r}: RE2 has no {str(found.lastgroup).replace('_', ' ')}")
    if any(int(count) > MAX_REPETITION for count in re.findall(r"[{,](\d+)", bare)):
        raise ValueError(f"pattern {pattern!r}: RE2 repeats at most {MAX_REPETITION} times")
    try:
        return re.compile(pattern, re.ASCII)
    except re.error as error:
        raise ValueError(f"pattern {pattern!r}: {error}") from error
