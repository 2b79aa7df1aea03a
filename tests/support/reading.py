"""A process whose runs are read, with its log in memory."""

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.core.models import Role
from chatter_grpc.core.runs.events import (
    AttemptStarted,
    Batch,
    Body,
    DeltaKind,
    Entry,
    MessageStarted,
    RunCompleted,
    RunFailed,
    RunStarted,
)
from chatter_grpc.core.runs.reader import Readers, RunReader
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.usage import Usage
from tests.support.run_logs import MemoryLog

BEGINNING = LogPosition()
COMPLETED = RunCompleted((), Usage())
FAILED = RunFailed("RUN_INTERRUPTED", "", (), Usage())
FIRST = (
    Entry(1, 1, "", 0, RunStarted("run", "conv", "msg")),
    Entry(2, 1, "", 0, AttemptStarted()),
    Entry(3, 1, "1.1", 0, MessageStarted("m", Role.ASSISTANT, "a/b", "a")),
)


class Server:
    """One process: a log, wake-ups, readers, and the tail of a run where that is at work here."""

    def __init__(self, *, live: bool = True, kept: int = 1_000_000, heartbeat: float = 3600) -> None:
        self.log = MemoryLog()
        self.log.batches["run"] = [Batch("run", 1, FIRST)]
        self.wakeups = MemoryWakeUps()
        self.tail = Tail("run", 1, FIRST, 3, kept)
        self.live = live
        self.readers = Readers(self.log.storage, self.wakeups, self.find, heartbeat)

    def find(self, run_id: str) -> Tail | None:
        return self.tail if self.live else None

    def reader(self, position: LogPosition = BEGINNING) -> RunReader:
        return RunReader(self.readers, "run", position)

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self.tail.append_delta("1.1", DeltaKind.TEXT, "m", piece)

    async def commit(self) -> None:
        batch = self.tail.take()
        assert batch is not None
        assert not await self.log.commit([batch])
        self.tail.mark_committed(batch, self.tail.size)
        self.wakeups.notify(("run",))

    async def end(self, body: Body = COMPLETED) -> None:
        self.tail.append("", body)
        await self.commit()
