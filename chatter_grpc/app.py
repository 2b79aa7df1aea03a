"""The composition root: builds everything from the settings, and is the only module that knows every part."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chatter_grpc import __version__
from chatter_grpc.adapters.files.data_dir import hold_data_dir, make_data_dir
from chatter_grpc.adapters.langgraph.engine import LangGraphEngine
from chatter_grpc.adapters.memory.limits import MemoryRateLimiter
from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.models.catalogue import ConfiguredModels
from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.prices import PriceTable
from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import DatabaseOptions
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.sql.urls import parse_url
from chatter_grpc.adapters.tokens.api_keys import KeyedHasher
from chatter_grpc.adapters.tokens.jwt import JwtSigner
from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.adapters.tokens.sealing import Sealer
from chatter_grpc.adapters.tokens.secret import DerivedKeys, check_secret, derive_keys, load_or_create_secret
from chatter_grpc.adapters.tokens.signing_keys import KeyRing
from chatter_grpc.config import ConfigurationFault, Settings
from chatter_grpc.core.accounts import Accounts
from chatter_grpc.core.auth import Auth, AuthSettings
from chatter_grpc.core.authentication import Authenticator
from chatter_grpc.core.background import Background
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.ids import new_id
from chatter_grpc.core.limits import Limit
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.revocation_watch import RevocationWatch
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.reader import Readers
from chatter_grpc.core.runs.reaper import Reaper
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.runs.supervisor import RunSettings, Supervisor
from chatter_grpc.core.sending import Sending
from chatter_grpc.core.user_service import Users
from chatter_grpc.rpc.cursors import CursorSigner
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.policy import RateClass
from chatter_grpc.rpc.server import EdgeServer, EdgeSettings, Services
from chatter_grpc.rpc.services.run_stream import RunStreams
from chatter_grpc.rpc.services.system import ServerFacts

ISSUER: Final = "chatter"
AUDIENCE: Final = "chatter"
LEASE_RENEWALS: Final = 3
# After runs have ended and readers have their hand-off, so long the last answers may take.
LAST_CALLS_SECONDS: Final = 5.0
FAILURES_SECONDS: Final = 15 * 60
REGISTRATIONS_SECONDS: Final = 3600
# A revocation is read late by as long as its transaction takes; a few statements may each take their full time.
REVOCATION_STATEMENTS: Final = 3

_log = logging.getLogger(__name__)


async def migrate(settings: Settings) -> None:
    """Bring the database's schema up to date."""
    if settings.embedded:
        await asyncio.to_thread(make_data_dir, settings.data_dir)
    await schema.migrate(database_url(settings))


def database_url(settings: Settings) -> str:
    """Return the database's URL; raises ``ConfigurationFault`` where it is none."""
    try:
        parse_url(settings.database)
    except ValueError as error:
        raise ConfigurationFault(f"CHATTER_DATABASE_URL: {error}") from None
    return settings.database


@asynccontextmanager
async def open_accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """Open the administration of accounts on the database of the settings; a server may use it at the same time."""
    async with AsyncExitStack() as stack:
        storage = await _open_storage(stack, settings)
        keys = await asyncio.to_thread(_keys, settings)
        passwords = Argon2Hasher()
        stack.push_async_callback(passwords.close)
        # Servers hear of what is revoked here by their own polls.
        yield Accounts(
            storage=storage, passwords=passwords, key_hasher=KeyedHasher(keys.api_keys), announce=lambda _: None
        )


