"""Wake-ups between processes by PostgreSQL's LISTEN and NOTIFY, over one connection of their own."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

import asyncpg

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import connect_arguments
from chatter_grpc.adapters.sql.faults import DRIVER_FAULTS
from chatter_grpc.core.runs.relay import CarrierAway, Receive

CHANNEL: Final = "chatter_wakeups"
# PostgreSQL takes less than 8,000 bytes.
PAYLOAD_BYTES: Final = 7_900
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
SEND_SECONDS: Final = 2.0
# How often a connection that may have been cut without a word is asked.
CHECK_SECONDS: Final = 5.0
# A notification is made in a transaction of its own, behind the commit that it tells of: made within, commits of all
# processes would queue for the one lock that PostgreSQL takes to order notifications.
_NOTIFY: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
_FAULTS: Final = (OSError, TimeoutError, *DRIVER_FAULTS)

_log = logging.getLogger(__name__)


class PostgresCarrier:
    """``Carrier`` over the database itself; while it is away there is no news either."""

    def __init__(self, database: Database) -> None:
        self._arguments = connect_arguments(database.url, database.options)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        # A connection does one thing at a time.
        self._turn = asyncio.Lock()
        self._lost = False

    async def send(self, run_ids: Sequence[str]) -> None:
        """See ``Carrier``."""
        connection = self._connection
        if connection is None:
            raise CarrierAway
        try:
            await self._execute(connection, _NOTIFY, CHANNEL, list(payloads(run_ids)))
        except _FAULTS as error:
            connection.terminate()
            raise CarrierAway from error

    async def run(self, receive: Receive) -> None:
        """See ``Carrier``."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._listen(receive)
                pause = FIRST_PAUSE
            except _FAULTS as error:
                self._note(lost=True, cause=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _note(self, *, lost: bool, cause: str = "") -> None:
        if lost is not self._lost:
            self._lost = lost
            _log.warning("notify_lost" if lost else "notify_back", extra={"cause": cause})

    async def _execute(self, connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *given: Any) -> None:
        async with asyncio.timeout(SEND_SECONDS), self._turn:
            await connection.execute(statement, *given)

    async def _listen(self, receive: Receive) -> None:
        """Receive until the connection ends; raises where there is none to be had."""
        connection = await asyncpg.connect(**self._arguments)
        own_pid = connection.get_server_pid()
        ended = asyncio.Event()

        def take(_connection: Any, pid: int, _channel: str, payload: object) -> None:
            if pid != own_pid:
                receive(str(payload).split(" "))

        connection.add_termination_listener(lambda _: ended.set())
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await connection.add_listener(CHANNEL, take)
            self._connection = connection
            self._note(lost=False)
            while not ended.is_set():
                await self._quiet(ended)
                if not ended.is_set():
                    await self._execute(connection, "SELECT 1")
        finally:
            self._connection = None
            connection.terminate()

    async def _quiet(self, ended: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await ended.wait()
        except TimeoutError:
            return


def payloads(run_ids: Sequence[str]) -> Iterator[str]:
    """Yield ids in as few payloads as PostgreSQL takes."""
    held: list[str] = []
    size = 0
    for run_id in run_ids:
        # Ids are ASCII.
        if held and size + len(run_id) + 1 > PAYLOAD_BYTES:
            yield " ".join(held)
            held, size = [], 0
        held.append(run_id)
        size += len(run_id) + 1
    if held:
        yield " ".join(held)
