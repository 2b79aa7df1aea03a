"""One or two servers with an account, for what is shown of them: which database and which wake-ups they share."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import grpc

from chatter_grpc.adapters.sql import schema
from chatter_grpc.config import Settings
from tests.chaos.rows import Rows
from tests.chaos.servers import TIMES, ServerProcess
from tests.support.outages import OwnPostgres, own_postgres
from tests.support.provider import Provider
from tests.support.redis_server import OwnRedis, redis_server
from tests.support.served import SECRET, UNLIMITED, Client, signed_in

# A channel of a client that is in a hurry to find a server again.
CHANNEL: Final = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))

# Times as they are served with: the kit's own are for servers that die, and may be too short for a crowded machine.
UNHURRIED: Final = {"lease_seconds": "30", "reaper_seconds": "15"}


class Way(StrEnum):
    """How a cancellation comes from where it is asked for to where the run is at work."""

    PROCESS = "process"
    """It is the same process, embedded."""
    REDIS = "redis"
    """Two processes on one file of SQLite, and Redis."""
    NOTIFY = "notify"
    """Two processes on PostgreSQL, and nothing else."""
    BOTH = "both"
    """Two processes on PostgreSQL, and Redis."""
    LOST = "lost"
    """Two processes on one file of SQLite, whose Redis has gone: nobody wakes anybody."""


@dataclass(kw_only=True)
class Site:
    """Servers that share a database, each with a client of one account, and what else they stand on."""

    servers: Sequence[ServerProcess]
    url: str
    clients: list[Client] = field(default_factory=list)
    postgres: OwnPostgres | None = None
    redis: OwnRedis | None = None

    @property
    def rows(self) -> Rows:
        """What the database holds."""
        return Rows(self.url)


@asynccontextmanager
async def open_site(way: Way, directory: Path, settings: Mapping[str, str]) -> AsyncIterator[Site]:
    """Run the servers of a way while the block lasts, with these settings beside the kit's own."""
    async with AsyncExitStack() as stack:
        given = {**UNLIMITED, **TIMES, "access_token_minutes": "60", **settings}
        postgres: OwnPostgres | None = None
        redis: OwnRedis | None = None
        url = f"sqlite:///{directory / 'data' / 'chatter.db'}"
        if way is Way.PROCESS:
            given["data_dir"] = str(directory / "data")
        elif way in (Way.NOTIFY, Way.BOTH):
            postgres = await asyncio.to_thread(stack.enter_context, own_postgres())
            url = postgres.url
        else:
            await asyncio.to_thread((directory / "data").mkdir)
            await schema.migrate(url)
        if way in (Way.REDIS, Way.BOTH, Way.LOST):
            redis = await asyncio.to_thread(stack.enter_context, redis_server())
            given["redis_url"] = redis.url
        if way is not Way.PROCESS:
            given |= {"database_url": url, "secret": SECRET}
        known = {name: value for name, value in given.items() if name in Settings.model_fields}
        names = ("one",) if way is Way.PROCESS else ("one", "two")
        servers = [ServerProcess(directory / name, known) for name in names]
        for server in servers:
            stack.push_async_callback(server.kill)
        await asyncio.gather(*(server.start() for server in servers))
        if way is Way.LOST and redis is not None:
            redis.kill()
        site = Site(servers=servers, url=url, postgres=postgres, redis=redis)
        await _sign_in(stack, site)
        yield site


def provider_settings(provider: Provider, key: str, models: Sequence[str]) -> dict[str, str]:
    """Return the settings of servers that ask a provider, the first of its models unless another one is named."""
    return {
        "openai_base_url": provider.base_url,
        "openai_api_key": key,
        "openai_models": json.dumps(models),
        "default_model": f"openai/{models[0]}",
    }


async def _sign_in(stack: AsyncExitStack, site: Site) -> None:
    channels = [
        await stack.enter_async_context(grpc.aio.insecure_channel(server.address, options=CHANNEL))
        for server in site.servers
    ]
    account = await signed_in(Client(channel=channels[0]))
    site.clients = [Client(channel=channel, metadata=account.client.metadata) for channel in channels]
