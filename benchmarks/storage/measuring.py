"""Measures lists and searches through the use-cases, on two databases in turn."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import pick_percentile
from benchmarks.storage.population import Size, a_query, owner_id
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import ConversationFilter
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.searching import Searches

PAGE = PageRequest()
EVERY = MessageFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A database of some size, and what reads it."""

    size: Size
    storage: SqlStorage

    async def list_conversations(self, chance: random.Random) -> int:
        caller = self._caller(chance)
        # The use-case does no more than this; it would want the models as well.
        async with self.storage.read() as tx:
            return len((await tx.conversations.list(caller.owner_id, ConversationFilter(), PAGE)).items)

    async def list_messages(self, chance: random.Random) -> int:
        caller = self._caller(chance)
        own = chance.randrange(self.size.conversations)
        number = own * self.size.owners + int(caller.owner_id[5:], 16)
        messages = Messages(self.storage)
        return len((await messages.list(caller, f"conv_{number:032x}", PAGE, newest_first=True)).items)

    async def search_conversations(self, chance: random.Random) -> int:
        searches = Searches(self.storage)
        return len((await searches.conversations(self._caller(chance), a_query(chance), None, PAGE)).items)

    async def search_messages(self, chance: random.Random) -> int:
        searches = Searches(self.storage)
        return len((await searches.messages(self._caller(chance), a_query(chance), EVERY, PAGE)).items)

    def _caller(self, chance: random.Random) -> Caller:
        owner = owner_id(chance.randrange(self.size.owners))
        return Caller(actor_id=owner, owner_id=owner, session_id="sess_1")


Operation = Callable[[Site, random.Random], Awaitable[int]]
OPERATIONS: Mapping[str, Operation] = {
    "ListConversations": Site.list_conversations,
    "ListMessages": Site.list_messages,
    "SearchConversations": Site.search_conversations,
    "SearchMessages": Site.search_messages,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long an operation took, in milliseconds, and how much it found on the average."""

    p50: float
    p95: float
    found: float


@asynccontextmanager
async def open_site(url: str, size: Size) -> AsyncIterator[Site]:
    """Open a database as the server does."""
    database = Database(url)
    try:
        yield Site(size=size, storage=SqlStorage(database))
    finally:
        await database.close()


async def measure(sites: Mapping[str, Site], calls: int, advance: Callable[[], None]) -> dict[str, dict[str, Latency]]:
    """Call every operation so often on every site, by its name; the sites in turn, every other time backwards.

    A site is called as often before as it is measured, so that what it needs has been read from the disk.
    """
    found: dict[str, dict[str, Latency]] = {}
    for operation, call in OPERATIONS.items():
        taken: dict[str, list[float]] = {name: [] for name in sites}
        counts: dict[str, int] = dict.fromkeys(sites, 0)
        chances = {name: random.Random(17) for name in sites}
        names = list(sites)
        for number in range(2 * calls):
            for name in names if number % 2 else reversed(names):
                begin = time.perf_counter()
                count = await call(sites[name], chances[name])
                if number >= calls:
                    taken[name].append(1000 * (time.perf_counter() - begin))
                    counts[name] += count
        found[operation] = {name: _latency(taken[name], counts[name]) for name in sites}
        advance()
    return found


def _latency(taken: list[float], count: int) -> Latency:
    ordered = sorted(taken)
    return Latency(p50=pick_percentile(ordered, 50), p95=pick_percentile(ordered, 95), found=count / max(len(taken), 1))


def described(found: Mapping[str, Mapping[str, Latency]]) -> dict[str, Any]:
    """The figures for a file."""
    return {
        operation: {
            name: {
                "p50_ms": round(each.p50, 3),
                "p95_ms": round(each.p95, 3),
                "found": round(each.found, 1),
            }
            for name, each in latencies.items()
        }
        for operation, latencies in found.items()
    }
