"""The port for operators: metrics and health by plain HTTP, apart from the contract."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

STOP_SECONDS: Final = 2.0


class AdminAddressRefused(Exception):
    """The port cannot be listened on; the message says why."""


class AdminServer:
    """Answers ``GET /metrics`` and ``GET /healthz`` on one address, and nothing else."""

    def __init__(self, exposition: Callable[[], bytes], serving: Callable[[], bool]) -> None:
        """Take what returns the metrics, which may block, and what says whether the server serves."""
        self._exposition = exposition
        self._serving = serving
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics), web.get("/healthz", self._health)])
        # aiohttp's own log would name who asks, twice a minute.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the address with the port that was taken; raises ``AdminAddressRefused``."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise AdminAddressRefused(f"cannot listen on {host}:{port}: {reason}") from error
        name, taken = self._runner.addresses[0][:2]
        return f"[{name}]:{taken}" if ":" in name else f"{name}:{taken}"

    async def stop(self) -> None:
        """Take no further requests."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = await asyncio.to_thread(self._exposition)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        serving = self._serving()
        return web.Response(text="SERVING\n" if serving else "NOT_SERVING\n", status=200 if serving else 503)
