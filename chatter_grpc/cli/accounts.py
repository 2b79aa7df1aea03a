"""Joins `chatter-grpc admin` to the database that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatter_grpc.app.housekeeping_now import keep_house
from chatter_grpc.app.identity import open_accounts, open_signing_keys
from chatter_grpc.cli.admin import admin_commands
from chatter_grpc.cli.faults import said_plainly
from chatter_grpc.cli.housekeeping import housekeeping_command
from chatter_grpc.cli.rotation import SigningKeys, rotation_command
from chatter_grpc.config import load_settings
from chatter_grpc.core.accounts import Accounts
from chatter_grpc.core.housekeeping.observation import HousekeepingObserver
from chatter_grpc.core.runs.run import Run


@asynccontextmanager
async def open_configured_accounts() -> AsyncIterator[Accounts]:
    """Open the accounts that the environment's settings name; faults in them end the process with a line."""
    with said_plainly():
        async with open_accounts(load_settings()) as accounts:
            yield accounts


@asynccontextmanager
async def open_configured_signing_keys() -> AsyncIterator[SigningKeys]:
    """Open the signing keys that the environment's settings name; faults in them end the process with a line."""
    with said_plainly():
        async with open_signing_keys(load_settings()) as keys:
            yield keys


async def keep_configured_house(observer: HousekeepingObserver) -> Run | None:
    """Keep house in the database that the environment's settings name; faults in them end the process with a line."""
    with said_plainly():
        return await keep_house(load_settings(), observer)


app = admin_commands(open_configured_accounts)
app.command("rotate-keys")(rotation_command(open_configured_signing_keys))
app.command("keep-house")(housekeeping_command(keep_configured_house))
