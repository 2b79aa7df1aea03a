"""What a caller may do with conversations: make, read, list, change and delete them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from chatter_grpc.core.audit import record
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.conversations import (
    DEFAULT_WINDOW,
    PURGE_AFTER,
    Conversation,
    ConversationFilter,
    ConversationStatus,
    Memory,
    MemoryMode,
    ModelSettings,
)
from chatter_grpc.core.errors import ConversationNotFound, FieldInvalid, FieldViolation
from chatter_grpc.core.ids import CONVERSATION, new_id
from chatter_grpc.core.models import ModelCatalogue
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.requests import RequestKey, claim_request
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.updates import check_version, checked_paths

# What an update may name. A path with a dot names a part of what stands before it.
MUTABLE: Final = frozenset(
    {
        "title",
        "description",
        "status",
        "tags",
        "metadata",
        "memory",
        "memory.mode",
        "memory.window",
        "model_settings",
        "model_settings.model",
        "model_settings.temperature",
        "model_settings.max_tokens",
        "model_settings.system_prompt",
    }
)
IMMUTABLE: Final = frozenset(
    {
        "id",
        "message_count",
        "usage",
        "create_time",
        "update_time",
        "last_message_time",
        "delete_time",
        "purge_time",
        "etag",
    }
)

Part = TypeVar("Part", Memory, ModelSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationValues:
    """The fields that a caller sets, each with its default."""

    title: str = ""
    description: str = ""
    status: ConversationStatus = ConversationStatus.ACTIVE
    settings: ModelSettings = field(default_factory=ModelSettings)
    memory: Memory = field(default_factory=Memory)
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationUpdate:
    """New values, and the paths of the fields to take from them. ``etag`` is empty where there is no guard."""

    conversation_id: str
    values: ConversationValues
    paths: Collection[str]
    etag: str = ""


class Conversations:
    """The use-cases of conversations.

    ``cancel_runs`` wakes whoever works on runs whose cancellation was recorded; it is called after the commit.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        models: ModelCatalogue,
        cancel_runs: Callable[[Collection[str]], None],
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._models = models
        self._cancel_runs = cancel_runs
        self._clock = clock

    async def create(self, caller: Caller, values: ConversationValues, key: RequestKey | None) -> Conversation:
        """Make a conversation, or return the one that the same request made before, as it is now.

        Raises ``FieldInvalid``, ``ModelUnknown``, ``RequestIdReused``.
        """
        now = self._clock()
        conversation = Conversation(
            id=new_id(CONVERSATION),
            owner_id=caller.owner_id,
            title=values.title,
            description=values.description,
            status=values.status,
            settings=values.settings,
            memory=checked_memory(values.memory, "memory.window"),
            tags=distinct(values.tags),
            metadata=values.metadata,
            created_at=now,
            updated_at=now,
        )
        async with self._storage.write() as tx:
            earlier = await claim_request(tx.requests, key, conversation.id, now)
            if earlier is not None:
                return await tx.conversations.get(caller.owner_id, earlier)
            self._check_model(conversation.settings)
            await tx.conversations.add(conversation)
        return conversation

    async def get(self, caller: Caller, conversation_id: str) -> Conversation:
        """Return one of the caller's conversations; raises ``ConversationNotFound``."""
        async with self._storage.read() as tx:
            return await tx.conversations.get(caller.owner_id, conversation_id)

    async def list(self, caller: Caller, wanted: ConversationFilter, page: PageRequest) -> Page[Conversation]:
        """Return one page of the caller's conversations, with fewer than asked for where what they hold is long."""
        async with self._storage.read() as tx:
            return await tx.conversations.list(caller.owner_id, wanted, page)

    async def update(self, caller: Caller, update: ConversationUpdate, key: RequestKey | None) -> Conversation:
        """Set the fields that the paths name, and return the conversation as it is now.

        A repeated request changes nothing more. Raises ``FieldInvalid``, ``ConversationNotFound``, ``EtagMismatch``,
        ``ModelUnknown``, ``RequestIdReused``.
        """
        paths = checked_paths(update.paths, mutable=MUTABLE, immutable=IMMUTABLE)
        now = self._clock()
        async with self._storage.write() as tx:
            before = await tx.conversations.lock(caller.owner_id, update.conversation_id)
            if await claim_request(tx.requests, key, before.id, now) is not None:
                return before
            check_version(before.version, update.etag)
            after = changed(before, update.values, paths)
            if after.settings.model != before.settings.model:
                self._check_model(after.settings)
            if after == before:
                return before
            after = replace(after, updated_at=now, version=before.version + 1)
            await tx.conversations.replace(after)
        return after

    async def delete(self, caller: Caller, conversation_id: str, etag: str = "") -> Conversation:
        """Delete a conversation softly, cancel its run, and return it with its delete and purge time.

        Raises ``ConversationNotFound`` (of one that is deleted already, too), ``EtagMismatch``.
        """
        now = self._clock()
        async with self._storage.write() as tx:
            before = await tx.conversations.lock(caller.owner_id, conversation_id)
            check_version(before.version, etag)
            deleted = replace(
                before, updated_at=now, deleted_at=now, purge_at=now + PURGE_AFTER, version=before.version + 1
            )
            active = [run.id for run in await tx.runs.active((caller.owner_id,), conversation_id)]
            if active:
                await tx.runs.request_cancel(active, now)
            await tx.conversations.replace(deleted)
            await record(tx.audit, "conversation", deleted.id)
        if active:
            self._cancel_runs(active)
        return deleted

    async def undelete(self, caller: Caller, conversation_id: str, etag: str = "") -> Conversation:
        """Bring a conversation back that was deleted, and return it; one that is not deleted stays as it is.

        Raises ``ConversationNotFound`` (of one whose purge time has come, too), ``EtagMismatch``.
        """
        now = self._clock()
        async with self._storage.write() as tx:
            before = await tx.conversations.lock_deleted(caller.owner_id, conversation_id)
            if before.purge_at is not None and before.purge_at <= now:
                raise ConversationNotFound(conversation_id=conversation_id)
            check_version(before.version, etag)
            if before.deleted_at is None:
                return before
            restored = replace(before, updated_at=now, deleted_at=None, purge_at=None, version=before.version + 1)
            await tx.conversations.restore(restored)
            await record(tx.audit, "conversation", restored.id)
        return restored

    def _check_model(self, settings: ModelSettings) -> None:
        if settings.model is not None:
            self._models.resolve(settings.model)


