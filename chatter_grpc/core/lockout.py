"""Ends, in a transaction, what an account has open, and finds out whether a call's credentials still hold in it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chatter_grpc.core.api_keys import ApiKey
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.errors import AccountDisabled, ApiKeyInvalid, SessionRevoked
from chatter_grpc.core.revocations import Revocation, RevocationKind
from chatter_grpc.core.storage import Transaction
from chatter_grpc.core.users import User, UserState

# A statement's parameters stay small, whoever has however many subjects.
OWNERS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What was ended: to be announced and woken once the transaction is committed."""

    revocations: tuple[Revocation, ...] = ()
    run_ids: tuple[str, ...] = ()


async def end_sessions(tx: Transaction, user_id: str, now: datetime, *, but: str = "") -> tuple[Revocation, ...]:
    """End an account's open sessions, except for the one called ``but``; return their revocations, yet to be added."""
    ended = await tx.sessions.revoke_all(user_id, now, but=but)
    return tuple(Revocation(kind=RevocationKind.SESSION, target_id=session_id) for session_id in ended)


async def shut_out(tx: Transaction, user_id: str, now: datetime) -> Ended:
    """End all that a disabled account has open: its sessions, the trust in its keys, its runs and its subjects' runs.

    The account's row has to be held and its new state set: so no session and no run slips in behind.
    """
    sessions = await end_sessions(tx, user_id, now)
    run_ids = await _cancel_runs(tx, await tx.users.owners_of(user_id), now)
    revocations = (*sessions, Revocation(kind=RevocationKind.USER, target_id=user_id))
    # Last, since their time is taken here and they are seen at the commit: the shorter between, the better.
    await tx.revocations.add(revocations)
    return Ended(revocations=revocations, run_ids=run_ids)


async def take_role_away(tx: Transaction, user_id: str, now: datetime) -> Ended:
    """End the sessions that were opened in an account's former role, and have its keys looked at anew."""
    sessions = await end_sessions(tx, user_id, now)
    revocations = (*sessions, Revocation(kind=RevocationKind.ROLE, target_id=user_id))
    await tx.revocations.add(revocations)
    return Ended(revocations=revocations)


async def hold_account(tx: Transaction, caller: Caller) -> User:
    """Return the caller's account, and keep it from changing until the transaction ends; raises ``AccountDisabled``."""
    user = await tx.users.hold_active(caller.actor_id)
    if user is None:
        raise AccountDisabled
    return user


async def lock_account(tx: Transaction, caller: Caller) -> User:
    """Return the caller's account, with its row held for this transaction alone; raises ``AccountDisabled``.

    For what changes the account, or is counted by it: two transactions that count and then add would both find room
    for the last one.
    """
    user = await tx.users.lock(caller.actor_id)
    if user is None or user.state is not UserState.ACTIVE:
        raise AccountDisabled
    return user


async def hold_credentials(tx: Transaction, caller: Caller, now: datetime) -> ApiKey | None:
    """Keep a call's credentials from being revoked until the transaction ends; return its key where it came with one.

    A replica may trust credentials for a second longer than they hold. What outlives them, such as another key, must
    not be made in that second. Raises ``SessionRevoked``, ``ApiKeyInvalid``.
    """
    if caller.session_id is not None:
        if not await tx.sessions.hold_open(caller.session_id, now):
            raise SessionRevoked
        return None
    assert caller.api_key_id is not None
    key = await tx.api_keys.hold_valid(caller.api_key_id, now)
    if key is None:
        raise ApiKeyInvalid
    return key


async def _cancel_runs(tx: Transaction, owner_ids: tuple[str, ...], now: datetime) -> tuple[str, ...]:
    run_ids: list[str] = []
    for start in range(0, len(owner_ids), OWNERS_AT_ONCE):
        run_ids += await tx.runs.cancel_all(owner_ids[start : start + OWNERS_AT_ONCE], now)
    return tuple(run_ids)
