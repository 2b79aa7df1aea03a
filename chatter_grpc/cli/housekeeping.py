"""`chatter-grpc admin keep-house`: removes at once what has had its time, and shows how far it is."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from chatter_grpc.cli.faults import complain
from chatter_grpc.core.housekeeping.duties import Duty
from chatter_grpc.core.housekeeping.observation import HousekeepingObserver, Unwatched
from chatter_grpc.core.runs.run import Run, RunState

KeepHouse = Callable[[HousekeepingObserver], Awaitable[Run | None]]


class ShownProgress(Unwatched):
    """Shows what kind of work is being done, and counts what it removed."""

    def __init__(self, progress: Progress) -> None:
        self.rows: Counter[str] = Counter()
        self.logs = 0
        self.bytes_before = 0
        self.bytes_after = 0
        self._progress = progress
        self._task = progress.add_task("", total=len(Duty), done="")

    def began(self, duty: Duty) -> None:
        """See ``HousekeepingObserver``."""
        completed = list(Duty).index(duty)
        self._progress.update(self._task, description=duty.value.replace("_", " "), completed=completed)

    def removed(self, rows: Mapping[str, int]) -> None:
        """See ``HousekeepingObserver``."""
        self.rows.update(rows)
        self._show()

    def compacted(self, bytes_before: int, bytes_after: int) -> None:
        """See ``HousekeepingObserver``."""
        self.logs += 1
        self.bytes_before += bytes_before
        self.bytes_after += bytes_after
        self._show()

    def passed(self, seconds: float) -> None:
        """See ``HousekeepingObserver``."""
        self._progress.update(self._task, description="done", completed=len(Duty))

    def _show(self) -> None:
        self._progress.update(self._task, done=f"{self.logs:,} logs, {self.rows.total():,} rows")


def housekeeping_command(keep_house: KeepHouse) -> Callable[[], None]:
    """Return the command, which has ``keep_house`` do the work."""

    def keep() -> None:
        """Remove what has had its time now, instead of when a server next would.

        It is the same run that servers begin by themselves; of all processes, one has one at a time.
        """
        columns = TextColumn("{task.description:>15}"), BarColumn(), TextColumn("{task.fields[done]}")
        with Progress(*columns, console=Console(stderr=True)) as progress:
            shown = ShownProgress(progress)
            run = asyncio.run(_run(keep_house, shown))
        if run is None:
            typer.echo("A server keeps house at this moment.", err=True)
            return
        if run.state is not RunState.COMPLETED:
            complain(f"housekeeping did not come to its end: {run.failure_message or run.state}")
        _print(shown)

    return keep


async def _run(keep_house: KeepHouse, observer: HousekeepingObserver) -> Run | None:
    return await keep_house(observer)


def _print(shown: ShownProgress) -> None:
    table = Table("REMOVED", "ROWS", box=None)
    for name, rows in sorted((+shown.rows).items()):
        table.add_row(name, f"{rows:,}")
    if table.rows:
        Console().print(table)
    if shown.logs:
        typer.echo(f"Logs compacted: {shown.logs:,}, from {shown.bytes_before:,} to {shown.bytes_after:,} bytes.")
    if not table.rows and not shown.logs:
        typer.echo("Nothing has had its time.")
