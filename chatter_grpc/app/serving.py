"""Puts the parts of a server together, starts them in order and stops them in order."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from chatter_grpc import __version__
from chatter_grpc.adapters.files.data_dir import hold_data_dir
from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.tokens.secret import DerivedKeys
from chatter_grpc.adapters.tokens.signing_keys import KeyRing
from chatter_grpc.app.edge import edge_settings
from chatter_grpc.app.identity import Identity, build_identity
from chatter_grpc.app.models import open_asking, open_models
from chatter_grpc.app.observation import Observed, build_observation, open_admin
from chatter_grpc.app.runs import AtWork, build_runs, run_limits
from chatter_grpc.app.shared import Shared, open_shared
from chatter_grpc.app.storage import open_database, open_keys
from chatter_grpc.app.tls import certificate_watch, open_certificate
from chatter_grpc.config import Settings
from chatter_grpc.core.asking import Asking
from chatter_grpc.core.background import Background
from chatter_grpc.core.certificates import Certificate
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.forking import Forking
from chatter_grpc.core.graphs import BUILT_IN, GraphDefinition
from chatter_grpc.core.loop_lag import LoopLag
from chatter_grpc.core.message_changes import MessageChanges
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.revocation_watch import RevocationWatch
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.core.runs.run import WorkflowKind
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.searching import Searches
from chatter_grpc.core.sending import Sending
from chatter_grpc.core.starting import Starting
from chatter_grpc.core.user_service import Users
from chatter_grpc.rpc.cursors import CursorSigner
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.server import EdgeServer, Services
from chatter_grpc.rpc.services.run_stream import RunStreams

# After runs have ended and readers have their hand-off, so long the last answers may take.
LAST_CALLS_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    ready: Callable[[str], None],
    graphs: Mapping[WorkflowKind, GraphDefinition] = BUILT_IN,
    group_committer: type[GroupCommitter] = GroupCommitter,
) -> None:
    """Serve until ``stop`` is set, then stop gracefully.

    ``ready`` is called once with the address that is served; ``graphs`` are the workflows that are built in;
    ``group_committer`` is what writes the logs of runs behind their delivery. Raises
    ``BackgroundFault`` where something broke that the server cannot do without, ``DataDirectoryBusy``,
    ``SecretRefused``, ``ConfigurationFault``, ``StorageUnavailable``, and ``AddressRefused``.
    """
    async with AsyncExitStack() as stack:
        certificate = await open_certificate(settings)
        if settings.embedded:
            await asyncio.to_thread(stack.enter_context, hold_data_dir(settings.data_dir))
        server = await _build(stack, settings, certificate, graphs, group_committer)
        admin = await open_admin(stack, settings, server.observed.metrics, server.edge.health)
        if admin is not None:
            _log.info("serving_metrics", extra={"address": admin})
        background = await stack.enter_async_context(Background())
        await server.start(background, settings)
        ready(server.address)
        stopped = asyncio.ensure_future(stop.wait())
        fault = asyncio.ensure_future(background.wait_fault())
        try:
            await asyncio.wait((stopped, fault), return_when=asyncio.FIRST_COMPLETED)
            await server.stop(settings.stop_seconds)
            if fault.done():
                await fault
        finally:
            stopped.cancel()
            fault.cancel()


@dataclass(kw_only=True)
class Server:
    """The parts of a server that have to be started and stopped in order."""

    edge: EdgeServer
    at_work: AtWork
    shared: Shared
    revocations: RevocationWatch
    signing_keys: KeyRing
    observed: Observed
    address: str = ""

    async def start(self, background: Background, settings: Settings) -> None:
        """Start the background work, from what others depend on, and take calls last."""
        try:
            await self.revocations.poll()
        except TimeoutError as error:
            raise StorageUnavailable from error
        background.start("revocations", self.revocations.run())
        background.start("signing keys", self.signing_keys.run())
        self.shared.start(background)
        background.start("committer", self.at_work.committer.run())
        if settings.embedded:
            # Nobody else uses this database: whatever is marked as at work was left by a process that is gone.
            async with self.at_work.reaper.storage.write() as tx:
                await tx.runs.expire_leases()
        # Renews leases from the first run that is taken: taking very many may last longer than a lease.
        background.start("supervisor", self.at_work.supervisor.run())
        await self.at_work.reaper.reap()
        background.start("reaper", self.at_work.reaper.run())
        background.start("claimer", self.at_work.claimer.run())
        background.start("housekeeping", self.at_work.housekeeping.run())
        port = await self.edge.start()
        background.start("health", self.edge.health.run())
        if (watch := certificate_watch(settings, self.edge, self.observed)) is not None:
            background.start("certificate", watch.run())
        if self.observed.metrics is not None:
            background.start("loop lag", LoopLag(self.observed.observer).run())
        host, _, _ = settings.listen.rpartition(":")
        self.address = settings.listen if settings.listen.startswith("unix:") else f"{host}:{port}"
        _log.info("serving", extra={"address": self.address, "version": __version__})

    async def stop(self, grace: float) -> None:
        """Hand the readers of others' runs off, let the runs that are at work here end, then the last calls."""
        _log.info("stopping", extra={"runs": self.at_work.supervisor.active_count})
        await self.edge.health.stop()
        self.at_work.readers.hand_off_elsewhere()
        await self.at_work.supervisor.stop(grace)
        self.at_work.readers.hand_off()
        await self.edge.stop(min(grace, LAST_CALLS_SECONDS))
        await self.at_work.readers.close()
        # What the last calls left to be done, such as the cancellation of a run whose stream they ended.
        await self.at_work.supervisor.stop(0)
        _log.info("stopped")


