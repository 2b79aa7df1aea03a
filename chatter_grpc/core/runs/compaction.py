"""Compacts the log of an ended run to the events that fold to the same."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from chatter_grpc.core.runs.events import (
    TERMINAL,
    AttemptStarted,
    Batch,
    DeltaKind,
    Deltas,
    Entry,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    UsageReported,
)
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.run_logs import Compaction, LogPlace, RunLogStore

# The texts of messages are joined to pieces of so many characters at most, as a writer's are.
PIECE_SIZE: Final = 64 * 1024
# A log is read in portions of so many bytes, and its snapshot is written in rows of about as many characters: what a
# reader is sent at once.
PORTION: Final = 128 * 1024


class LogUnfinished(Exception):
    """The log of a run that has ended does not end with a last event."""


class Logs(Protocol):
    """The part of a transaction that compaction needs."""

    @property
    def run_logs(self) -> RunLogStore:
        """Logs."""
        ...


async def compact_log(tx: Logs, run_id: str) -> Compaction | None:
    """Compact an ended run's log within a transaction that writes; readers see it before or after, never between.

    Returns ``None``, with nothing written, where the run is active, is not there, or was compacted before. Raises
    ``LogUnfinished``.
    """
    if not await tx.run_logs.begin_compaction(run_id):
        return None
    draft = Draft()
    position = LogPosition()
    more = True
    while more:
        (part,) = await tx.run_logs.read_many([LogPlace(run_id, position)], PORTION)
        draft.take(part.entries)
        if part.entries:
            position = LogPosition(part.entries[-1].attempt, part.entries[-1].seq)
        more = part.more
    if position == LogPosition():
        return Compaction(bytes_before=0, bytes_after=0)
    *snapshot, last = draft.finish()
    rows = tuple(Batch(run_id, 0, portion) for portion in _portions(snapshot))
    return await tx.run_logs.replace(run_id, rows, Batch(run_id, last.attempt, (last,)))


def compact(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return what the log of an ended run is compacted to; raises ``LogUnfinished``.

    The last entry is the log's last as it was. Those before it are numbered from 1, keep their attempts and steps, and
    amount to the same by the fold's rules: what another attempt or ``MessageDiscarded`` made void is gone, so are
    reasoning and messages that were never finished, and the deltas of a message stand joined before its end. What was
    used stays, whatever became of the message.
    """
    draft = Draft()
    draft.take(entries)
    return draft.finish()


@dataclass(slots=True)
class _Text:
    """A message's text, with the entry that its first piece was in."""

    first: Entry
    pieces: list[str] = field(default_factory=list)


class Draft:
    """Takes a log from its beginning, portion by portion, and holds no more of it than is to stay."""

    def __init__(self) -> None:
        self._kept: list[Entry] = []
        self._texts: dict[str, _Text] = {}
        self._finished_steps: set[str] = set()
        self._finished_messages: set[str] = set()

    def take(self, entries: Iterable[Entry]) -> None:
        """Take the log's next entries."""
        for entry in entries:
            body = entry.body
            if isinstance(body, Deltas):
                if body.kind is DeltaKind.TEXT:
                    self._texts.setdefault(body.message_id, _Text(entry)).pieces.extend(body.pieces)
                continue
            if isinstance(body, MessageDiscarded):
                self._drop({body.message_id})
                continue
            if isinstance(body, AttemptStarted):
                self._drop_unfinished_steps()
            elif isinstance(body, NodeFinished):
                self._finished_steps.add(entry.step_id)
            elif isinstance(body, MessageFinished):
                self._finished_messages.add(body.message_id)
            elif isinstance(body, TERMINAL):
                self._drop(self._begun() - self._finished_messages)
            self._kept.append(entry)

    def finish(self) -> tuple[Entry, ...]:
        """Return the compacted log; raises ``LogUnfinished``."""
        if not self._kept or not isinstance(self._kept[-1].body, TERMINAL):
            raise LogUnfinished
        last = self._kept.pop()
        found = []
        seq = 1
        for entry in self._with_texts():
            found.append(entry._replace(first_seq=seq))
            seq = found[-1].seq + 1
        return (*found, last)

    def _with_texts(self) -> Iterator[Entry]:
        for entry in self._kept:
            if isinstance(entry.body, MessageFinished) and entry.body.message_id in self._texts:
                message_id = entry.body.message_id
                text = self._texts.pop(message_id)
                joined = "".join(text.pieces)
                for start in range(0, len(joined), PIECE_SIZE):
                    piece = joined[start : start + PIECE_SIZE]
                    yield text.first._replace(body=Deltas(DeltaKind.TEXT, message_id, (piece,)))
            yield entry

    def _begun(self) -> set[str]:
        return {entry.body.message_id for entry in self._kept if isinstance(entry.body, MessageStarted)}

    def _drop_unfinished_steps(self) -> None:
        void = {entry.step_id for entry in self._kept} - self._finished_steps - {""}
        self._drop(
            {
                entry.body.message_id
                for entry in self._kept
                if entry.step_id in void and isinstance(entry.body, MessageStarted)
            }
        )
        self._kept = [
            entry for entry in self._kept if entry.step_id not in void or isinstance(entry.body, UsageReported)
        ]

    def _drop(self, message_ids: set[str]) -> None:
        """Drop messages, but not what they took."""
        for message_id in message_ids:
            self._texts.pop(message_id, None)
        self._kept = [
            entry
            for entry in self._kept
            if not (isinstance(entry.body, MessageStarted | MessageFinished) and entry.body.message_id in message_ids)
        ]


def _portions(entries: Sequence[Entry]) -> Iterator[tuple[Entry, ...]]:
    """Cut entries into rows: each holds some, and no more text than ``PORTION`` unless a single one has more."""
    row: list[Entry] = []
    size = 0
    for entry in entries:
        more = sum(map(len, entry.body.pieces)) if isinstance(entry.body, Deltas) else 0
        if row and size + more > PORTION:
            yield tuple(row)
            row, size = [], 0
        row.append(entry)
        size += more
    if row:
        yield tuple(row)
