"""Slows down those who guess passwords: failed logins are counted per account and per address."""

import asyncio
import hashlib
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from chatter_grpc.core.errors import LoginFailed, LoginThrottled, PasswordWrong
from chatter_grpc.core.limits import Limit, RateLimiter

TURN_DEADLINE: Final = 10.0


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock
    users: int = 0


class _Turns:
    """Lets one attempt after the other work under a key, so that parallel ones cannot outrun the count."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(key, _Turn(asyncio.Lock()))
        turn.users += 1
        try:
            await self._acquire(turn.lock)
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]

    async def _acquire(self, lock: asyncio.Lock) -> None:
        try:
            async with asyncio.timeout(TURN_DEADLINE):
                await lock.acquire()
        except TimeoutError:
            raise LoginThrottled(retry_after=1.0) from None


class LoginThrottle:
    """Counts failed logins. Attempts on one account, and those from one address, work one after the other.

    Within a process no guess is made beyond the limit; of several replicas that share the counts, each may make one.
    """

    def __init__(self, limiter: RateLimiter, *, per_account: Limit, per_address: Limit) -> None:
        self._limiter = limiter
        self._per_account = per_account
        self._per_address = per_address
        self._turns = _Turns()

    @asynccontextmanager
    async def from_address(self, address: str) -> AsyncIterator[None]:
        """Guard attempts from an address: raises ``LoginThrottled``, and counts a ``LoginFailed`` or ``PasswordWrong``
        from within.

        An address that is unknown (empty, as on a unix socket) is not counted.
        """
        if not address:
            yield
            return
        async with self._counted(f"login:address:{network_of(address)}", self._per_address):
            yield

    @asynccontextmanager
    async def on_account(self, account: str) -> AsyncIterator[None]:
        """Guard attempts on an account like ``from_address``; success forgets the failures before it."""
        # Hashed, since the name of an unknown account may be anything, a password typed into the wrong field too.
        key = f"login:account:{hashlib.sha256(account.encode()).hexdigest()}"
        async with self._counted(key, self._per_account):
            yield
            await self._limiter.clear(key, self._per_account)

    @asynccontextmanager
    async def _counted(self, key: str, limit: Limit) -> AsyncIterator[None]:
        async with self._turns.take(key):
            decision = await self._limiter.peek(key, limit)
            if not decision.allowed:
                raise LoginThrottled(retry_after=decision.reset_after)
            try:
                yield
            except (LoginFailed, PasswordWrong):
                await self._limiter.hit(key, limit)
                raise


def network_of(address: str) -> str:
    """Return what one customer of a network holds: an IPv4 address itself, the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
