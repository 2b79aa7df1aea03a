"""Rows of the tables as both databases take them, moments left to each."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.storage.population import PER_CONVERSATION, Talk, owner_id, parts_of
from chatter_grpc.core.messages import sha256_of

Moment = Callable[[int], Any]

COLUMNS: dict[str, tuple[str, ...]] = {
    "users": ("id", "username", "username_key", "email", "display_name", "role", "state", "created_at"),
    "owners": ("id", "user_id", "subject", "created_at"),
    "conversations": (
        *("id", "owner_id", "title", "description", "status", "settings", "memory", "tags", "metadata"),
        *("created_at", "updated_at", "active_at", "last_message_at", "version", "message_count", "last_index"),
        *("input_tokens", "output_tokens", "cost_micros", "estimated", "size"),
    ),
    "conversation_words": ("conversation_id", "owner_id", "tag", "title", "words"),
    "runs": (
        *("id", "owner_id", "actor_id", "conversation_id", "kind", "state", "failure_reason", "failure_message"),
        *("process_id", "created_at", "lease_expires_at", "finished_at", "attempt", "last_seq"),
        *("input_tokens", "output_tokens", "cost_micros", "estimated"),
    ),
    "messages": (
        *("id", "owner_id", "conversation_id", "run_id", "role", "text_sha256", "model", "provider", "parts"),
        *("created_at", "position", "size"),
    ),
    "message_words": ("message_id", "owner_id", "conversation_id", "role", "size", "tag", "words"),
}
Rows = dict[str, list[tuple[Any, ...]]]


def rows_of_owners(owners: int, moment: Moment) -> Rows:
    """Rows of all accounts."""
    at = moment(0)
    ids = [owner_id(number) for number in range(owners)]
    return {
        "users": [(each, each, each, each, "", "member", "active", at) for each in ids],
        "owners": [(each, each, "", at) for each in ids],
    }


def rows_of_talks(talks: list[Talk], moment: Moment) -> Rows:
    """Rows of conversations with all that belongs to them."""
    rows: Rows = {name: [] for name in COLUMNS if name not in ("users", "owners")}
    for talk in talks:
        conversation_id, run_id = f"conv_{talk.number:032x}", f"run_{talk.number:032x}"
        at, owner = moment(talk.at_micros), talk.owner_id
        words = f" {talk.title} "
        rows["conversations"].append(
            (
                *(conversation_id, owner, talk.title, "", "active", "{}", '{"mode":"window","window":20}', "[]", "{}"),
                *(at, at, at, at, 1, PER_CONVERSATION, PER_CONVERSATION, 0, 0, 0, False, len(talk.title)),
            )
        )
        rows["conversation_words"].append((conversation_id, owner, talk.tag, words, words))
        rows["runs"].append(
            (
                *(run_id, owner, owner, conversation_id, "plain", "completed", "", "", "process"),
                *(at, at, at, 1, 2, 0, 0, 0, False),
            )
        )
        for message, word in rows_of_messages(talk, conversation_id, run_id, at):
            rows["messages"].append(message)
            rows["message_words"].append(word)
    return rows


def rows_of_messages(
    talk: Talk, conversation_id: str, run_id: str, at: Any
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """A message and its words, for each of a conversation's."""
    tag, owner = talk.tag, talk.owner_id
    for place, text in enumerate(talk.texts, 1):
        message_id = f"msg_{talk.number * PER_CONVERSATION + place:032x}"
        role = "user" if place % 2 else "assistant"
        yield (
            (
                *(message_id, owner, conversation_id, run_id, role, sha256_of(text), "", "", parts_of(text)),
                *(at, place, len(text)),
            ),
            (message_id, owner, conversation_id, role, len(text), tag, f" {text} "),
        )
