"""Writes batches of a run's log as bytes and reads them again.

A batch is one byte that names the version, then MessagePack: ``[base time, [[time, step, event], …]]``. Times are in
microseconds, an entry's counted from the base; an event is an array that begins with the number of its kind. Entries
follow each other without a gap, so that their own numbers are known from the batch's first. A field may be added at
the end of an event, with a default; a kind keeps its number for ever.

A batch of a compacted log has a version of its own, so that a server that does not know of compaction refuses it:
``[base time, compacted, [[time, step, event, attempt], …]]``, where ``compacted`` is the number of the last event that
the log's snapshot stands for.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from chatter_grpc.core.models import FinishReason, Price, Role
from chatter_grpc.core.runs import events
from chatter_grpc.core.runs.events import Batch, Body, DeltaKind, Entry
from chatter_grpc.core.usage import Usage

VERSION: Final = 1
COMPACTED_VERSION: Final = 2


class LogUnreadable(Exception):
    """The bytes are no batch that this version of Chatter can read."""


class _Usage(Struct, array_like=True, frozen=True):
    input_tokens: int
    output_tokens: int
    cost_micros: int | None
    estimated: bool

    def value(self) -> Usage:
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_micros=self.cost_micros,
            estimated=self.estimated,
        )


class _Deltas(Struct, array_like=True, frozen=True, tag=1):
    reasoning: bool
    message_id: str
    pieces: tuple[str, ...]

    def event(self) -> Body:
        kind = DeltaKind.REASONING if self.reasoning else DeltaKind.TEXT
        return events.Deltas(kind, self.message_id, self.pieces)


class _RunStarted(Struct, array_like=True, frozen=True, tag=2):
    run_id: str
    conversation_id: str
    user_message_id: str

    def event(self) -> Body:
        return events.RunStarted(self.run_id, self.conversation_id, self.user_message_id)


class _AttemptStarted(Struct, array_like=True, frozen=True, tag=3):
    def event(self) -> Body:
        return events.AttemptStarted()


class _NodeStarted(Struct, array_like=True, frozen=True, tag=4):
    node_id: str
    node_type: str

    def event(self) -> Body:
        return events.NodeStarted(self.node_id, self.node_type)


class _NodeFinished(Struct, array_like=True, frozen=True, tag=5):
    node_id: str

    def event(self) -> Body:
        return events.NodeFinished(self.node_id)


class _MessageStarted(Struct, array_like=True, frozen=True, tag=6):
    message_id: str
    role: Role
    model: str
    provider: str
    input_tokens: int = 0
    price: tuple[int, int] | None = None

    def event(self) -> Body:
        price = None if self.price is None else Price(input_micros=self.price[0], output_micros=self.price[1])
        return events.MessageStarted(self.message_id, self.role, self.model, self.provider, self.input_tokens, price)


class _UsageReported(Struct, array_like=True, frozen=True, tag=7):
    message_id: str
    model: str
    usage: _Usage

    def event(self) -> Body:
        return events.UsageReported(self.message_id, self.model, self.usage.value())


class _MessageDiscarded(Struct, array_like=True, frozen=True, tag=8):
    message_id: str

    def event(self) -> Body:
        return events.MessageDiscarded(self.message_id)


class _MessageFinished(Struct, array_like=True, frozen=True, tag=9):
    message_id: str
    text_sha256: str
    finish_reason: FinishReason
    usage: _Usage
    latency_ms: int

    def event(self) -> Body:
        usage = self.usage.value()
        return events.MessageFinished(self.message_id, self.text_sha256, self.finish_reason, usage, self.latency_ms)


class _RunCompleted(Struct, array_like=True, frozen=True, tag=10):
    messages: tuple[tuple[str, str], ...]
    usage: _Usage

    def event(self) -> Body:
        return events.RunCompleted(_stored(self.messages), self.usage.value())


class _RunFailed(Struct, array_like=True, frozen=True, tag=11):
    reason: str
    message: str
    messages: tuple[tuple[str, str], ...]
    usage: _Usage

    def event(self) -> Body:
        return events.RunFailed(self.reason, self.message, _stored(self.messages), self.usage.value())


class _RunCancelled(Struct, array_like=True, frozen=True, tag=12):
    messages: tuple[tuple[str, str], ...]
    usage: _Usage

    def event(self) -> Body:
        return events.RunCancelled(_stored(self.messages), self.usage.value())


_Event = (
    _Deltas
    | _RunStarted
    | _AttemptStarted
    | _NodeStarted
    | _NodeFinished
    | _MessageStarted
    | _UsageReported
    | _MessageDiscarded
    | _MessageFinished
    | _RunCompleted
    | _RunFailed
    | _RunCancelled
)


class _Entry(Struct, array_like=True, frozen=True):
    time: int
    step_id: str
    event: _Event


class _Batch(Struct, array_like=True, frozen=True):
    base_us: int
    entries: list[_Entry]


class _CompactedEntry(Struct, array_like=True, frozen=True):
    time: int
    step_id: str
    event: _Event
    attempt: int


class _CompactedBatch(Struct, array_like=True, frozen=True):
    base_us: int
    compacted: int
    entries: list[_CompactedEntry]


_WRITERS: Final[Mapping[type[Body], Callable[[Any], _Event]]] = {
    events.Deltas: lambda e: _Deltas(e.kind is DeltaKind.REASONING, e.message_id, tuple(e.pieces)),
    events.RunStarted: lambda e: _RunStarted(e.run_id, e.conversation_id, e.user_message_id),
    events.AttemptStarted: lambda _: _AttemptStarted(),
    events.NodeStarted: lambda e: _NodeStarted(e.node_id, e.node_type),
    events.NodeFinished: lambda e: _NodeFinished(e.node_id),
    events.MessageStarted: lambda e: _MessageStarted(
        e.message_id, e.role, e.model, e.provider, e.input_tokens, _price(e.price)
    ),
    events.UsageReported: lambda e: _UsageReported(e.message_id, e.model, _usage(e.usage)),
    events.MessageDiscarded: lambda e: _MessageDiscarded(e.message_id),
    events.MessageFinished: lambda e: _MessageFinished(
        e.message_id, e.text_sha256, e.finish_reason, _usage(e.usage), e.latency_ms
    ),
    events.RunCompleted: lambda e: _RunCompleted(_hashes(e.messages), _usage(e.usage)),
    events.RunFailed: lambda e: _RunFailed(e.reason, e.message, _hashes(e.messages), _usage(e.usage)),
    events.RunCancelled: lambda e: _RunCancelled(_hashes(e.messages), _usage(e.usage)),
}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Batch)
_COMPACTED_DECODER: Final = msgspec.msgpack.Decoder(_CompactedBatch)
_PREFIX: Final = bytes([VERSION])
_COMPACTED_PREFIX: Final = bytes([COMPACTED_VERSION])


def encode_batch(batch: Batch) -> bytes:
    """Return the bytes of a batch's entries."""
    base = batch.entries[0].time_us
    entries = [
        _Entry(entry.time_us - base, entry.step_id, _WRITERS[type(entry.body)](entry.body)) for entry in batch.entries
    ]
    return _PREFIX + _ENCODER.encode(_Batch(base, entries))


