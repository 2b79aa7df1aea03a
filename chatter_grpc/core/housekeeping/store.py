"""The port by which housekeeping finds and removes what has had its time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from chatter_grpc.core.housekeeping.duties import Cutoffs, Duty
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.run import Run, RunInput

# Who owns the server's own runs: no account that anybody can log in to, find, or be.
SYSTEM: Final = "user_system"


class EndedRun(NamedTuple):
    """A run that ended some time ago and whose log is still as it was written."""

    finished_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """How large a table is about, its indexes included; ``None`` for what a database cannot tell without reading it."""

    table: str
    rows: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the database is, and its large tables."""

    database_bytes: int
    tables: tuple[TableSize, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The server's own runs so far: when the latest began and ended, and when the latest that succeeded ended."""

    began_at: datetime | None = None
    ended_at: datetime | None = None
    completed_at: datetime | None = None


class HousekeepingStore(Protocol):
    """Finds and removes what has had its time, inside a transaction, whoever owns it. Nothing is read in whole."""

    async def passes(self) -> Passes:
        """Return when the server's own runs began and ended."""
        ...

    async def begin(
        self,
        run: Run,
        run_input: RunInput,
        first: Batch,
        *,
        process_id: str,
        lease_seconds: float,
        earlier_than: datetime,
    ) -> bool:
        """Insert a run of the system's, as ``RunStore.add`` does.

        ``False``, with nothing written, where one is active already, or one began at ``earlier_than`` or after it.
        """
        ...

    async def is_due(self, duty: Duty, cutoffs: Cutoffs) -> bool:
        """Whether there is anything to remove; of logs ``ended_runs`` tells."""
        ...

    async def remove(self, duty: Duty, cutoffs: Cutoffs, limit: int) -> Mapping[str, int]:
        """Remove a portion of about ``limit`` rows, and return how many of each table; all zero where there was none.

        A conversation whose removal has begun cannot be brought back. One with an active run is left for later, as is
        what another transaction holds.
        """
        ...

    async def ended_runs(self, before: datetime, after: EndedRun | None, limit: int) -> tuple[EndedRun, ...]:
        """Return runs that ended before a moment and whose logs can be made smaller, the first to end first.

        They come after one that is given, which need not be there any more.
        """
        ...

    async def drop_scaffolding(self, run_id: str) -> Mapping[str, int]:
        """Remove what an ended run needed only while it was at work, and return how many rows of each table."""
        ...

    async def sizes(self) -> Sizes:
        """Return how large the database and its large tables are, without reading any of them in whole."""
        ...
