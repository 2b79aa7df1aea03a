"""Administration of accounts and their API keys, for those who run the server."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime

from chatter_grpc.core.account_rules import require_valid_account, require_valid_key
from chatter_grpc.core.api_key_service import add_key, issue_key
from chatter_grpc.core.api_keys import ApiKey, ApiKeyHasher, IssuedApiKey
from chatter_grpc.core.audit import AuditEntry, record
from chatter_grpc.core.clock import Clock, utc_now
from chatter_grpc.core.ids import USER, new_id
from chatter_grpc.core.lockout import shut_out
from chatter_grpc.core.pages import MAX_SIZE, Page, PageRequest
from chatter_grpc.core.passwords import PasswordHasher
from chatter_grpc.core.revocations import Revocation, RevocationKind
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.users import User, UserRole, UserState


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
        """Give an account a key, whose text is nowhere to be had again.

        Raises ``AccountUnknown``, ``FieldInvalid``, ``ApiKeysExhausted``.
        """
        now = self._clock()
        async with self._storage.write() as tx:
            user = await _lock(tx, login)
            require_valid_key(name=name, scopes=scopes, role=user.role, expires_at=expires_at, now=now)
            issued = issue_key(self._key_hasher, user.id, name, scopes, expires_at, now)
            await add_key(tx, issued.key, now)
        return issued

    async def list_api_keys(self, login: str) -> tuple[ApiKey, ...]:
        """Return all of an account's keys in order of creation; raises ``AccountUnknown``."""
        keys: list[ApiKey] = []
        async with self._storage.read() as tx:
            user = await _find(tx, login)
            page: Page[ApiKey] | None = None
            while page is None or page.next is not None:
                after = None if page is None else page.next
                page = await tx.api_keys.list(user.id, PageRequest(size=MAX_SIZE, after=after))
                keys += page.items
        return tuple(keys)

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
                await record(tx.audit, "api_key", key.id)
                key = replace(key, revoked_at=now)
        self._announce((revocation,))
        return key

    async def disable_user(self, login: str) -> User:
        """Disable an account: its sessions end for good, its keys rest, its runs are cancelled, its streams end.

        Raises ``AccountUnknown``. Repeating it does it again, for what came in between.
        """
        now = self._clock()
        async with self._storage.write() as tx:
            user = await self._set_state(tx, login, UserState.DISABLED)
            ended = await shut_out(tx, user.id, now)
        self._announce(ended.revocations)
        return user

    async def enable_user(self, login: str) -> User:
        """Enable an account again: it may log in, and its keys work; raises ``AccountUnknown``."""
        async with self._storage.write() as tx:
            return await self._set_state(tx, login, UserState.ACTIVE)

    async def audit_log(self, login: str, page: PageRequest) -> Page[AuditEntry]:
        """Return a page of the audit log, the newest first: of the account with this name, or of all for an empty one.

        Raises ``AccountUnknown``.
        """
        async with self._storage.read() as tx:
            user_id = (await _find(tx, login)).id if login else ""
            return await tx.audit.list(user_id, page)

    async def _set_state(self, tx: Transaction, login: str, state: UserState) -> User:
        """Set an account's state, and hold its row: it is the one that a login takes."""
        user = await _lock(tx, login)
        if user.state is not state:
            user = replace(user, state=state, version=user.version + 1)
            await tx.users.replace(user)
        await record(tx.audit, "user", user.id)
        return user

    async def _add(self, user: User) -> User:
        async with self._storage.write() as tx:
            await tx.users.add(user)
            await record(tx.audit, "user", user.id)
        return user


async def _find(tx: Transaction, login: str) -> User:
    user = await tx.users.find(login)
    if user is None:
        raise AccountUnknown(login)
    return user


async def _lock(tx: Transaction, login: str) -> User:
    user = await tx.users.lock((await _find(tx, login)).id)
    assert user is not None, "accounts are never removed"
    return user
