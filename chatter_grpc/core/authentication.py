"""Authentication: who calls, from the credentials and the subject that come with a call."""

import hashlib
import hmac
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from chatter_grpc.core.api_keys import MARK, ApiKey, ApiKeyHasher, prefix_of
from chatter_grpc.core.callers import MAX_SUBJECT_LENGTH, SCOPES_OF, Caller, Scope
from chatter_grpc.core.clock import Clock, utc_now
from chatter_grpc.core.errors import (
    AccountDisabled,
    ApiKeyInvalid,
    CredentialsMissing,
    SubjectRefused,
)
from chatter_grpc.core.ids import SUBJECT, new_id
from chatter_grpc.core.revocation_watch import RevocationWatch
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.tokens import TokenKind, TokenSigner
from chatter_grpc.core.users import UserState

CACHE_SIZE: Final = 10_000
# A revoked key leaves the cache at once; the time only bounds what a change by hand in the database takes.
KEY_TTL: Final = timedelta(seconds=30)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Recent(Generic[Key, Value]):
    """Keeps the values that were used last, at most ``size``."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def put(self, key: Key, value: Value) -> None:
        self._values.pop(key, None)
        self._values[key] = value
        if len(self._values) > self._size:
            del self._values[next(iter(self._values))]

    def drop(self, key: Key) -> None:
        self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """Credentials that were found good, and until when that need not be found out again."""

    caller: Caller
    until: datetime


class Authenticator:
    """Tells who calls. Verified credentials are cached by their hash, and held against the revocations at each call."""

    def __init__(
        self,
        *,
        storage: Storage,
        tokens: TokenSigner,
        key_hasher: ApiKeyHasher,
        watch: RevocationWatch,
        clock: Clock = utc_now,
        cache_size: int = CACHE_SIZE,
        key_ttl: timedelta = KEY_TTL,
    ) -> None:
        self._storage = storage
        self._tokens = tokens
        self._key_hasher = key_hasher
        self._watch = watch
        self._clock = clock
        self._key_ttl = key_ttl
        self._verified: _Recent[bytes, _Verified] = _Recent(cache_size)
        self._owners: _Recent[tuple[str, str], str] = _Recent(cache_size)

    async def authenticate(self, credentials: str, subject: str = "") -> Caller:
        """Return the caller whose access token or API key (without ``Bearer``) came, acting for ``subject`` if named.

        Raises ``CredentialsMissing``, ``TokenInvalid``, ``TokenExpired``, ``SessionRevoked``, ``ApiKeyInvalid``,
        ``AccountDisabled``, ``SubjectRefused``, ``RevocationsStale``, ``StorageUnavailable``.
        """
        if not credentials:
            raise CredentialsMissing
        self._watch.require_fresh()
        digest = hashlib.sha256(credentials.encode("utf-8", "surrogatepass")).digest()
        if credentials.startswith(MARK):
            caller = await self._key_caller(credentials, digest)
        else:
            caller = await self._session_caller(credentials, digest)
        return await self._acting_for(caller, subject) if subject else caller

    def check(self, caller: Caller) -> None:
        """Hold a caller that was authenticated before against the revocations, in memory; for streams that are open.

        Raises ``SessionRevoked``, ``ApiKeyInvalid``, ``AccountDisabled``, ``RevocationsStale``.
        """
        self._watch.check(caller)

    async def _session_caller(self, token: str, digest: bytes) -> Caller:
        verified = self._verified.get(digest)
        if verified is None or self._clock() >= verified.until:
            claims = await self._tokens.verify(token, TokenKind.ACCESS)
            caller = Caller(
                actor_id=claims.user_id, owner_id=claims.user_id, scopes=claims.scopes, session_id=claims.session_id
            )
            verified = _Verified(caller=caller, until=claims.expires_at)
            self._verified.put(digest, verified)
        self._watch.check(verified.caller)
        return verified.caller

    async def _key_caller(self, text: str, digest: bytes) -> Caller:
        now = self._clock()
        verified = self._verified.get(digest)
        if verified is not None and now < verified.until:
            try:
                self._watch.check(verified.caller)
            except AccountDisabled:
                # It may have been enabled again since: the database knows.
                pass
            else:
                return verified.caller
        self._verified.drop(digest)
        key = await self._read_key(text, now)
        until = now + self._key_ttl
        if key.expires_at is not None:
            until = min(until, key.expires_at)
        caller = Caller(actor_id=key.user_id, owner_id=key.user_id, scopes=key.scopes, api_key_id=key.id)
        self._verified.put(digest, _Verified(caller=caller, until=until))
        return caller

    async def _read_key(self, text: str, now: datetime) -> ApiKey:
        prefix = prefix_of(text)
        if prefix is None:
            raise ApiKeyInvalid
        generation = self._watch.generation
        async with self._storage.read() as tx:
            key = await tx.api_keys.find(prefix)
            user = None if key is None else await tx.users.get(key.user_id)
        if key is None or user is None or not hmac.compare_digest(key.key_hash, self._key_hasher.hash(text)):
            raise ApiKeyInvalid
        if not key.valid_at(now):
            raise ApiKeyInvalid
        if user.state is not UserState.ACTIVE:
            raise AccountDisabled
        self._watch.settle(user.id, generation)
        # What the account may no longer do, its keys may not either.
        return replace(key, scopes=key.scopes & SCOPES_OF[user.role])

    async def _acting_for(self, caller: Caller, subject: str) -> Caller:
        # Proxies may drop spaces around a header's value, so that two subjects would become one behind them.
        named = len(subject) <= MAX_SUBJECT_LENGTH and subject.isprintable() and subject.strip() == subject
        if Scope.ACT_AS not in caller.scopes or not named:
            raise SubjectRefused
        owner_id = self._owners.get((caller.actor_id, subject))
        if owner_id is None:
            async with self._storage.write() as tx:
                owner_id = await tx.users.subject_owner(caller.actor_id, subject, new_id(SUBJECT), self._clock())
            self._owners.put((caller.actor_id, subject), owner_id)
        return replace(caller, owner_id=owner_id, subject=subject)
