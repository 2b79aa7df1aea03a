"""Makes records to store, each with ids of its own and everything set that can be told apart."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chatter_grpc.core.api_keys import ApiKey
from chatter_grpc.core.conversations import Conversation, ConversationStatus, Memory, MemoryMode, ModelSettings
from chatter_grpc.core.ids import API_KEY, CONVERSATION, MESSAGE, RUN, USER, new_id
from chatter_grpc.core.messages import Message, TextPart, sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs.events import (
    AttemptStarted,
    Batch,
    Body,
    DeltaKind,
    Deltas,
    Entry,
    RunCompleted,
    RunStarted,
)
from chatter_grpc.core.runs.run import Run, RunEnd, RunInput, RunState, WorkflowKind
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from chatter_grpc.core.users import User, UserRole, UserState

NOW: Final = datetime(2026, 11, 22, 10, 30, 15, 123456, tzinfo=UTC)
PROCESS: Final = "process_1"
LEASE: Final = 30.0
RUN_USAGE: Final = Usage(input_tokens=11, output_tokens=22, cost_micros=33)


def a_user(**changes: Any) -> User:
    """An account that no other resembles."""
    user_id = new_id(USER)
    user = User(
        id=user_id,
        username=f"Name-{user_id}",
        email=f"{user_id}@Example.org",
        display_name="Ada Löve",
        role=UserRole.MEMBER,
        state=UserState.ACTIVE,
        password_hash="hash",
        created_at=NOW,
    )
    return replace(user, **changes)


def an_api_key(user_id: str, **changes: Any) -> ApiKey:
    """A key that no other resembles."""
    key_id = new_id(API_KEY)
    key = ApiKey(
        id=key_id,
        user_id=user_id,
        name="Build server",
        prefix=key_id[-12:],
        key_hash=bytes(range(32)),
        scopes=frozenset({"chat:read", "act_as"}),
        created_at=NOW,
    )
    return replace(key, **changes)


def a_conversation(owner_id: str, **changes: Any) -> Conversation:
    """A conversation with all settings."""
    conversation = Conversation(
        id=new_id(CONVERSATION),
        owner_id=owner_id,
        title="On „Größe“ \N{SNOWMAN}",
        description="100% of a_b",
        status=ConversationStatus.ACTIVE,
        settings=ModelSettings(model="p/m", temperature=0.5, max_tokens=7, system_prompt="Be\x00brief."),
        memory=Memory(mode=MemoryMode.WINDOW, window=9),
        tags=("work", "Ägypten", "a"),
        metadata={"key": "value\x00", "": ""},
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(conversation, **changes)


def a_message(conversation: Conversation, run_id: str, **changes: Any) -> Message:
    """A user's message."""
    text = changes.pop("text", "Hello\x00, \N{SNOWMAN}")
    message = Message(
        id=new_id(MESSAGE),
        owner_id=conversation.owner_id,
        conversation_id=conversation.id,
        run_id=run_id,
        role=Role.USER,
        parts=(TextPart(text=text),),
        text_sha256=sha256_of(text),
        created_at=NOW,
    )
    return replace(message, **changes)


def an_answer(conversation: Conversation, run_id: str, **changes: Any) -> Message:
    """A model's message."""
    known = {
        "role": Role.ASSISTANT,
        "model": "p/m",
        "provider": "p",
        "finish_reason": FinishReason.STOP,
        "usage": Usage(input_tokens=5, output_tokens=6, cost_micros=None, estimated=True),
        "latency_ms": 321,
    }
    return a_message(conversation, run_id, **{**known, **changes})


def a_run(conversation: Conversation, **changes: Any) -> Run:
    """A run that is at work in a conversation."""
    run = Run(
        id=new_id(RUN),
        owner_id=conversation.owner_id,
        actor_id=conversation.owner_id,
        conversation_id=conversation.id,
        kind=WorkflowKind.PLAIN,
        workflow_id=None,
        state=RunState.RUNNING,
        created_at=NOW,
    )
    return replace(run, **changes)


def an_input(run: Run, **changes: Any) -> RunInput:
    """What a run begins with."""
    run_input = RunInput(
        user_message_id=_user_message_id(run),
        before_index=1,
        settings=ModelSettings(model="p/m", temperature=1.0),
        memory=Memory(),
    )
    return replace(run_input, **changes)


def first_batch(run: Run) -> Batch:
    """The events that a run begins with, numbers 1 and 2."""
    started = RunStarted(run.id, run.conversation_id, _user_message_id(run))
    return batch_of(run, 1, [started, AttemptStarted()])


def batch_of(run: Run, first_seq: int, bodies: Sequence[Body], *, attempt: int | None = None) -> Batch:
    """A batch of events that follow each other."""
    entries: list[Entry] = []
    seq = first_seq
    attempt = run.attempt if attempt is None else attempt
    for body in bodies:
        step_id = f"{attempt}.1" if isinstance(body, Deltas) else ""
        entries.append(Entry(seq, attempt, step_id, 1_700_000_000_000_000 + seq, body))
        seq = entries[-1].seq + 1
    return Batch(run.id, attempt, tuple(entries))


def deltas_of(*pieces: str) -> Deltas:
    """Pieces of a message's text."""
    return Deltas(DeltaKind.TEXT, "msg_1", pieces)


def last_batch(run: Run, first_seq: int = 3) -> Batch:
    """The event that a run ends with."""
    return batch_of(run, first_seq, [RunCompleted((), RUN_USAGE)])


def an_end(**changes: Any) -> RunEnd:
    """The end of a run that went well."""
    end = RunEnd(state=RunState.COMPLETED, usage=RUN_USAGE, finished_at=NOW + timedelta(seconds=5))
    return replace(end, **changes)


async def store_user(storage: Storage, **changes: Any) -> User:
    """Store an account."""
    user = a_user(**changes)
    async with storage.write() as tx:
        await tx.users.add(user)
    return user


async def store_conversation(storage: Storage, owner_id: str = "", **changes: Any) -> Conversation:
    """Store a conversation, of a new owner where none is named."""
    conversation = a_conversation(owner_id or (await store_user(storage)).id, **changes)
    async with storage.write() as tx:
        await tx.conversations.add(conversation)
    return conversation


async def start_run(
    storage: Storage,
    conversation: Conversation,
    *,
    process_id: str = PROCESS,
    lease: float = LEASE,
    settings: ModelSettings | None = None,
    **changes: Any,
) -> Run:
    """Store a run that has begun, as ``RunStore.get`` returns it."""
    run = a_run(conversation, **changes)
    first = first_batch(run)
    run_input = an_input(run) if settings is None else an_input(run, settings=settings)
    async with storage.write() as tx:
        await tx.runs.add(run, run_input, first, process_id=process_id, lease_seconds=lease)
    return replace(run, last_seq=first.last_seq)


async def finish_run(storage: Storage, run: Run, end: RunEnd | None = None, last: Batch | None = None) -> bool:
    """End a run in a transaction of its own."""
    async with storage.write() as tx:
        return await tx.runs.finish(end or an_end(), last or last_batch(run, run.last_seq + 1))


def _user_message_id(run: Run) -> str:
    return f"msg_of_{run.id}"
