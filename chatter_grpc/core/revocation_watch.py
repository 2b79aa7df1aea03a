"""One replica's view of the revocations: fed at once by its own, polled for those of the others, stale after 5 s."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.errors import (
    AccountDisabled,
    ApiKeyInvalid,
    ChatterError,
    RevocationsStale,
    SessionRevoked,
    StorageUnavailable,
)
from chatter_grpc.core.revocations import Revocation, RevocationKind
from chatter_grpc.core.storage import Storage

_log = logging.getLogger(__name__)

INTERVAL: Final = 0.5
# Covers the time between a row's own time and its commit: longer than any transaction that revokes may take.
OVERLAP: Final = 30.0
STALE_AFTER: Final = 5.0
POLL_DEADLINE: Final = 2.0

Callback = Callable[[ChatterError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """An account that was disabled, or got another role: what is known of it has to be read again."""

    generation: int
    seen_at: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Subscription:
    targets: tuple[Revocation, ...]
    callback: Callback


class RevocationWatch:
    """Knows in memory which credentials are revoked.

    Whoever revokes calls ``apply`` after the commit; ``run`` polls for what other replicas committed. Without a
    successful poll for ``stale_after`` seconds of the monotonic clock nothing is trusted: every check raises
    ``RevocationsStale`` and every subscriber is called back with it.

    A session or key never comes back, so it is remembered, for as long as a token of it could still be valid. An
    account does come back: a revoked one is in doubt until ``settle`` says that it was read again. For as long as the
    overlap shows its row, each poll doubts it anew, so that calls with its keys read the database, and their streams
    may end once more, although it was enabled meanwhile.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        token_lifetime: timedelta,
        interval: float = INTERVAL,
        overlap: float = OVERLAP,
        stale_after: float = STALE_AFTER,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._interval = interval
        self._overlap = overlap
        self._stale_after = stale_after
        self._retention = token_lifetime.total_seconds() + 60.0 + overlap
        self._monotonic = monotonic
        self._read_at: float | None = None
        self._sessions: dict[str, float] = {}
        self._keys: dict[str, float] = {}
        self._users: dict[str, _Doubt] = {}
        self._generation = 0
        self._subscriptions: dict[Revocation, set[_Subscription]] = {}

    @property
    def fresh(self) -> bool:
        """Whether the view can be trusted."""
        return self._read_at is not None and self._monotonic() - self._read_at < self._stale_after

    @property
    def generation(self) -> int:
        """Counts the revocations of accounts; taken before an account is read, it dates the reading."""
        return self._generation

    async def run(self) -> None:
        """Poll until cancelled. Any other end is a fault: the view goes stale and every call is refused."""
        failing = False
        while True:
            try:
                await self.poll()
            except (StorageUnavailable, TimeoutError) as error:
                if not failing:
                    _log.warning("revocations cannot be read: %s", type(error).__name__)
                failing = True
            else:
                if failing:
                    _log.warning("revocations are read again")
                failing = False
            if not self.fresh:
                self._end(tuple(self._subscriptions), RevocationsStale())
            await asyncio.sleep(self._interval)

    async def poll(self) -> None:
        """Read once what was revoked since the last time, with an overlap; the first time, all that still matters.

        Raises ``StorageUnavailable`` or ``TimeoutError``.
        """
        started = self._monotonic()
        seconds = self._retention
        if self._read_at is not None:
            seconds = min(seconds, started - self._read_at + self._overlap)
        async with asyncio.timeout(POLL_DEADLINE), self._storage.read() as tx:
            found = await tx.revocations.since(seconds)
        self.apply(found)
        self._read_at = started
        self._forget(started - self._retention)

    def apply(self, revocations: Iterable[Revocation]) -> None:
        """Take in revocations that are committed, and call back whom they concern. Repeats do no harm."""
        now = self._monotonic()
        for revocation in revocations:
            error: ChatterError | None = None
            match revocation.kind:
                case RevocationKind.SESSION:
                    self._sessions.setdefault(revocation.target_id, now)
                    error = SessionRevoked()
                case RevocationKind.API_KEY:
                    self._keys.setdefault(revocation.target_id, now)
                    error = ApiKeyInvalid()
                case RevocationKind.USER:
                    self._doubt(revocation.target_id, now)
                    error = AccountDisabled()
                case RevocationKind.ROLE:
                    # Keys of the account are looked at anew; what they opened stays open.
                    self._doubt(revocation.target_id, now)
            if error is not None:
                self._end((revocation,), error)

    def require_fresh(self) -> None:
        """Raise ``RevocationsStale`` where the view cannot be trusted."""
        if not self.fresh:
            raise RevocationsStale

    def check(self, caller: Caller) -> None:
        """Raise ``SessionRevoked``, ``ApiKeyInvalid``, ``AccountDisabled`` or ``RevocationsStale`` for such a caller.

        Disabling an account revokes its sessions one by one, so the account itself matters to API keys alone: a new
        session after it was enabled again is a good one.
        """
        self.require_fresh()
        if caller.session_id in self._sessions:
            raise SessionRevoked
        if caller.api_key_id is not None:
            if caller.api_key_id in self._keys:
                raise ApiKeyInvalid
            if caller.actor_id in self._users:
                raise AccountDisabled

    def settle(self, user_id: str, generation: int) -> None:
        """Trust an account again that was found active by a reading that began at ``generation``."""
        doubt = self._users.get(user_id)
        if doubt is not None and doubt.generation <= generation:
            del self._users[user_id]

    def subscribe(self, caller: Caller, callback: Callback) -> Callable[[], None]:
        """Have ``callback`` called, once, as soon as ``check`` would raise for the caller, with what it would raise.

        Raises instead where it does so already. Returns what ends the subscription. The callback is called from the
        event loop, does not wait and does not raise.
        """
        self.check(caller)
        subscription = _Subscription(targets=_targets(caller), callback=callback)
        for target in subscription.targets:
            self._subscriptions.setdefault(target, set()).add(subscription)
        return lambda: self._remove(subscription)

    def _doubt(self, user_id: str, now: float) -> None:
        self._generation += 1
        self._users.pop(user_id, None)
        self._users[user_id] = _Doubt(generation=self._generation, seen_at=now)

    def _end(self, targets: tuple[Revocation, ...], error: ChatterError) -> None:
        for target in targets:
            for subscription in tuple(self._subscriptions.get(target, ())):
                self._remove(subscription)
                subscription.callback(error)

    def _remove(self, subscription: _Subscription) -> None:
        for target in subscription.targets:
            others = self._subscriptions.get(target)
            if others is not None:
                others.discard(subscription)
                if not others:
                    del self._subscriptions[target]

    def _forget(self, before: float) -> None:
        # Entries stand in the order in which they were seen.
        for seen in (self._sessions, self._keys):
            while seen and seen[oldest := next(iter(seen))] < before:
                del seen[oldest]
        while self._users and self._users[oldest := next(iter(self._users))].seen_at < before:
            del self._users[oldest]


def _targets(caller: Caller) -> tuple[Revocation, ...]:
    if caller.session_id is not None:
        return (Revocation(kind=RevocationKind.SESSION, target_id=caller.session_id),)
    assert caller.api_key_id is not None
    return (
        Revocation(kind=RevocationKind.API_KEY, target_id=caller.api_key_id),
        Revocation(kind=RevocationKind.USER, target_id=caller.actor_id),
    )
