"""Identity as servers put it together: replicas that share a database, with clocks that are set by hand."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chatter_grpc.adapters.memory.limits import MemoryRateLimiter
from chatter_grpc.adapters.tokens.api_keys import KeyedHasher
from chatter_grpc.adapters.tokens.jwt import JwtSigner
from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.adapters.tokens.sealing import Sealer
from chatter_grpc.adapters.tokens.secret import derive_keys
from chatter_grpc.adapters.tokens.signing_keys import KeyRing
from chatter_grpc.core.accounts import Accounts
from chatter_grpc.core.api_key_service import ApiKeys
from chatter_grpc.core.auth import Auth, AuthSettings
from chatter_grpc.core.authentication import Authenticator
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.revocation_watch import RevocationWatch
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.tokens import TokenPair
from chatter_grpc.core.user_service import Users
from chatter_grpc.core.users import User

SECRET = b"a secret of this test alone, 48 bytes, never used"
ISSUER = "chatter.test"
AUDIENCE = "chatter.test.api"
PASSWORD = "correct horse battery"
ADDRESS = "192.0.2.7"


@dataclass(slots=True)
class HandClock:
    """Both clocks of a machine, which move when they are told to."""

    now: datetime = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)
    seconds: float = 5000.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass(slots=True)
class BreakableStorage:
    """A replica's way to the database, which can be cut; ``reads`` and ``writes`` count transactions."""

    storage: Storage
    broken: bool = False
    reads: int = 0
    writes: int = 0

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        self.reads += 1
        return self._open(self.storage.read())

    def write(self, *, urgent: bool = False) -> AbstractAsyncContextManager[Transaction]:
        self.writes += 1
        return self._open(self.storage.write(urgent=urgent))

    async def ping(self) -> None:
        if self.broken:
            raise StorageUnavailable
        await self.storage.ping()

    @asynccontextmanager
    async def _open(self, transaction: AbstractAsyncContextManager[Transaction]) -> AsyncIterator[Transaction]:
        if self.broken:
            raise StorageUnavailable
        async with transaction as tx:
            yield tx


@dataclass(slots=True, kw_only=True)
class Replica:
    """What one server has for identity."""

    clock: HandClock
    storage: BreakableStorage
    hasher: Argon2Hasher
    watch: RevocationWatch
    keys: KeyRing
    tokens: JwtSigner
    limiter: MemoryRateLimiter
    auth: Auth
    authenticator: Authenticator
    accounts: Accounts
    api_keys: ApiKeys
    users: Users
    cancelled: list[str]

    async def sign_up(self, username: str = "ada", password: str = PASSWORD) -> User:
        return await self.auth.register(
            username=username,
            email=f"{username}@example.org",
            password=password,
            display_name=username.title(),
            address="",
        )

    async def log_in(self, login: str = "ada", password: str = PASSWORD, address: str = ADDRESS) -> TokenPair:
        tokens, _ = await self.auth.login(login=login, password=password, address=address)
        return tokens


@dataclass(slots=True)
class Site:
    """Starts replicas on one database."""

    storage: Storage
    clock: HandClock
    hasher: Argon2Hasher
    settings: AuthSettings = field(default_factory=AuthSettings)

    async def start(self, settings: AuthSettings | None = None) -> Replica:
        settings = settings or self.settings
        storage = BreakableStorage(self.storage)
        derived = derive_keys(SECRET)
        keys = KeyRing(
            storage,
            Sealer(derived.sealing),
            token_lifetime=settings.refresh_lifetime,
            clock=self.clock,
            monotonic=self.clock.monotonic,
        )
        await keys.open()
        tokens = JwtSigner(keys, issuer=ISSUER, audience=AUDIENCE, clock=self.clock)
        watch = RevocationWatch(
            storage, token_lifetime=settings.access_lifetime, interval=0.001, monotonic=self.clock.monotonic
        )
        await watch.poll()
        limiter = MemoryRateLimiter(self.clock.monotonic)
        key_hasher = KeyedHasher(derived.api_keys)
        cancelled: list[str] = []
        return Replica(
            clock=self.clock,
            storage=storage,
            hasher=self.hasher,
            watch=watch,
            keys=keys,
            tokens=tokens,
            limiter=limiter,
            auth=Auth(
                storage=storage,
                passwords=self.hasher,
                tokens=tokens,
                limiter=limiter,
                watch=watch,
                settings=settings,
                clock=self.clock,
            ),
            authenticator=Authenticator(
                storage=storage, tokens=tokens, key_hasher=key_hasher, watch=watch, clock=self.clock
            ),
            accounts=Accounts(
                storage=storage,
                passwords=self.hasher,
                key_hasher=key_hasher,
                announce=watch.apply,
                clock=self.clock,
            ),
            api_keys=ApiKeys(storage=storage, key_hasher=key_hasher, announce=watch.apply, clock=self.clock),
            users=Users(storage=storage, announce=watch.apply, cancel_runs=cancelled.extend, clock=self.clock),
            cancelled=cancelled,
        )
