"""What a caller may do with the API keys of its account: make, list and revoke them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from chatter_grpc.core.account_rules import require_valid_key
from chatter_grpc.core.api_keys import ApiKey, ApiKeyHasher, IssuedApiKey, new_key_text, prefix_of
from chatter_grpc.core.audit import record
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import (
    ApiKeyNotFound,
    ApiKeysExhausted,
    FieldInvalid,
    FieldViolation,
    ScopeRefused,
    SubjectUnexpected,
)
from chatter_grpc.core.ids import API_KEY, new_id
from chatter_grpc.core.lockout import hold_credentials, lock_account
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.requests import RequestKey, claim_request
from chatter_grpc.core.revocations import Revocation, RevocationKind
from chatter_grpc.core.storage import Storage, Transaction

# Valid ones of one account; those that expired or were revoked do not count.
MAX_KEYS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyValues:
    """What a new key is to be. ``expires_at`` is ``None`` where it is not to expire."""

    name: str
    scopes: Collection[str]
    expires_at: datetime | None = None


class ApiKeys:
    """The use-cases of API keys. ``announce`` is told of revocations once they are committed."""

    def __init__(
        self,
        *,
        storage: Storage,
        key_hasher: ApiKeyHasher,
        announce: Callable[[tuple[Revocation, ...]], None],
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._key_hasher = key_hasher
        self._announce = announce
        self._clock = clock

    async def create(self, caller: Caller, values: ApiKeyValues, key: RequestKey | None) -> IssuedApiKey:
        """Make a key for the caller's account; a repeated request gets its record, with an empty text.

        Raises ``SubjectUnexpected``, ``AccountDisabled``, ``SessionRevoked``, ``ApiKeyInvalid``, ``FieldInvalid``,
        ``ScopeRefused``, ``ApiKeysExhausted``, ``RequestIdReused``.
        """
        if caller.subject:
            raise SubjectUnexpected
        now = self._clock()
        async with self._storage.write() as tx:
            user = await lock_account(tx, caller)
            maker = await hold_credentials(tx, caller, now)
            issued = issue_key(self._key_hasher, user.id, values.name, values.scopes, values.expires_at, now)
            earlier = await claim_request(tx.requests, key, issued.key.id, now)
            if earlier is not None:
                return IssuedApiKey(key=await _get(tx, user.id, earlier), text="")
            require_valid_key(
                name=values.name, scopes=values.scopes, role=user.role, expires_at=values.expires_at, now=now
            )
            _require_within(caller, maker, values)
            await add_key(tx, issued.key, now)
        return issued

    async def list(self, caller: Caller, page: PageRequest) -> Page[ApiKey]:
        """Return a page of the keys of the caller's account; a subject has none."""
        async with self._storage.read() as tx:
            return await tx.api_keys.list(caller.owner_id, page)

    async def revoke(self, caller: Caller, key_id: str) -> ApiKey:
        """Revoke a key of the caller's account and end its open streams; raises ``ApiKeyNotFound``.

        A key that is not valid any more stays as it is.
        """
        now = self._clock()
        revocation = Revocation(kind=RevocationKind.API_KEY, target_id=key_id)
        async with self._storage.write() as tx:
            key = await _get(tx, caller.owner_id, key_id)
            revoked = await tx.api_keys.revoke(key.id, now)
            if revoked:
                key = replace(key, revoked_at=now)
                await record(tx.audit, "api_key", key.id)
                await tx.revocations.add((revocation,))
        if revoked:
            self._announce((revocation,))
        return key


def issue_key(
    hasher: ApiKeyHasher,
    user_id: str,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None,
    now: datetime,
) -> IssuedApiKey:
    """Return a fresh key, which is stored nowhere yet."""
    text = new_key_text()
    prefix = prefix_of(text)
    assert prefix is not None
    key = ApiKey(
        id=new_id(API_KEY),
        user_id=user_id,
        name=name,
        prefix=prefix,
        key_hash=hasher.hash(text),
        scopes=frozenset(str(scope) for scope in scopes),
        created_at=now,
        expires_at=expires_at,
    )
    return IssuedApiKey(key=key, text=text)


async def add_key(tx: Transaction, key: ApiKey, now: datetime) -> None:
    """Store a key, unless its account, whose row is held, has as many as it may have; raises ``ApiKeysExhausted``."""
    if await tx.api_keys.count_valid(key.user_id, now) >= MAX_KEYS:
        raise ApiKeysExhausted(max_keys=MAX_KEYS)
    await tx.api_keys.add(key)
    await record(tx.audit, "api_key", key.id)


async def _get(tx: Transaction, user_id: str, key_id: str) -> ApiKey:
    key = await tx.api_keys.get(user_id, key_id)
    if key is None:
        raise ApiKeyNotFound(api_key_id=key_id)
    return key


def _require_within(caller: Caller, maker: ApiKey | None, values: ApiKeyValues) -> None:
    """Refuse a key that would be more than the credentials that it is made with: in scopes, or in time."""
    for scope in values.scopes:
        if scope not in caller.scopes:
            raise ScopeRefused(scope=scope)
    end = None if maker is None else maker.expires_at
    if end is not None and (values.expires_at is None or values.expires_at > end):
        wrong = "must be set, and not later than the expiry of the key that the call is made with"
        raise FieldInvalid([FieldViolation(field="expire_time", description=wrong)])
