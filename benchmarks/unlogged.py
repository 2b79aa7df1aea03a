"""Our server without its durable log: what runs say is acknowledged and not written, to show what writing costs."""

from collections.abc import Callable, Collection, Sequence

import uvloop

from chatter_grpc.cli.serve import serve_until_told
from chatter_grpc.config import load_settings
from chatter_grpc.core.observation import UNOBSERVED, Observer
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import Batch, DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.logs import set_up_logs


class Acknowledging:
    """A `LogCommitter` that takes everything and writes nothing; it remembers where each run's first batch began."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        """Say of all batches that they are written."""
        for batch in batches:
            self._first.setdefault(batch.run_id, batch.first_seq)
        return ()

    async def close(self) -> None:
        """Nothing is held."""

    def forget(self, run_id: str, default: int) -> int:
        """The number of a run's first event that was not written, `default` where all were; it is not kept on."""
        return self._first.pop(run_id, default)


class UnloggedCommitter(GroupCommitter):
    """Writes nothing while a run is at work.

    A run's end is fenced by the log's last number, so one row without content is written before it for all
    that was not.
    """

    def __init__(
        self,
        log: LogCommitter,
        notify: Callable[[Collection[str]], None],
        settings: CommitSettings,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._real_log = log
        self._acknowledging = Acknowledging()
        super().__init__(self._acknowledging, notify, settings, observer)

    async def withdraw(self, tail: Tail) -> Batch | None:
        """What is left of a run, after the number of what came before it is in the database."""
        last = await super().withdraw(tail)
        if last is None:
            return None
        first = self._acknowledging.forget(tail.run_id, last.first_seq)
        if first < last.first_seq:
            blank = Deltas(DeltaKind.TEXT, "", ("",) * (last.first_seq - first))
            entry = Entry(first, tail.attempt, "", last.entries[0].time_us, blank)
            await self._real_log.commit([Batch(tail.run_id, tail.attempt, (entry,))])
        return last


def main() -> None:
    """Serve with the settings of the environment."""
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    uvloop.run(serve_until_told(settings, first_start=False, group_committer=UnloggedCommitter))


if __name__ == "__main__":
    main()
