"""Joins the halves of characters that a provider splits between two deltas."""

import re

_HALF = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


class SurrogateJoiner:
    """Holds back half a surrogate pair at the end of a piece until the next piece brings the other half.

    What comes out holds no surrogates: a half whose other half does not follow becomes U+FFFD.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = ""

    def feed(self, piece: str) -> str:
        """Return what can be said after this piece; may be empty."""
        piece = self.held + piece
        self.held = ""
        if not _HALF.search(piece):
            return piece
        if "\ud800" <= piece[-1] <= "\udbff":
            self.held = piece[-1]
            piece = piece[:-1]
        return _whole(piece)

    def end(self) -> str:
        """Return what is owed when nothing more comes: U+FFFD for a half that is still held, else nothing."""
        rest = _REPLACEMENT if self.held else ""
        self.held = ""
        return rest


def _whole(text: str) -> str:
    """Join adjacent halves into their character and replace lone ones."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _HALF.sub(_REPLACEMENT, joined)
