"""Messages: the turns of a conversation, as they are stored."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A piece of a message's text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """A picture of one of the media types of ``core.images``; ``sha256`` is in lower-case hexadecimal.

    ``data`` is ``None`` where it was not read along: a list of messages goes without.
    """

    media_type: str
    size_bytes: int
    sha256: str
    data: bytes | None = field(default=None, repr=False)


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What an owner thinks of an answer: ``value`` from 1, the worst, to 5."""

    value: int
    comment: str
    rated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. ``index`` counts from 1 in its conversation; 0 before it is stored.

    What a model call knows (model, provider, finish reason, usage, latency) is unset on a user's message. On a copy,
    which ``copied_from`` tells, the usage is unset too. ``replaced_by_run_id`` is empty but on an answer in whose place
    another run's stands.
    """

    id: str
    owner_id: str
    conversation_id: str
    run_id: str
    role: Role
    parts: tuple[Part, ...]
    text_sha256: str
    created_at: datetime
    index: int = 0
    model: str = ""
    provider: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    latency_ms: int | None = None
    replaced_by_run_id: str = ""
    copied_from: str = ""
    rating: Rating | None = None

    @property
    def text(self) -> str:
        """The concatenation of the text parts."""
        return text_of(self.parts)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images among the parts, in order."""
        return tuple(part for part in self.parts if isinstance(part, ImagePart))


def text_of(parts: Iterable[Part]) -> str:
    """Return the concatenation of the texts among the parts."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def sha256_of(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8, in lower-case hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


class MessageStore(Protocol):
    """Keeps messages without the data of their images, inside a transaction.

    Deleted ones and those of deleted conversations are invisible to the reading methods.
    """

    async def append(
        self, conversation_id: str, messages: tuple[Message, ...], usage: Usage, *, after: int | None = None
    ) -> int:
        """Add messages to a conversation, deleted or not, and return the index that the first of them got.

        ``after`` is the conversation's last index, where it is held and that is known.

        Holds the conversation's row until the transaction ends. Adds to its message count, last message time and
        usage (``usage`` is the run's, once); no messages, and only the usage is added.
        """
        ...

    async def get(self, owner_id: str, message_id: str) -> Message:
        """Return an owner's message; raises ``MessageNotFound``."""
        ...

    async def list(
        self,
        owner_id: str,
        conversation_id: str,
        page: PageRequest,
        *,
        newest_first: bool,
        include_replaced: bool = False,
    ) -> Page[Message]:
        """Return one page of a conversation's messages by index, without those that were replaced unless asked for.

        It ends before the texts on it exceed ``pages.MAX_BYTES``, but holds at least one message.
        """
        ...

    async def last_question(self, owner_id: str, conversation_id: str) -> Message | None:
        """Return the user's latest message in a conversation, ``None`` where there is none."""
        ...

    async def replace_answers(self, owner_id: str, conversation_id: str, question_id: str, run_id: str) -> None:
        """Mark the answers after a question that other runs gave as replaced by ``run_id``, and count them no more."""
        ...

    async def latest(self, owner_id: str, conversation_id: str, before_index: int, count: int) -> tuple[Message, ...]:
        """Return the ``count`` messages that end just before an index, in order, without those that were replaced."""
        ...

    async def remove(self, owner_id: str, message: Message, at: datetime) -> None:
        """Delete a message of a conversation that is held, and count it no longer; raises ``MessageNotFound``."""
        ...

    async def rate(self, owner_id: str, message_id: str, rating: Rating | None) -> None:
        """Put a rating in place of the one before; raises ``MessageNotFound``."""
        ...
