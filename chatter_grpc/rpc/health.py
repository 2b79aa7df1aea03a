"""Says whether the services can serve: they cannot while the database does not answer."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.storage import Storage

INTERVAL: Final = 2.0
DEADLINE: Final = 2.0
# The name under which the whole server is asked for.
WHOLE: Final = ""


class HealthMonitor:
    """Keeps the standard health service up to date; ``servicer`` is what answers.

    Every service needs the database and nothing else. NOT_SERVING until the first ``check``.
    """

    def __init__(
        self,
        storage: Storage,
        services: Sequence[str],
        *,
        interval: float = INTERVAL,
        deadline: float = DEADLINE,
    ) -> None:
        self.servicer = aio.HealthServicer()
        self._storage = storage
        self._names = (WHOLE, *services)
        self._interval = interval
        self._deadline = deadline
        self._serving: bool | None = None
        self._stopping = False
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

    @property
    def serving(self) -> bool:
        """Whether the server can serve, as of the last check."""
        return self._serving is True and not self._stopping

    async def run(self) -> None:
        """Check again and again; has no end of its own."""
        while True:
            await self.check()
            await asyncio.sleep(self._interval)

    async def check(self) -> None:
        """Ask the database for a sign of life, and set the services' status by it."""
        await self._set(serving=await self._alive())

    async def stop(self) -> None:
        """Say NOT_SERVING from now on, because the server stops."""
        self._stopping = True
        await self.servicer.enter_graceful_shutdown()

    async def _alive(self) -> bool:
        try:
            async with asyncio.timeout(self._deadline):
                await self._storage.ping()
        except (StorageUnavailable, TimeoutError):
            return False
        return True

    async def _set(self, *, serving: bool) -> None:
        if serving is self._serving:
            return
        if not serving:
            self._log.warning("not_serving", cause="the database does not answer")
        elif self._serving is not None:
            self._log.info("serving_again")
        self._serving = serving
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)
