"""Checkpoints: the state of a run's graph between its steps, kept in the transactions that make its log durable."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class CheckpointUnreadable(Exception):
    """The bytes of a checkpoint are none that this version of Chatter can read."""


class Place(NamedTuple):
    """Where checkpoints follow one another: a run, and in it a namespace, which is empty for the graph itself."""

    run_id: str
    namespace: str = ""


class ValueKey(NamedTuple):
    """One version of the value of one of the state's channels."""

    channel: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint without the values of its channels; ``body`` and ``metadata`` are the engine's own bytes.

    Ids sort as the checkpoints follow one another. ``parent_id`` is empty for the first.
    """

    place: Place
    id: str
    parent_id: str
    body: bytes
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWrite:
    """What a task of the step after a checkpoint wrote into one channel.

    ``task_path`` orders the tasks of a step, ``index`` the writes of a task; a negative one is the place of a mark
    that a later one of its kind replaces.
    """

    task_id: str
    task_path: str
    index: int
    channel: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFilter:
    """Which checkpoints to list: of one run or all, of one namespace or all, with a lesser id than ``before``."""

    run_id: str | None = None
    namespace: str | None = None
    id: str | None = None
    before: str | None = None


class CheckpointStore(Protocol):
    """Keeps checkpoints, inside a transaction. It knows no fence: whoever writes has passed it before.

    Whatever is added again is there once.
    """

    async def add(self, checkpoint: StoredCheckpoint, values: Mapping[ValueKey, bytes]) -> None:
        """Add a checkpoint, and the values of the channels that changed since its parent."""
        ...

    async def add_writes(self, place: Place, checkpoint_id: str, writes: Sequence[StoredWrite]) -> None:
        """Add what a task wrote; a write that is there stays, one with a negative index is replaced."""
        ...

    async def find(self, place: Place, checkpoint_id: str | None = None) -> StoredCheckpoint | None:
        """Return a checkpoint by its id, the latest without one; ``None`` where there is none."""
        ...

    async def list(self, wanted: CheckpointFilter, limit: int | None = None) -> Sequence[StoredCheckpoint]:
        """Return checkpoints, the latest first, at most ``limit``."""
        ...

    async def values(self, place: Place, keys: Collection[ValueKey]) -> Mapping[ValueKey, bytes]:
        """Return the values that are kept under these keys; a channel that was empty has none."""
        ...

    async def writes(self, place: Place, checkpoint_id: str) -> Sequence[StoredWrite]:
        """Return what tasks wrote after a checkpoint, by task path, task id and index."""
        ...

    async def delete(self, run_ids: Collection[str]) -> None:
        """Delete all that is kept of runs."""
        ...