def etag_of(conversation: Conversation) -> str:
    """Return what changes with each change of a conversation's own fields."""
    return str(conversation.version)


def changed(before: Conversation, values: ConversationValues, paths: Collection[str]) -> Conversation:
    """Return a conversation with the fields that the paths name taken from ``values``."""
    fresh: dict[str, Any] = {
        name: getattr(values, name) for name in ("title", "description", "status", "metadata") if name in paths
    }
    if "tags" in paths:
        fresh["tags"] = distinct(values.tags)
    memory = taken(before.memory, values.memory, "memory", paths)
    if memory.mode is MemoryMode.OFF and not {"memory", "memory.window"} & set(paths):
        # Nothing of the past is given any more, however much it was before.
        memory = replace(memory, window=DEFAULT_WINDOW)
    fresh["memory"] = checked_memory(memory, "conversation.memory.window")
    fresh["settings"] = taken(before.settings, values.settings, "model_settings", paths)
    return replace(before, **fresh)


def taken(before: Part, values: Part, name: str, paths: Collection[str]) -> Part:
    """Return a part of a conversation with what the paths name of it, all or some, taken from ``values``."""
    if name in paths:
        return values
    named = {path.removeprefix(f"{name}.") for path in paths if path.startswith(f"{name}.")}
    return replace(before, **{each: getattr(values, each) for each in named})


def checked_memory(memory: Memory, path: str) -> Memory:
    """Return a memory whose window says something; raises ``FieldInvalid`` where one is set that has no effect."""
    if memory.mode is MemoryMode.OFF and memory.window != DEFAULT_WINDOW:
        raise FieldInvalid([FieldViolation(field=path, description="is only for a memory that is a window")])
    return memory


def distinct(tags: Collection[str]) -> tuple[str, ...]:
    """Return tags without repetitions, in order of their first appearance."""
    return tuple(dict.fromkeys(tags))
