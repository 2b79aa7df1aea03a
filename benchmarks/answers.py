"""What the provider stand-in answers: the plan that a model's name states, and the exact text of the answer."""

import re
from dataclasses import dataclass
from functools import lru_cache

EPOCH_WIDTH = 20
"""Bytes of an answer's first token: the time, in nanoseconds of the machine's monotonic clock, at which it was due."""

TOKEN_WIDTH = 5
"""Bytes of every other token: a space and its index in hexadecimal, so that a loss, a repeat or a swap shows."""

MAX_TOKENS = 16**4

MODEL_NAME = re.compile(r"(?:flat|paced-(?P<rate>\d+(?:\.\d+)?))-(?P<tokens>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """How one answer is streamed."""

    tokens: int
    """Tokens of the answer, 1 to MAX_TOKENS."""
    rate: float = 0.0
    """Tokens per second, each in a write of its own; 0 is flat: as fast as the socket takes them."""

    def __post_init__(self) -> None:
        if not 1 <= self.tokens <= MAX_TOKENS or self.rate < 0:
            raise ValueError(f"an answer has 1 to {MAX_TOKENS} tokens and a rate of 0 or more: {self}")

    @property
    def model(self) -> str:
        """The name of the model that answers like this: `flat-500` or `paced-50-500`."""
        return f"paced-{self.rate:g}-{self.tokens}" if self.rate else f"flat-{self.tokens}"

    @property
    def interval_ns(self) -> float:
        """Nanoseconds from one token to the next; 0 for a flat answer."""
        return 1e9 / self.rate if self.rate else 0.0


def parse_model(name: str) -> AnswerPlan:
    """The plan that a model's name states. Raises ValueError for any other name."""
    found = MODEL_NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"no such model: {name!r}; there are flat-<tokens> and paced-<rate>-<tokens>")
    return AnswerPlan(tokens=int(found["tokens"]), rate=float(found["rate"] or 0))


def write_token(index: int, epoch_ns: int) -> str:
    """The text of one token; the first carries the epoch."""
    return f" {index:04x}" if index else f"{epoch_ns:0{EPOCH_WIDTH}d}"


@lru_cache(maxsize=8)
def write_rest(tokens: int) -> str:
    """The text of an answer after its first token."""
    return "".join(write_token(index, 0) for index in range(1, tokens))


def count_tokens(length: int) -> int:
    """How many whole tokens the first `length` bytes of an answer hold."""
    return 0 if length < EPOCH_WIDTH else 1 + (length - EPOCH_WIDTH) // TOKEN_WIDTH


def read_epoch(text: str) -> int:
    """The epoch of an answer, in nanoseconds. Raises ValueError where its first token is not whole."""
    first = text[:EPOCH_WIDTH]
    if len(first) != EPOCH_WIDTH or not first.isdecimal():
        raise ValueError(f"an answer begins with its epoch, not with {first!r}")
    return int(first)
