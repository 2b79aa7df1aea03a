"""Builds what observes a server: metrics, traces, both or neither."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from chatter_grpc import __version__
from chatter_grpc.adapters.metrics.admin import AdminAddressRefused, AdminServer
from chatter_grpc.adapters.metrics.housekeeping import HousekeepingMetrics
from chatter_grpc.adapters.metrics.observer import MetricsObserver
from chatter_grpc.adapters.redis.connection import RedisLink
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.config import ConfigurationFault, Settings
from chatter_grpc.core.certificates import Certificate
from chatter_grpc.core.observation import UNOBSERVED, Observer, Observers
from chatter_grpc.core.runs.reader import Readers
from chatter_grpc.rpc.faults import AddressRefused
from chatter_grpc.rpc.health import HealthMonitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What observes; ``metrics`` is ``None`` where nobody asks for them."""

    observer: Observer
    metrics: MetricsObserver | None

    @property
    def watcher(self) -> HousekeepingMetrics | None:
        """What hears of housekeeping."""
        return None if self.metrics is None else HousekeepingMetrics(self.metrics.metrics)

    def note_certificate(self, certificate: Certificate) -> None:
        """Have the metrics say when the certificate ends."""
        if self.metrics is not None:
            self.metrics.certificate_ends(certificate.ends_at.timestamp())

    def read_readers(self, readers: Readers) -> None:
        """Have the metrics say how many readers of runs are open."""
        if self.metrics is not None:
            self.metrics.read_readers(lambda: len(readers.open))

    def read_redis(self, link: RedisLink | None) -> None:
        """Have the metrics say whether Redis answers."""
        if self.metrics is not None and link is not None:
            self.metrics.read_redis(lambda: link.available)


async def build_observation(stack: AsyncExitStack, settings: Settings, database: Database) -> Observed:
    """Build what the settings ask for; raises ``ConfigurationFault`` where an extra is not installed."""
    observers: list[Observer] = []
    metrics = None
    if settings.metrics_listen is not None:
        metrics = MetricsObserver(__version__)
        loop = asyncio.get_running_loop()
        metrics.read_tasks(lambda: len(asyncio.all_tasks(loop)))
        metrics.read_connections(lambda: database.connections_in_use, settings.database_pool_size)
        observers.append(metrics)
    if settings.otlp_endpoint is not None:
        observers.append(await _open_tracing(stack, settings.otlp_endpoint, settings.trace_ratio))
    match observers:
        case []:
            return Observed(observer=UNOBSERVED, metrics=None)
        case [only]:
            return Observed(observer=only, metrics=metrics)
        case _:
            return Observed(observer=Observers(observers), metrics=metrics)


async def open_admin(
    stack: AsyncExitStack, settings: Settings, metrics: MetricsObserver | None, health: HealthMonitor
) -> str | None:
    """Answer on the port for operators, and return its address; ``None`` without one. Raises ``AddressRefused``."""
    if settings.metrics_listen is None or metrics is None:
        return None
    host, _, port = settings.metrics_listen.rpartition(":")
    admin = AdminServer(metrics.exposition, lambda: health.serving)
    stack.push_async_callback(admin.stop)
    try:
        return await admin.start(host.strip("[]"), int(port))
    except AdminAddressRefused as refusal:
        raise AddressRefused(f"CHATTER_METRICS_LISTEN: {refusal}") from refusal


async def _open_tracing(stack: AsyncExitStack, endpoint: str, ratio: float) -> Any:
    try:
        # An optional extra, which takes half a second to import.
        tracing = await asyncio.to_thread(import_module, "chatter_grpc.adapters.telemetry.tracing")
    except ModuleNotFoundError as error:
        raise ConfigurationFault(
            "CHATTER_OTLP_ENDPOINT: needs the extra `telemetry`: pip install 'chatter-grpc[telemetry]'"
        ) from error
    observer = tracing.TracingObserver(tracing.TraceSettings(endpoint=endpoint, ratio=ratio, version=__version__))
    stack.push_async_callback(observer.close)
    return observer
