"""Conversations: their settings, and what a caller may do with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.usage import Usage

DEFAULT_WINDOW: Final = 20
PURGE_AFTER: Final = timedelta(days=30)


class ConversationStatus(StrEnum):
    """Whether a conversation is in use."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class ConversationOrder(StrEnum):
    """An order of conversations."""

    ACTIVITY = "activity"
    CREATED = "created"
    TITLE = "title"


class MemoryMode(StrEnum):
    """What of the past a model is given."""

    OFF = "off"
    WINDOW = "window"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How an answer is made; ``None`` leaves a field to the next in line (call, conversation, server)."""

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None

    def over(self, other: "ModelSettings") -> "ModelSettings":
        """Return settings whose fields are these where they are set, else the other's."""
        return ModelSettings(
            model=other.model if self.model is None else self.model,
            temperature=other.temperature if self.temperature is None else self.temperature,
            max_tokens=other.max_tokens if self.max_tokens is None else self.max_tokens,
            system_prompt=other.system_prompt if self.system_prompt is None else self.system_prompt,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What of the past a model is given; ``window`` counts messages, and holds for that mode alone."""

    mode: MemoryMode = MemoryMode.WINDOW
    window: int = DEFAULT_WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A sequence of messages with its settings. ``version`` counts changes of its own fields, and is its etag."""

    id: str
    owner_id: str
    title: str
    description: str
    status: ConversationStatus
    settings: ModelSettings
    memory: Memory
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    version: int = 1
    message_count: int = 0
    usage: Usage = field(default_factory=Usage)
    last_message_at: datetime | None = None
    deleted_at: datetime | None = None
    purge_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFilter:
    """Which conversations to list; ``None`` and empty mean all."""

    status: ConversationStatus | None = None
    tag: str = ""
    text: str = ""
    order: ConversationOrder = ConversationOrder.ACTIVITY


class ConversationStore(Protocol):
    """Keeps conversations, inside a transaction. Deleted ones are invisible to all methods but those that say so."""

    async def add(self, conversation: Conversation, *, last_index: int | None = None) -> None:
        """Insert a conversation; its next message gets the index after ``last_index``, else after its message count."""
        ...

    async def get(self, owner_id: str, conversation_id: str) -> Conversation:
        """Return an owner's conversation; raises ``ConversationNotFound``."""
        ...

    async def lock(self, owner_id: str, conversation_id: str) -> Conversation:
        """Return an owner's conversation and hold its row until the transaction ends; raises ``ConversationNotFound``.

        Whoever changes a conversation together with its runs or messages takes this lock first.
        """
        ...

    async def list(self, owner_id: str, wanted: ConversationFilter, page: PageRequest) -> Page[Conversation]:
        """Return one page of an owner's conversations in the order asked for, in one statement.

        It ends before what the conversations hold exceeds ``pages.MAX_BYTES``, but holds at least one.
        """
        ...

    async def replace(self, conversation: Conversation) -> None:
        """Write a held conversation's own fields (not its counters), and its delete and purge time."""
        ...

    async def lock_deleted(self, owner_id: str, conversation_id: str) -> Conversation:
        """Do as ``lock``, with a conversation that may be deleted."""
        ...

    async def restore(self, conversation: Conversation) -> None:
        """Do as ``replace``, with a conversation that may be deleted."""
        ...
