"""Keeps checkpoints of runs: their bodies, the values of the state's channels, and what tasks wrote after them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Delete, Row, bindparam, delete, select, tuple_
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import Among
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Either, Statements
from chatter_grpc.core.runs.checkpoints import CheckpointFilter, Place, StoredCheckpoint, StoredWrite, ValueKey


class CheckpointRow(Stored):
    """A checkpoint. The fence has seen its run's row, so no foreign key looks at it again."""

    __tablename__ = "checkpoints"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    parent_id: Mapped[str]
    body: Mapped[bytes]
    about: Mapped[bytes]


class CheckpointValueRow(Stored):
    """The value of one of the state's channels as it was from one checkpoint on, shared by those until it changed."""

    __tablename__ = "checkpoint_values"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[bytes]


class CheckpointWriteRow(Stored):
    """What a task of the step after a checkpoint wrote into one channel."""

    __tablename__ = "checkpoint_writes"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    task_path: Mapped[str]
    channel: Mapped[str]
    value: Mapped[bytes]


_WRITE_KEY: Final = ("run_id", "namespace", "checkpoint_id", "task_id", "position")


def _replacing(insert: Any) -> Any:
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=_WRITE_KEY,
        set_={"task_path": new.task_path, "channel": new.channel, "value": new.value},
    )


_ADD: Final = Either(lambda insert: insert(CheckpointRow.table()).on_conflict_do_nothing())
_ADD_VALUES: Final = Either(lambda insert: insert(CheckpointValueRow.table()).on_conflict_do_nothing())
_ADD_WRITES: Final = Either(lambda insert: insert(CheckpointWriteRow.table()).on_conflict_do_nothing())
_ADD_MARKS: Final = Either(lambda insert: _replacing(insert(CheckpointWriteRow.table())))
_CHECKPOINTS: Final = select(CheckpointRow.table()).order_by(CheckpointRow.id.desc())
_LATEST: Final = _CHECKPOINTS.where(
    CheckpointRow.run_id == bindparam("run"), CheckpointRow.namespace == bindparam("space")
).limit(1)
_VALUES: Final = select(CheckpointValueRow.channel, CheckpointValueRow.version, CheckpointValueRow.value).where(
    CheckpointValueRow.run_id == bindparam("run"),
    CheckpointValueRow.namespace == bindparam("space"),
    tuple_(CheckpointValueRow.channel, CheckpointValueRow.version).in_(bindparam("pairs", expanding=True)),
)
_WRITES: Final = (
    select(CheckpointWriteRow.table())
    .where(
        CheckpointWriteRow.run_id == bindparam("run"),
        CheckpointWriteRow.namespace == bindparam("space"),
        CheckpointWriteRow.checkpoint_id == bindparam("checkpoint"),
    )
    .order_by(CheckpointWriteRow.task_path, CheckpointWriteRow.task_id, CheckpointWriteRow.position)
)
_DELETIONS: Final[tuple[Delete, ...]] = tuple(
    delete(row.table()).where(Among(row.run_id, "runs"))
    for row in (CheckpointWriteRow, CheckpointValueRow, CheckpointRow)
)


class SqlCheckpoints:
    """Checkpoints in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, checkpoint: StoredCheckpoint, values: Mapping[ValueKey, bytes]) -> None:
        """See ``CheckpointStore``."""
        place = _place_values(checkpoint.place)
        if values:
            rows = [
                {**place, "channel": key.channel, "version": key.version, "value": value}
                for key, value in values.items()
            ]
            await self._sql.run(_ADD_VALUES, rows)
        row = {
            **place,
            "id": checkpoint.id,
            "parent_id": checkpoint.parent_id,
            "body": checkpoint.body,
            "about": checkpoint.metadata,
        }
        await self._sql.run(_ADD, row)

    async def add_writes(self, place: Place, checkpoint_id: str, writes: Sequence[StoredWrite]) -> None:
        """See ``CheckpointStore``."""
        rows = [
            {
                **_place_values(place),
                "checkpoint_id": checkpoint_id,
                "task_id": write.task_id,
                "position": write.index,
                "task_path": write.task_path,
                "channel": write.channel,
                "value": write.value,
            }
            for write in writes
        ]
        if lasting := [row for row in rows if row["position"] >= 0]:
            await self._sql.run(_ADD_WRITES, lasting)
        if marks := [row for row in rows if row["position"] < 0]:
            await self._sql.run(_ADD_MARKS, marks)

    async def find(self, place: Place, checkpoint_id: str | None = None) -> StoredCheckpoint | None:
        """See ``CheckpointStore``."""
        query = _LATEST
        values = _bound(place)
        if checkpoint_id is not None:
            query = query.where(CheckpointRow.id == bindparam("checkpoint"))
            values["checkpoint"] = checkpoint_id
        row = await self._sql.row(query, values)
        return None if row is None else _checkpoint_of(row)

    async def list(self, wanted: CheckpointFilter, limit: int | None = None) -> Sequence[StoredCheckpoint]:
        """See ``CheckpointStore``."""
        query = _CHECKPOINTS.limit(limit)
        for column, value in (
            (CheckpointRow.run_id, wanted.run_id),
            (CheckpointRow.namespace, wanted.namespace),
            (CheckpointRow.id, wanted.id),
        ):
            if value is not None:
                query = query.where(column == value)
        if wanted.before is not None:
            query = query.where(CheckpointRow.id < wanted.before)
        return tuple(_checkpoint_of(row) for row in await self._sql.rows(query))

    async def values(self, place: Place, keys: Collection[ValueKey]) -> Mapping[ValueKey, bytes]:
        """See ``CheckpointStore``."""
        if not keys:
            return {}
        rows = await self._sql.rows(_VALUES, {**_bound(place), "pairs": [tuple(key) for key in keys]})
        return {ValueKey(row.channel, row.version): row.value for row in rows}

    async def writes(self, place: Place, checkpoint_id: str) -> Sequence[StoredWrite]:
        """See ``CheckpointStore``."""
        rows = await self._sql.rows(_WRITES, {**_bound(place), "checkpoint": checkpoint_id})
        return tuple(
            StoredWrite(
                task_id=row.task_id, task_path=row.task_path, index=row.position, channel=row.channel, value=row.value
            )
            for row in rows
        )

    async def delete(self, run_ids: Collection[str]) -> None:
        """See ``CheckpointStore``."""
        for statement in _DELETIONS:
            await self._sql.run(statement, {"runs": tuple(run_ids)})


def _place_values(place: Place) -> dict[str, Any]:
    return {"run_id": place.run_id, "namespace": place.namespace}


def _bound(place: Place) -> dict[str, Any]:
    return {"run": place.run_id, "space": place.namespace}


def _checkpoint_of(row: Row[Any]) -> StoredCheckpoint:
    return StoredCheckpoint(
        place=Place(row.run_id, row.namespace),
        id=row.id,
        parent_id=row.parent_id,
        body=row.body,
        metadata=row.about,
    )
