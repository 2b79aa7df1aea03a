"""`chatter-grpc migrate`: brings the database's tables up to this version, and says what it did."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from chatter_grpc.adapters.sql import schema
from chatter_grpc.app import storage
from chatter_grpc.cli.faults import said_plainly
from chatter_grpc.config import Settings, load_settings

app = typer.Typer(add_completion=False)

# Alembic tells here which step it begins.
STEPS = logging.getLogger("alembic.runtime.migration")


def migrate() -> None:
    """Bring the database's tables up to this version.

    Run it once before the first server of a new version starts; several at once do the work once. In embedded mode
    `serve` does it by itself.
    """
    with said_plainly():
        asyncio.run(migrate_database(load_settings()))


app.command()(migrate)


class StepPrinter(logging.Handler):
    """Writes each step of the migration to stdout as it begins."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a step; Alembic's other lines are about itself."""
        message = record.getMessage()
        if message.startswith("Running"):
            typer.echo(f"  {message}")


@contextmanager
def printed_steps() -> Iterator[None]:
    """Write each step that the migration takes while the block lasts."""
    printer = StepPrinter()
    level = STEPS.level
    STEPS.setLevel(logging.INFO)
    STEPS.addHandler(printer)
    try:
        yield
    finally:
        STEPS.removeHandler(printer)
        STEPS.setLevel(level)


async def migrate_database(settings: Settings) -> None:
    """Migrate, and print where the database was, each step and where it is; raises as ``storage.migrate``."""
    latest = await asyncio.to_thread(schema.latest)
    # A database cannot be asked in a directory that is not there.
    fresh = settings.embedded and not settings.data_dir.exists()
    before = None if fresh else await schema.current(storage.database_url(settings))
    if before == latest:
        typer.echo(f"Already current: the database is at revision {latest}.")
        return
    typer.echo(f"From {'an empty database' if before is None else f'revision {before}'} to revision {latest}:")
    with printed_steps():
        await storage.migrate(settings)
    typer.echo(f"Done: the database is at revision {latest}.")
