"""The logs of runs as readers find them: as they were written, or compacted after the run's end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from chatter_grpc.core.runs.events import Batch, Entry
from chatter_grpc.core.runs.run import LogPosition

# In the place of an attempt: the position is one in the snapshot of a compacted log, whose events have numbers of their
# own. No attempt is ever so high.
SNAPSHOT: Final = 2**32 - 1


class LogPlace(NamedTuple):
    """A position in the log of one run, behind which it is read on."""

    run_id: str
    after: LogPosition


class LogPart(NamedTuple):
    """What comes next in a log; ``compacted`` is the number of the last event that its snapshot stands for.

    It is ``None`` for a log as it was written. Where it is set and there are no entries, the position that was asked
    for means nothing any more: the reader goes on from ``LogPosition(SNAPSHOT, 0)``. ``more`` says whether there was
    more behind these entries when they were read.
    """

    entries: Sequence[Entry]
    compacted: int | None = None
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a log took before it was compacted and what it takes now, in bytes of its rows."""

    bytes_before: int
    bytes_after: int


class RunLogStore(Protocol):
    """Reads and compacts logs, inside a transaction."""

    async def read_many(self, places: Sequence[LogPlace], max_bytes: int) -> Sequence[LogPart]:
        """Return for each place what comes after it, in log order, all as they are at one moment.

        Each is at least one batch if there is one, and up to a size. Of a log as it was written these are the entries
        that ``RunStore.read_log`` returns. Of a compacted one they are those after a position in its snapshot, and the
        run's last event after the end of what was compacted; after any other position, the beginning among them, there
        are none. It is always one or the other.
        """
        ...

    async def exists(self, run_id: str) -> bool:
        """Whether there is such a run, whoever owns it."""
        ...

    async def begin_compaction(self, run_id: str) -> bool:
        """Mark an ended run's log as compacted, and hold it until the transaction ends.

        ``False`` where the run is active, is not there, or was compacted before.
        """
        ...

    async def replace(self, run_id: str, snapshot: Sequence[Batch], last: Batch) -> Compaction:
        """Put a snapshot and the run's last event, each with its own numbers, in the place of a run's log.

        The batches of ``snapshot`` hold entries of any attempts, numbered from 1.
        """
        ...