async def serve(settings: Settings, *, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve until ``stop`` is set, then stop gracefully.

    ``ready`` is called once with the address that is served. Raises ``BackgroundFault`` where something broke that
    the server cannot do without, ``DataDirectoryBusy``, ``SecretRefused``, ``ConfigurationFault``,
    ``StorageUnavailable``, and ``AddressRefused``.
    """
    async with AsyncExitStack() as stack:
        if settings.embedded:
            await asyncio.to_thread(stack.enter_context, hold_data_dir(settings.data_dir))
        server = await _build(stack, settings)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtWork:
    """What carries runs."""

    supervisor: Supervisor
    readers: Readers
    reaper: Reaper
    wakeups: MemoryWakeUps
    committer: GroupCommitter


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What knows callers."""

    auth: Auth
    authenticator: Authenticator
    revocations: RevocationWatch
    limiter: MemoryRateLimiter


@dataclass(kw_only=True)
class _Server:
    """The parts of a server that have to be started and stopped in order."""

    edge: EdgeServer
    at_work: _AtWork
    revocations: RevocationWatch
    address: str = ""

    async def start(self, background: Background, settings: Settings) -> None:
        """Start the background work, from what others depend on, and take calls last."""
        try:
            await self.revocations.poll()
        except TimeoutError as error:
            raise StorageUnavailable from error
        background.start("revocations", self.revocations.run())
        background.start("wake-ups", self.at_work.wakeups.run())
        background.start("committer", self.at_work.committer.run())
        if settings.embedded:
            # Nobody else uses this database: whatever is marked as at work was left by a process that is gone.
            async with self.at_work.reaper.storage.write() as tx:
                await tx.runs.expire_leases()
        await self.at_work.reaper.reap()
        background.start("reaper", self.at_work.reaper.run())
        background.start("supervisor", self.at_work.supervisor.run())
        port = await self.edge.start()
        background.start("health", self.edge.health.run())
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
        _log.info("stopped")


async def _open_storage(stack: AsyncExitStack, settings: Settings) -> SqlStorage:
    """Open the database; the embedded one is brought up to date, any other has to be."""
    database = await _open_database(stack, settings)
    return SqlStorage(database)


async def _open_database(stack: AsyncExitStack, settings: Settings) -> Database:
    if settings.embedded:
        await migrate(settings)
    elif not await schema.is_current(database_url(settings)):
        raise ConfigurationFault("The database's schema is not up to date: run `chatter-grpc migrate` first.")
    options = DatabaseOptions(
        pool_size=settings.database_pool_size,
        acquire_seconds=settings.database_seconds,
        statement_seconds=settings.database_seconds,
    )
    database = Database(settings.database, options)
    stack.push_async_callback(database.close)
    return database


def _keys(settings: Settings) -> DerivedKeys:
    """Derive all keys from the secret. Blocks."""
    if settings.secret is not None:
        return derive_keys(check_secret(settings.secret.get_secret_value()))
    if not settings.embedded:
        return derive_keys(check_secret(None))
    return derive_keys(load_or_create_secret(settings.data_dir / "secret"))


def _models(settings: Settings) -> ConfiguredModels:
    """Build the models. Blocks: reads the price files."""
    endpoints = []
    if settings.openai_api_key.get_secret_value() or "openai_base_url" in settings.model_fields_set:
        endpoints.append(
            _endpoint(
                settings,
                "openai",
                settings.openai_base_url,
                settings.openai_api_key.get_secret_value(),
                settings.openai_models,
            )
        )
    for name, endpoint in settings.endpoints.items():
        endpoints.append(
            _endpoint(settings, name, endpoint.base_url, endpoint.api_key.get_secret_value(), endpoint.models)
        )
    return ConfiguredModels(
        endpoints,
        prices=_prices(settings),
        default_model=settings.default_model or None,
        max_connections=settings.provider_connections,
        offline_seconds_per_token=settings.offline_token_milliseconds / 1000,
    )


def _prices(settings: Settings) -> PriceTable:
    try:
        return PriceTable.load(settings.prices_file)
    except (ValueError, OSError) as error:
        raise ConfigurationFault(f"CHATTER_PRICES_FILE: {error}") from error


def _endpoint(
    settings: Settings, provider: str, base_url: str, api_key: str, models: tuple[str, ...]
) -> EndpointConfig:
    return EndpointConfig(
        provider=provider,
        base_url=base_url,
        api_key=api_key,
        models=models,
        connect_seconds=settings.provider_connect_seconds,
        first_token_seconds=settings.provider_first_token_seconds,
        idle_seconds=settings.provider_idle_seconds,
        max_attempts=settings.provider_attempts,
    )


async def _open_models(stack: AsyncExitStack, settings: Settings) -> ConfiguredModels:
    try:
        models = await asyncio.to_thread(_models, settings)
    except ValueError as error:
        settings_of_models = "CHATTER_DEFAULT_MODEL, CHATTER_OPENAI_* or CHATTER_ENDPOINTS"
        raise ConfigurationFault(f"{settings_of_models}: {error}") from error
    stack.push_async_callback(models.close)
    return models


async def _build(stack: AsyncExitStack, settings: Settings) -> _Server:
    """Build a server, whose parts ``stack`` closes."""
    database = await _open_database(stack, settings)
    storage = SqlStorage(database)
    keys = await asyncio.to_thread(_keys, settings)
    models = await _open_models(stack, settings)
    log = await open_committer(database)
    stack.push_async_callback(log.close)
    at_work = _build_runs(storage, log, models, settings)
    identity = await _build_identity(stack, storage, keys, settings)
    runs = Runs(storage, at_work.supervisor, at_work.readers, utc_now)
    services = Services(
        auth=identity.auth,
        users=Users(storage),
        conversations=Conversations(
            storage=storage, models=models, cancel_runs=at_work.supervisor.cancel_here, clock=utc_now
        ),
        messages=Messages(storage),
        sending=Sending(storage, at_work.supervisor, runs, models, utc_now),
        runs=runs,
        streams=RunStreams(CursorSigner(keys.cursors), identity.revocations),
        models=models,
        authenticator=identity.authenticator,
        limiter=identity.limiter,
        storage=storage,
        page_tokens=PageTokenSigner(keys.page_tokens),
    )
    return _Server(
        edge=EdgeServer(services, _edge_settings(settings)), at_work=at_work, revocations=identity.revocations
    )


def _build_runs(storage: SqlStorage, log: LogCommitter, models: ConfiguredModels, settings: Settings) -> _AtWork:
    wakeups = MemoryWakeUps()
    committer = GroupCommitter(log, wakeups.notify, CommitSettings(interval=settings.commit_milliseconds / 1000))
    lease = settings.lease_seconds
    run_settings = RunSettings(time_limit=settings.run_seconds, lease=lease, renew=lease / LEASE_RENEWALS)
    process_id = f"{socket.gethostname()}-{os.getpid()}-{new_id('proc')[-8:]}"
    supervisor = Supervisor(process_id, storage, LangGraphEngine(models), committer, wakeups, run_settings, utc_now)
    return _AtWork(
        supervisor=supervisor,
        readers=Readers(storage, wakeups, supervisor.tail),
        reaper=Reaper(process_id=process_id, lease=lease, storage=storage, wakeups=wakeups, clock=utc_now),
        wakeups=wakeups,
        committer=committer,
    )


async def _build_identity(
    stack: AsyncExitStack, storage: SqlStorage, keys: DerivedKeys, settings: Settings
) -> _Identity:
    revocations = RevocationWatch(
        storage,
        token_lifetime=timedelta(minutes=settings.access_token_minutes),
        overlap=REVOCATION_STATEMENTS * settings.database_seconds,
    )
    ring = KeyRing(storage, Sealer(keys.sealing))
    await ring.open()
    tokens = JwtSigner(ring, issuer=ISSUER, audience=AUDIENCE)
    passwords = Argon2Hasher()
    stack.push_async_callback(passwords.close)
    limiter = MemoryRateLimiter()
    auth = Auth(
        storage=storage,
        passwords=passwords,
        tokens=tokens,
        limiter=limiter,
        watch=revocations,
        settings=_auth_settings(settings),
    )
    authenticator = Authenticator(
        storage=storage, tokens=tokens, key_hasher=KeyedHasher(keys.api_keys), watch=revocations
    )
    return _Identity(auth=auth, authenticator=authenticator, revocations=revocations, limiter=limiter)


def _auth_settings(settings: Settings) -> AuthSettings:
    return AuthSettings(
        registration_open=settings.registration,
        access_lifetime=timedelta(minutes=settings.access_token_minutes),
        refresh_lifetime=timedelta(days=settings.refresh_token_days),
        failures_per_account=Limit(amount=settings.login_failures_per_account, seconds=FAILURES_SECONDS),
        failures_per_address=Limit(amount=settings.login_failures_per_address, seconds=FAILURES_SECONDS),
        registrations_per_address=Limit(amount=settings.registrations_per_address, seconds=REGISTRATIONS_SECONDS),
    )


def _edge_settings(settings: Settings) -> EdgeSettings:
    return EdgeSettings(
        listen=settings.listen,
        facts=ServerFacts(
            version=__version__,
            registration_open=settings.registration,
            max_request_bytes=settings.max_request_bytes,
        ),
        limits={
            RateClass.AUTH: Limit(amount=settings.auth_calls_per_minute, seconds=60),
            RateClass.READ: Limit(amount=settings.read_calls_per_minute, seconds=60),
            RateClass.WRITE: Limit(amount=settings.write_calls_per_minute, seconds=60),
            RateClass.START: Limit(amount=settings.start_calls_per_minute, seconds=60),
        },
        show_requests=settings.log_level == "debug",
    )
