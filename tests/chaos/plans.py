"""What the provider does with a request, by chance of the name that the user's message carries, and of nothing else.

A message says ``chaos:<profile>/<seed>/<round>/<number>``. Every token is four UTF-8 bytes, so that the server's
estimate (a token for four bytes) and the provider's count are equal, and belongs to one call alone.
"""

import random
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.support.openai_plans import Fault, Plan

NAME: Final = re.compile(r"chaos:(?P<tag>[\w./-]+)")
DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
TOKEN_BYTES: Final = 4
MEGABYTE: Final = 1_000_000
# From this call of a node on nothing goes wrong, so that runs end: the models that follow a failed one are as many.
PATIENCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosPlan(Plan):
    """A plan that also says how the bytes come."""

    torn: bool = False
    """A cut comes within an event."""
    raw: bool = False
    """Characters beyond ASCII are sent as themselves, not as escapes."""
    chunks: int = 0
    """Events are sent in pieces of so many bytes at most; 0: whole."""
    crawl: tuple[int, int] = (-1, 0)
    """From this delta on, so many bytes come one a second."""


def tag_of(text: str) -> str:
    """Return the name that a message carries, empty where it carries none."""
    found = NAME.search(text)
    return found["tag"] if found else ""


def plan_of(tag: str, branch: str, number: int) -> ChaosPlan:
    """Return the plan of a node's call of this number, from 0."""
    rng = random.Random(f"{tag} {branch} {number}")
    profile = tag.partition("/")[0]
    if profile == "calm":
        return ChaosPlan(pieces=_words(rng, rng.randint(120, 200)), delay=0.025)
    if profile == "short":
        return ChaosPlan(pieces=_words(rng, rng.randint(2, 4)))
    return _mixed(rng, number, brisk=profile == "brisk")


def count_tokens(text: str) -> int:
    """Return how many tokens a text has that may end within a surrogate pair."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return len(whole.encode()) // TOKEN_BYTES


def _mixed(rng: random.Random, number: int, *, brisk: bool) -> ChaosPlan:
    """Plan an answer with anything in it; where it is to be brisk, nothing that takes seconds."""
    kind = rng.choices(("short", "middle", "long"), (2, 4, 0 if brisk else 4))[0]
    size = {"short": rng.randint(1, 8), "middle": rng.randint(20, 60), "long": rng.randint(60, 140)}[kind]
    manner = rng.choices(("words", "emoji", "halves", "large", "crawl"), (60, 15, 15, 3, 0 if brisk else 4))[0]
    plan: dict[str, object] = {
        "pieces": _pieces(rng, manner, size),
        "delay": rng.uniform(0.005, 0.04),
        "first_delay": rng.choice((0.0, rng.uniform(0, 0.3))),
        "raw": manner == "emoji",
        "chunks": rng.choice((0, 0, rng.randint(1, 40))) if manner != "large" else 0,
        "reasoning": _words(rng, rng.randint(1, 5)) if rng.random() < 0.2 else (),
        "crlf": rng.random() < 0.2,
        "comments": rng.random() < 0.2,
        "usage": rng.random() < 0.8,
    }
    if manner == "crawl":
        plan["crawl"] = (rng.randrange(size), 3)
    if number < PATIENCE and rng.random() < 0.4:
        plan |= _fault(rng, len(plan["pieces"]), brisk=brisk)  # type: ignore[arg-type]
    return ChaosPlan(**plan)  # type: ignore[arg-type]


def _fault(rng: random.Random, pieces: int, *, brisk: bool) -> dict[str, object]:
    after = rng.randint(0, pieces)
    quick = {"429": 15, "500": 15, "cut": 15, "torn": 15, "end": 10, "garbage": 10, "error": 10}
    weights = quick if brisk else {**quick, "unframed": 5, "stall": 3, "mute": 2}
    match rng.choices(list(weights), list(weights.values()))[0]:
        case "429":
            return {"status": 429, "retry_after": "0" if brisk else rng.choice((None, "0", "1"))}
        case "500":
            return {"status": rng.choice((500, 502, 503))}
        case "mute":
            return {"mute": True}
        case "torn":
            return {"torn": True, "after": after}
        case name:
            return {"fault": Fault(name), "after": after}


def _pieces(rng: random.Random, manner: str, size: int) -> tuple[str, ...]:
    if manner == "emoji":
        return tuple(_emoji(rng) for _ in range(size))
    if manner == "halves":
        return _halves("".join(_emoji(rng) for _ in range(size)))
    if manner == "large":
        word = "".join(_words(rng, 1))
        return (word, word * (MEGABYTE // TOKEN_BYTES), *_words(rng, min(size, 20)))
    return _words(rng, size)


def _words(rng: random.Random, size: int) -> tuple[str, ...]:
    return tuple("".join(rng.choices(DIGITS, k=3)) + " " for _ in range(size))


def _emoji(rng: random.Random) -> str:
    return chr(rng.randrange(0x1F400, 0x1F4F0))


def _halves(text: str) -> tuple[str, ...]:
    """Cut a text in the middle of its surrogate pairs: each piece ends with half a pair, but for the last."""
    units = text.encode("utf-16-le")
    cuts = [0, *range(2, len(units), 4), len(units)]
    return tuple(units[start:end].decode("utf-16-le", "surrogatepass") for start, end in pairwise(cuts))
