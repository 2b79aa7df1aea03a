"""What the databases are filled with: owners who have equally much, and words that are as frequent as in life."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, product

from chatter_grpc.adapters.sql.words import tag_of

PER_CONVERSATION = 20
TITLE_WORDS = 4
MESSAGE_WORDS = 30
SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "ri", "so", "tu", "va", "we", "xi", "zo")
VOCABULARY = tuple("".join(syllables) for syllables in product(SYLLABLES, repeat=3))
# The n-th most frequent word is said an n-th as often as the first: Zipf's law.
CUMULATIVE = tuple(accumulate(1 / rank for rank in range(1, len(VOCABULARY) + 1)))
# Counted in microseconds since the epoch, as SQLite keeps it: the first of January 2026.
BEGIN_MICROS = 1_767_225_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is in a database. Every owner has as many messages, so that a larger one has more owners."""

    messages: int
    per_owner: int

    @property
    def owners(self) -> int:
        return self.messages // self.per_owner

    @property
    def conversations(self) -> int:
        """Conversations of each owner."""
        return self.per_owner // PER_CONVERSATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A conversation, named by a number, with the texts of its messages."""

    owner_id: str
    number: int
    title: str
    texts: tuple[str, ...]

    @property
    def tag(self) -> str:
        return tag_of(self.owner_id)

    @property
    def at_micros(self) -> int:
        return BEGIN_MICROS + self.number * 1_000_000


def owner_id(number: int) -> str:
    return f"user_{number:032x}"


def talks(size: Size, seed: int) -> Iterator[Talk]:
    """Yield all conversations, those of the owners in turn, as they would come about."""
    chance = random.Random(seed)
    for number in range(size.conversations * size.owners):
        yield Talk(
            owner_id=owner_id(number % size.owners),
            number=number,
            title=said(chance, TITLE_WORDS),
            texts=tuple(said(chance, MESSAGE_WORDS) for _ in range(PER_CONVERSATION)),
        )


def said(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(VOCABULARY, cum_weights=CUMULATIVE, k=words))


def parts_of(text: str) -> str:
    """A message's parts as they are stored."""
    return json.dumps([{"text": text}], separators=(",", ":"))


def a_query(chance: random.Random) -> str:
    """What somebody may look for: a word, two words, or a beginning."""
    words = chance.choices(VOCABULARY, cum_weights=CUMULATIVE, k=2)
    return chance.choice((words[0], f"{words[0]} {words[1]}", f"{words[0][:4]}*"))
