"""What a caller may do with accounts: look at its own and change it; as an administrator, those of all."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from chatter_grpc.core.account_rules import require_valid_account
from chatter_grpc.core.audit import record
from chatter_grpc.core.callers import Caller, Scope
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import (
    FieldInvalid,
    FieldViolation,
    LastAdministrator,
    ScopeMissing,
    SubjectUnexpected,
    TokenInvalid,
    UserNotFound,
)
from chatter_grpc.core.lockout import Ended, hold_credentials, lock_account, shut_out, take_role_away
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.requests import RequestKey, claim_request
from chatter_grpc.core.revocations import Revocation
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.updates import check_version, checked_paths
from chatter_grpc.core.users import User, UserFilter, UserLimits, UserRole, UserState

LIMITS: Final = ("messages_per_day", "messages_per_month")
# What everybody sets on their own account, what administrators set on all, and what nobody sets.
OWN: Final = frozenset({"display_name", "email"})
ADMINISTERED: Final = frozenset({"role", "state", "limits", *(f"limits.{name}" for name in LIMITS)})
OUTPUT: Final = frozenset({"id", "username", "create_time", "last_login_time", "etag"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserValues:
    """The values that an update may take. Role and state are ``None`` where they are not set."""

    email: str = ""
    display_name: str = ""
    role: UserRole | None = None
    state: UserState | None = None
    limits: UserLimits = field(default_factory=UserLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserUpdate:
    """New values, and the paths of the fields to take from them. ``etag`` is empty where there is no guard."""

    user_id: str
    values: UserValues
    paths: Collection[str]
    etag: str = ""


class Users:
    """The use-cases of accounts.

    ``announce`` is told of revocations, and ``cancel_runs`` wakes whoever works on runs whose cancellation was
    recorded, both after the commit.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        announce: Callable[[tuple[Revocation, ...]], None],
        cancel_runs: Callable[[Collection[str]], None],
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._announce = announce
        self._cancel_runs = cancel_runs
        self._clock = clock

    async def me(self, caller: Caller) -> User:
        """Return the account of the caller's credentials; raises ``TokenInvalid`` where it is no longer there."""
        async with self._storage.read() as tx:
            user = await tx.users.get(caller.actor_id)
        if user is None:
            raise TokenInvalid
        return user

    async def get(self, user_id: str) -> User:
        """Return an account; raises ``UserNotFound``."""
        async with self._storage.read() as tx:
            return _found(await tx.users.get(user_id), user_id)

    async def list(self, wanted: UserFilter, page: PageRequest) -> Page[User]:
        """Return a page of all accounts, the latest created first."""
        async with self._storage.read() as tx:
            return await tx.users.list(wanted, page)

    async def update_me(self, caller: Caller, update: UserUpdate, key: RequestKey | None) -> User:
        """Set the fields of the caller's account that the paths name, and return it as it is now.

        Raises ``UserNotFound``, ``SubjectUnexpected``, ``FieldInvalid``, ``EtagMismatch``, ``EmailTaken``,
        ``RequestIdReused``, and ``AccountDisabled``, ``SessionRevoked`` or ``ApiKeyInvalid``.
        """
        # A subject is no account, not even that of its service.
        if update.user_id not in {"", caller.owner_id}:
            raise UserNotFound(user_id=update.user_id)
        if caller.subject:
            raise SubjectUnexpected
        paths = checked_paths(update.paths, mutable=OWN, immutable=ADMINISTERED | OUTPUT)
        now = self._clock()
        async with self._storage.write() as tx:
            before = await lock_account(tx, caller)
            await hold_credentials(tx, caller, now)
            if await claim_request(tx.requests, key, before.id, now) is not None:
                return before
            check_version(before.version, update.etag)
            return await _store(tx, before, _with_own(before, update.values, paths))

    async def update(self, caller: Caller, update: UserUpdate, key: RequestKey | None) -> User:
        """Set the fields of any account that the paths name, and return it as it is now; for administrators alone.

        Disabling and a new role end what the account has open. Raises ``ScopeMissing``, ``UserNotFound``,
        ``FieldInvalid``, ``EtagMismatch``, ``LastAdministrator``, ``RequestIdReused``, and ``SessionRevoked`` or
        ``ApiKeyInvalid``.
        """
        paths = checked_paths(update.paths, mutable=ADMINISTERED, immutable=OWN | OUTPUT)
        _require_set(update.values, paths)
        now = self._clock()
        ended = Ended()
        async with self._storage.write() as tx:
            administrators = await tx.users.lock_administrators()
            if caller.actor_id not in administrators:
                # Its role was taken away a moment ago, elsewhere.
                raise ScopeMissing(scope=Scope.USERS_WRITE)
            await hold_credentials(tx, caller, now)
            before = _found(await tx.users.lock(update.user_id), update.user_id)
            if await claim_request(tx.requests, key, before.id, now) is not None:
                return before
            check_version(before.version, update.etag)
            after = _administered(before, update.values, paths)
            if administrators == (before.id,) and (after.role, after.state) != (before.role, before.state):
                raise LastAdministrator(user_id=before.id)
            stored = await _store(tx, before, after)
            ended = await _end(tx, before, after, now)
        self._announce(ended.revocations)
        self._cancel_runs(ended.run_ids)
        return stored


def _found(user: User | None, user_id: str) -> User:
    if user is None:
        raise UserNotFound(user_id=user_id)
    return user


def _with_own(before: User, values: UserValues, paths: Collection[str]) -> User:
    if "email" in paths and before.role is UserRole.SERVICE:
        raise FieldInvalid([FieldViolation(field="user.email", description="is not for the accounts of services")])
    if "email" in paths and not values.email:
        raise FieldInvalid([FieldViolation(field="user.email", description="must be set")])
    fresh = {name: getattr(values, name) for name in OWN & set(paths)}
    after = replace(before, **fresh)
    email = None if before.role is UserRole.SERVICE else after.email
    require_valid_account(username=after.username, email=email, display_name=after.display_name, password=None)
    return after


def _require_set(values: UserValues, paths: Collection[str]) -> None:
    violations = [
        FieldViolation(field=f"user.{name}", description="must be set")
        for name in ("role", "state")
        if name in paths and getattr(values, name) is None
    ]
    if violations:
        raise FieldInvalid(violations)


def _administered(before: User, values: UserValues, paths: Collection[str]) -> User:
    fresh: dict[str, Any] = {name: getattr(values, name) for name in {"role", "state"} & set(paths)}
    role = fresh.get("role", before.role)
    if role is not before.role and UserRole.SERVICE in {role, before.role}:
        wrong = "no account becomes a service's, or stops being one"
        raise FieldInvalid([FieldViolation(field="user.role", description=wrong)])
    named = set(LIMITS) if "limits" in paths else {name for name in LIMITS if f"limits.{name}" in paths}
    limits = replace(before.limits, **{name: getattr(values.limits, name) for name in named})
    return replace(before, limits=limits, **fresh)


async def _store(tx: Transaction, before: User, after: User) -> User:
    """Store an account where it changed, and return it."""
    if after == before:
        return before
    after = replace(after, version=before.version + 1)
    await tx.users.replace(after)
    await record(tx.audit, "user", after.id)
    return after


async def _end(tx: Transaction, before: User, after: User, now: datetime) -> Ended:
    """End what an account may no longer have open."""
    if after.state is UserState.DISABLED and before.state is not UserState.DISABLED:
        return await shut_out(tx, after.id, now)
    if after.role is not before.role:
        return await take_role_away(tx, after.id, now)
    return Ended()