def decode_batch(data: bytes, attempt: int, first_seq: int) -> tuple[Entry, ...]:
    """Return the entries of a batch that ``attempt`` wrote and whose first event has the number ``first_seq``.

    Raises ``LogUnreadable``.
    """
    if data[:1] != _PREFIX:
        raise LogUnreadable(f"batch of version {data[:1].hex() or 'none'}; this server reads version {VERSION:02x}")
    try:
        batch = _DECODER.decode(memoryview(data)[1:])
    except msgspec.DecodeError as error:
        raise LogUnreadable(str(error)) from error
    entries = []
    seq = first_seq
    for each in batch.entries:
        entry = Entry(seq, attempt, each.step_id, batch.base_us + each.time, each.event.event())
        entries.append(entry)
        seq = entry.seq + 1
    return tuple(entries)


def is_compacted(data: bytes) -> bool:
    """Whether bytes are a batch of a compacted log."""
    return data[:1] == _COMPACTED_PREFIX


def encode_compacted(batch: Batch, compacted: int) -> bytes:
    """Return the bytes of entries of any attempts, as a batch of a log that is compacted up to a number."""
    base = batch.entries[0].time_us
    entries = [
        _CompactedEntry(entry.time_us - base, entry.step_id, _WRITERS[type(entry.body)](entry.body), entry.attempt)
        for entry in batch.entries
    ]
    return _COMPACTED_PREFIX + _ENCODER.encode(_CompactedBatch(base, compacted, entries))


def decode_compacted(data: bytes, first_seq: int) -> tuple[tuple[Entry, ...], int]:
    """Return the entries of such a batch, numbered from ``first_seq``, and the number up to which its log is compacted.

    Raises ``LogUnreadable``.
    """
    try:
        batch = _COMPACTED_DECODER.decode(memoryview(data)[1:])
    except msgspec.DecodeError as error:
        raise LogUnreadable(str(error)) from error
    entries = []
    seq = first_seq
    for each in batch.entries:
        entry = Entry(seq, each.attempt, each.step_id, batch.base_us + each.time, each.event.event())
        entries.append(entry)
        seq = entry.seq + 1
    return tuple(entries), batch.compacted


def _usage(usage: Usage) -> _Usage:
    return _Usage(usage.input_tokens, usage.output_tokens, usage.cost_micros, usage.estimated)


def _price(price: Price | None) -> tuple[int, int] | None:
    return None if price is None else (price.input_micros, price.output_micros)


def _hashes(messages: tuple[events.StoredMessage, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((message.message_id, message.text_sha256) for message in messages)


def _stored(messages: tuple[tuple[str, str], ...]) -> tuple[events.StoredMessage, ...]:
    return tuple(events.StoredMessage(message_id, text_sha256) for message_id, text_sha256 in messages)