async def _build(
    stack: AsyncExitStack,
    settings: Settings,
    certificate: Certificate | None,
    graphs: Mapping[WorkflowKind, GraphDefinition],
    group_committer: type[GroupCommitter],
) -> Server:
    """Build a server, whose parts ``stack`` closes."""
    database = await open_database(stack, settings)
    storage = SqlStorage(database)
    keys = await open_keys(storage, settings)
    models = await open_models(stack, settings)
    log = await open_committer(database)
    stack.push_async_callback(log.close)
    asking = await open_asking(stack, models)
    shared = await open_shared(stack, settings, keys, database)
    observed = await build_observation(stack, settings, database)
    observed.read_redis(shared.link)
    at_work = build_runs(
        storage,
        log,
        asking,
        shared.wakeups,
        settings,
        observed.observer,
        graphs,
        observed.watcher,
        group_committer=group_committer,
    )
    observed.read_readers(at_work.readers)
    identity = await build_identity(stack, storage, keys, shared.limiter, settings)
    services = _serve_with(settings, storage, keys, asking, shared, observed, at_work, identity)
    edge = EdgeServer(services, edge_settings(settings, certificate))
    return Server(
        edge=edge,
        at_work=at_work,
        shared=shared,
        revocations=identity.revocations,
        signing_keys=identity.signing_keys,
        observed=observed,
    )


def _serve_with(
    settings: Settings,
    storage: SqlStorage,
    keys: DerivedKeys,
    asking: Asking,
    shared: Shared,
    observed: Observed,
    at_work: AtWork,
    identity: Identity,
) -> Services:
    """Build the use-cases that the edge calls."""
    runs = Runs(
        storage, at_work.supervisor, at_work.readers, utc_now, at_work.reaper, cancel_seconds=settings.cancel_seconds
    )
    starting = Starting(storage, at_work.supervisor, runs, asking, at_work.wakeups, utc_now, run_limits(settings))
    return Services(
        auth=identity.auth,
        api_keys=identity.api_keys,
        users=Users(
            storage=storage,
            announce=identity.revocations.apply,
            cancel_runs=at_work.supervisor.cancel_here,
            clock=utc_now,
        ),
        conversations=Conversations(
            storage=storage, models=asking.models, cancel_runs=at_work.supervisor.cancel_here, clock=utc_now
        ),
        forking=Forking(storage, utc_now),
        messages=Messages(storage),
        message_changes=MessageChanges(storage, utc_now),
        searches=Searches(storage),
        sending=Sending(starting),
        runs=runs,
        streams=RunStreams(CursorSigner(keys.cursors), identity.revocations),
        models=asking.models,
        authenticator=identity.authenticator,
        limiter=shared.limiter,
        slots=shared.slots,
        storage=storage,
        page_tokens=PageTokenSigner(keys.page_tokens),
        observer=observed.observer,
    )
