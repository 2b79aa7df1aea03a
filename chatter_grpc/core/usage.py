"""Usage: tokens and money of a model call, a message, a run or a conversation."""

from dataclasses import dataclass
from typing import Final

from chatter_grpc.core.models import Price, TokenCount

# So many bytes of UTF-8 count as a token where no provider counts. The ratio is the usual one for English text, and
# errs high for scripts of several bytes a character.
TOKEN_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, money and whether a count was estimated.

    ``cost_micros`` is in millionths of a US dollar, ``None`` where the price of a model that was used is not known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int | None = 0
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        """Sum two usages; an unknown cost makes the sum's cost unknown, an estimate makes it estimated."""
        known = self.cost_micros is not None and other.cost_micros is not None
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_micros=(self.cost_micros or 0) + (other.cost_micros or 0) if known else None,
            estimated=self.estimated or other.estimated,
        )


def usage_of(count: TokenCount, price: Price | None, *, estimated: bool) -> Usage:
    """Return the usage of one model call."""
    return Usage(
        input_tokens=count.input_tokens,
        output_tokens=count.output_tokens,
        cost_micros=None if price is None else price.cost_micros(count),
        estimated=estimated,
    )


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a text has: one for every ``TOKEN_BYTES`` of its UTF-8."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // TOKEN_BYTES)
