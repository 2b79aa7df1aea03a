"""Administration of accounts and their API keys, for those who run the server."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

from chatter_grpc.core.account_rules import require_valid_account
from chatter_grpc.core.api_keys import ApiKey, ApiKeyHasher, IssuedApiKey, new_key_text, prefix_of
from chatter_grpc.core.callers import Scope
from chatter_grpc.core.clock import Clock, utc_now
from chatter_grpc.core.errors import FieldInvalid, FieldViolation
from chatter_grpc.core.ids import API_KEY, USER, new_id
from chatter_grpc.core.passwords import PasswordHasher
from chatter_grpc.core.revocations import Revocation, RevocationKind
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.users import User, UserRole, UserState

MAX_KEYS: Final = 1000
MAX_KEY_NAME_LENGTH: Final = 100
# So few owners at a time have no more active runs than a store lists at once.
OWNERS_AT_ONCE: Final = 50


class AccountUnknown(LookupError):
    """No account has this username or email address."""


class KeyUnknown(LookupError):
    """No API key has this prefix."""


class Accounts:
    """Makes and disables accounts, and gives out and revokes their API keys.

    ``announce`` is told of revocations once they are committed: in a server the watch's ``apply``.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        passwords: PasswordHasher,
        key_hasher: ApiKeyHasher,
        announce: Callable[[tuple[Revocation, ...]], None],
        clock: Clock = utc_now,
    ) -> None:
        self._storage = storage
        self._passwords = passwords
        self._key_hasher = key_hasher
        self._announce = announce
        self._clock = clock

    async def create_admin(self, *, username: str, email: str, password: str, display_name: str = "") -> User:
        """Make an administrator's account; raises ``FieldInvalid``, ``UsernameTaken``, ``EmailTaken``."""
        require_valid_account(username=username, email=email, display_name=display_name, password=password)
        return await self._add(
            User(
                id=new_id(USER),
                username=username,
                email=email,
                display_name=display_name,
                role=UserRole.ADMIN,
                state=UserState.ACTIVE,
                password_hash=await self._passwords.hash(password),
                created_at=self._clock(),
            )
        )

    async def create_service(self, *, username: str, display_name: str = "") -> User:
        """Make an account for a program, which has no email and no password and calls with API keys.

        Raises ``FieldInvalid``, ``UsernameTaken``.
        """
        require_valid_account(username=username, email=None, display_name=display_name, password=None)
        return await self._add(
            User(
                id=new_id(USER),
                username=username,
                email="",
                display_name=display_name,
                role=UserRole.SERVICE,
                state=UserState.ACTIVE,
                password_hash=None,
                created_at=self._clock(),
            )
        )

    async def create_api_key(
        self, *, login: str, name: str, scopes: Collection[str], expires_at: datetime | None
    ) -> IssuedApiKey:
        """Give an account a key, whose text is nowhere to be had again; raises ``AccountUnknown``, ``FieldInvalid``."""
        now = self._clock()
        text = new_key_text()
        prefix = prefix_of(text)
        assert prefix is not None
        async with self._storage.write() as tx:
            user = await _find(tx, login)
            _require_valid_key(user, name, scopes, expires_at, now)
            if len(await tx.api_keys.list(user.id)) >= MAX_KEYS:
                raise FieldInvalid([FieldViolation(field="login", description=f"has {MAX_KEYS} keys already")])
            key = ApiKey(
                id=new_id(API_KEY),
                user_id=user.id,
                name=name,
                prefix=prefix,
                key_hash=self._key_hasher.hash(text),
                scopes=frozenset(str(scope) for scope in scopes),
                created_at=now,
                expires_at=expires_at,
            )
            await tx.api_keys.add(key)
        return IssuedApiKey(key=key, text=text)

    async def list_api_keys(self, login: str) -> tuple[ApiKey, ...]:
        """Return an account's keys in order of creation; raises ``AccountUnknown``."""
        async with self._storage.read() as tx:
            return await tx.api_keys.list((await _find(tx, login)).id)

    async def revoke_api_key(self, prefix: str) -> ApiKey:
        """Revoke the key with this prefix, and end its open streams; raises ``KeyUnknown``."""
        now = self._clock()
        async with self._storage.write() as tx:
            key = await tx.api_keys.find(prefix)
            if key is None:
                raise KeyUnknown(prefix)
            revocation = Revocation(kind=RevocationKind.API_KEY, target_id=key.id)
            if await tx.api_keys.revoke(key.id, now):
                await tx.revocations.add((revocation,))
                key = replace(key, revoked_at=now)
        self._announce((revocation,))
        return key

    async def disable_user(self, login: str) -> User:
        """Disable an account: its sessions end for good, its keys rest, its runs are cancelled, its streams end.

        Raises ``AccountUnknown``. Repeating it does it again, for what came in between.
        """
        now = self._clock()
        async with self._storage.write() as tx:
            user = await _find(tx, login)
            # The state first: it takes the row that a login takes, so that no session slips in behind.
            await tx.users.set_state(user.id, UserState.DISABLED)
            sessions = await tx.sessions.revoke_all(user.id, now)
            await _cancel_runs(tx, await tx.users.owners_of(user.id), now)
            # Last, since their time is taken here and they are seen at the commit: the shorter between, the better.
            revocations = (
                *(Revocation(kind=RevocationKind.SESSION, target_id=session_id) for session_id in sessions),
                Revocation(kind=RevocationKind.USER, target_id=user.id),
            )
            await tx.revocations.add(revocations)
        self._announce(revocations)
        return replace(user, state=UserState.DISABLED)

    async def enable_user(self, login: str) -> User:
        """Enable an account again: it may log in, and its keys work; raises ``AccountUnknown``."""
        async with self._storage.write() as tx:
            user = await _find(tx, login)
            await tx.users.set_state(user.id, UserState.ACTIVE)
        return replace(user, state=UserState.ACTIVE)

    async def _add(self, user: User) -> User:
        async with self._storage.write() as tx:
            await tx.users.add(user)
        return user


async def _find(tx: Transaction, login: str) -> User:
    user = await tx.users.find(login)
    if user is None:
        raise AccountUnknown(login)
    return user


async def _cancel_runs(tx: Transaction, owner_ids: tuple[str, ...], now: datetime) -> None:
    for start in range(0, len(owner_ids), OWNERS_AT_ONCE):
        active = await tx.runs.active(owner_ids[start : start + OWNERS_AT_ONCE])
        if active:
            await tx.runs.request_cancel([run.id for run in active], now)


def _require_valid_key(
    user: User, name: str, scopes: Collection[str], expires_at: datetime | None, now: datetime
) -> None:
    violations = []
    if not name or len(name) > MAX_KEY_NAME_LENGTH or not name.isprintable():
        violations.append(FieldViolation(field="name", description="must have 1 to 100 printable characters"))
    known = ", ".join(Scope)
    if not scopes or not set(scopes) <= set(Scope):
        violations.append(FieldViolation(field="scopes", description=f"must be one or more of {known}"))
    if Scope.ACT_AS in scopes and user.role is not UserRole.SERVICE:
        violations.append(FieldViolation(field="scopes", description="act_as is for service accounts alone"))
    if expires_at is not None and expires_at <= now:
        violations.append(FieldViolation(field="expires_at", description="must lie in the future"))
    if violations:
        raise FieldInvalid(violations)
