"""Forks: what of a conversation may be copied into another one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much there is in a conversation up to a message: ``size_bytes`` is that of its texts and images."""

    messages: int
    size_bytes: int
    last_message_at: datetime | None


class ForkStore(Protocol):
    """Copies messages, inside a transaction that holds the conversation they are in."""

    async def measure(self, owner_id: str, conversation_id: str, last_index: int, *, kept_run_id: str = "") -> Extent:
        """Return how much there is in a conversation up to an index, without what was replaced.

        What ``kept_run_id`` answered counts as if it had not been replaced.
        """
        ...

    async def copy(
        self,
        owner_id: str,
        conversation_id: str,
        last_index: int,
        new_conversation_id: str,
        *,
        kept_run_id: str = "",
    ) -> None:
        """Copy a conversation's messages up to an index, without those replaced, into an empty one of its owner.

        What ``kept_run_id`` answered is copied though it was replaced; there it is not, and is found.
        A copy has an id of its own and says whose copy it is; it has neither usage nor rating, and all else as its
        original. The number of statements does not depend on how many there are. The counters of the new conversation
        are not touched.
        """
        ...
