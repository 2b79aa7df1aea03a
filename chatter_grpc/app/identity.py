"""Builds what knows callers, and opens the administration of accounts."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.tokens.api_keys import KeyedHasher
from chatter_grpc.adapters.tokens.jwt import JwtSigner
from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.adapters.tokens.sealing import Sealer
from chatter_grpc.adapters.tokens.secret import DerivedKeys
from chatter_grpc.adapters.tokens.signing_keys import KeyRing
from chatter_grpc.app.storage import open_keys, open_storage
from chatter_grpc.config import Settings
from chatter_grpc.core.accounts import Accounts
from chatter_grpc.core.api_key_service import ApiKeys
from chatter_grpc.core.auth import Auth, AuthSettings
from chatter_grpc.core.authentication import Authenticator
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.limits import Limit, RateLimiter
from chatter_grpc.core.revocation_watch import RevocationWatch

ISSUER: Final = "chatter"
AUDIENCE: Final = "chatter"
FAILURES_SECONDS: Final = 15 * 60
REGISTRATIONS_SECONDS: Final = 3600
# A revocation is read late by as long as its transaction takes; a few statements may each take their full time.
REVOCATION_STATEMENTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What knows callers."""

    auth: Auth
    api_keys: ApiKeys
    authenticator: Authenticator
    revocations: RevocationWatch
    signing_keys: KeyRing


@asynccontextmanager
async def open_accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """Open the administration of accounts on the database of the settings; a server may use it at the same time."""
    async with AsyncExitStack() as stack:
        storage = await open_storage(stack, settings)
        keys = await open_keys(storage, settings)
        # So nothing is made with a secret that is not the database's own.
        await key_ring(storage, keys, settings).open()
        passwords = Argon2Hasher()
        stack.push_async_callback(passwords.close)
        # Servers hear of what is revoked here by their own polls.
        yield Accounts(
            storage=storage, passwords=passwords, key_hasher=KeyedHasher(keys.api_keys), announce=lambda _: None
        )


@asynccontextmanager
async def open_signing_keys(settings: Settings) -> AsyncIterator[KeyRing]:
    """Open the signing keys on the database of the settings; a server may use it at the same time."""
    async with AsyncExitStack() as stack:
        storage = await open_storage(stack, settings)
        ring = key_ring(storage, await open_keys(storage, settings), settings)
        await ring.open()
        yield ring


def key_ring(storage: SqlStorage, keys: DerivedKeys, settings: Settings) -> KeyRing:
    """Return the ring of signing keys, which is to be opened."""
    return KeyRing(storage, Sealer(keys.sealing), token_lifetime=timedelta(days=settings.refresh_token_days))


async def build_identity(
    stack: AsyncExitStack, storage: SqlStorage, keys: DerivedKeys, limiter: RateLimiter, settings: Settings
) -> Identity:
    """Build what knows callers, with the keys that sign their tokens."""
    revocations = RevocationWatch(
        storage,
        token_lifetime=timedelta(minutes=settings.access_token_minutes),
        overlap=REVOCATION_STATEMENTS * settings.database_seconds,
    )
    ring = key_ring(storage, keys, settings)
    await ring.open()
    tokens = JwtSigner(ring, issuer=ISSUER, audience=AUDIENCE)
    passwords = Argon2Hasher()
    stack.push_async_callback(passwords.close)
    auth = Auth(
        storage=storage,
        passwords=passwords,
        tokens=tokens,
        limiter=limiter,
        watch=revocations,
        settings=_auth_settings(settings),
    )
    key_hasher = KeyedHasher(keys.api_keys)
    authenticator = Authenticator(storage=storage, tokens=tokens, key_hasher=key_hasher, watch=revocations)
    api_keys = ApiKeys(storage=storage, key_hasher=key_hasher, announce=revocations.apply, clock=utc_now)
    return Identity(
        auth=auth, api_keys=api_keys, authenticator=authenticator, revocations=revocations, signing_keys=ring
    )


def _auth_settings(settings: Settings) -> AuthSettings:
    return AuthSettings(
        registration_open=settings.registration,
        access_lifetime=timedelta(minutes=settings.access_token_minutes),
        refresh_lifetime=timedelta(days=settings.refresh_token_days),
        failures_per_account=Limit(amount=settings.login_failures_per_account, seconds=FAILURES_SECONDS),
        failures_per_address=Limit(amount=settings.login_failures_per_address, seconds=FAILURES_SECONDS),
        registrations_per_address=Limit(amount=settings.registrations_per_address, seconds=REGISTRATIONS_SECONDS),
    )
