"""LangGraph's checkpoints in the core's store: each in one transaction, which the core may put behind a fence."""

from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.types import ERROR

from chatter_grpc.adapters.langgraph.codec import CheckpointSerializer, decode, encode
from chatter_grpc.core.runs.checkpoints import (
    CheckpointFilter,
    CheckpointStore,
    Place,
    StoredCheckpoint,
    StoredWrite,
    ValueKey,
)
from chatter_grpc.core.runs.saving import Checkpoints
from chatter_grpc.core.runs.writer import StepWriter

# How many checkpoints are read at a time where LangGraph lists them.
_PAGE: Final = 100


class RunCheckpoints(BaseCheckpointSaver[int]):
    """A saver whose threads are runs.

    ``steps`` are the steps of an attempt whose nodes have returned, by LangGraph's ids of their tasks: a step is
    finished in the transaction that keeps what its node wrote. What tasks failed with is not kept then: an attempt that
    goes on asks them again. Without ``steps`` there is no attempt, and all is kept.

    LangGraph calls ``aput_writes`` as each task ends and ``aput`` after each step, in this order, without waiting for
    the former; ``checkpoints`` keep the order. With the durability ``sync`` it waits for ``aput`` before the next step.
    It raises what ``checkpoints`` raise, and ``CheckpointUnreadable`` where what is kept cannot be read. It copies and
    prunes no threads, and knows no run but the thread.
    """

    def __init__(self, checkpoints: Checkpoints, steps: MutableMapping[str, StepWriter] | None = None) -> None:
        super().__init__(serde=CheckpointSerializer())
        self._checkpoints = checkpoints
        self._steps = steps

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint, and the values of the channels that changed."""
        place, parent_id = _place_of(config)
        values = checkpoint["channel_values"]
        stored = StoredCheckpoint(
            place=place,
            id=checkpoint["id"],
            parent_id=parent_id or "",
            body=encode({name: value for name, value in checkpoint.items() if name != "channel_values"}),
            metadata=encode(get_checkpoint_metadata(config, metadata)),
        )
        changed = {
            ValueKey(channel, str(version)): encode(values[channel])
            for channel, version in new_versions.items()
            if channel in values
        }

        async def save(store: CheckpointStore) -> None:
            await store.add(stored, changed)

        await self._checkpoints.write(save)
        return _config_of(place, stored.id)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote in the step after a checkpoint."""
        step = None
        if self._steps is not None:
            if any(channel == ERROR for channel, _ in writes):
                return
            step = self._steps.pop(task_id, None)
        place, checkpoint_id = _place_of(config)
        assert checkpoint_id is not None
        stored = tuple(
            StoredWrite(
                task_id=task_id,
                task_path=task_path,
                index=WRITES_IDX_MAP.get(channel, position),
                channel=channel,
                value=encode(value),
            )
            for position, (channel, value) in enumerate(writes)
        )

        async def save(store: CheckpointStore) -> None:
            await store.add_writes(place, checkpoint_id, stored)

        await self._checkpoints.write(save, step)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that a configuration names, the latest where it names none."""
        place, checkpoint_id = _place_of(config)

        async def load(store: CheckpointStore) -> CheckpointTuple | None:
            found = await store.find(place, checkpoint_id)
            return None if found is None else await _tuple_of(store, found)

        return await self._checkpoints.read(load)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, the latest first; ``filter`` compares their metadata."""
        names: Mapping[str, Any] = {} if config is None else config["configurable"]
        last = None if before is None else before["configurable"]["checkpoint_id"]
        yielded = 0
        while limit is None or yielded < limit:
            wanted = CheckpointFilter(
                run_id=names.get("thread_id"),
                namespace=names.get("checkpoint_ns"),
                id=names.get("checkpoint_id"),
                before=last,
            )
            # No transaction is open while LangGraph works on what it was given.
            page = await self._page(wanted, filter or {})
            for found, fits in page:
                if fits is not None and (limit is None or yielded < limit):
                    yielded += 1
                    yield fits
                last = found.id
            if len(page) < _PAGE:
                return

    async def _page(
        self, wanted: CheckpointFilter, about: Mapping[str, Any]
    ) -> list[tuple[StoredCheckpoint, CheckpointTuple | None]]:
        async def load(store: CheckpointStore) -> list[tuple[StoredCheckpoint, CheckpointTuple | None]]:
            page = []
            for found in await store.list(wanted, _PAGE):
                metadata = decode(found.metadata)
                fits = all(metadata.get(name) == value for name, value in about.items())
                page.append((found, await _tuple_of(store, found) if fits else None))
            return page

        return await self._checkpoints.read(load)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all that is kept of a run."""

        async def save(store: CheckpointStore) -> None:
            await store.delete((thread_id,))

        await self._checkpoints.write(save)


async def _tuple_of(store: CheckpointStore, found: StoredCheckpoint) -> CheckpointTuple:
    body = decode(found.body)
    keys = {ValueKey(channel, str(version)): channel for channel, version in body["channel_versions"].items()}
    values = await store.values(found.place, keys)
    checkpoint = {**body, "channel_values": {keys[key]: decode(value) for key, value in values.items()}}
    writes = await store.writes(found.place, found.id)
    return CheckpointTuple(
        config=_config_of(found.place, found.id),
        checkpoint=cast(Checkpoint, checkpoint),
        metadata=decode(found.metadata),
        parent_config=_config_of(found.place, found.parent_id) if found.parent_id else None,
        pending_writes=[(write.task_id, write.channel, decode(write.value)) for write in writes],
    )


def _place_of(config: RunnableConfig) -> tuple[Place, str | None]:
    """Return which checkpoints a configuration speaks of, and the id of one where it names it."""
    names = config["configurable"]
    return Place(names["thread_id"], names.get("checkpoint_ns", "")), names.get("checkpoint_id")


def _config_of(place: Place, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {
            "thread_id": place.run_id,
            "checkpoint_ns": place.namespace,
            "checkpoint_id": checkpoint_id,
        }
    }
