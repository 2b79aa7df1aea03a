"""Starts through a proxy that breaks calls: however often a client repeats one, there is one run and one message."""

import asyncio
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chatter_client import ApiKey
from chatter_client.aio import connect
from chatter_client.progress import Resumption
from tests.chaos.callers import OPTIONS, Callers, callers_of, new_conversation
from tests.chaos.provider import chaos_provider
from tests.chaos.rows import Rows
from tests.chaos.servers import Fleet, fleet
from tests.support.tcp_proxy import TcpProxy

# What a connection carries to and from the server until its call has begun, in bytes, and somewhat more.
ASKED: Final = (1, 1_100)
ANSWERED: Final = (1, 1_600)
# So many connections are cut; each call has one of its own.
SHARE: Final = 0.45
# Clients that send at a time, and sends of each in one conversation.
CLIENTS: Final = 20
IN_A_ROW: Final = 10
# Some clients send the same twice, at the same time: they do not know of each other.
TWICE: Final = 0.2
RESUMPTION: Final = Resumption(give_up_after=60.0, first_pause=0.01, longest_pause=0.2, silence=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """So many logical sends, by chance of a seed."""

    storage: str
    seed: int
    sends: int


@dataclass(slots=True, kw_only=True)
class Started:
    """What came of them; ``faults`` is empty where all is well."""

    sends: int = 0
    calls: int = 0
    cut: int = 0
    runs: int = 0
    messages: int = 0
    counted: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """Return it in a line."""
        return (
            f"{self.sends} sends over {self.calls} connections, of which {self.cut} ({self.cut / self.calls:.0%}) were"
            f" cut: {self.runs} runs, {self.messages} messages, {self.counted} counted; {self.seconds:.0f} s,"
            f" {len(self.faults)} failures"
        )


async def run_starts(starts: Starts, directory: Path) -> Started:
    """Serve, send, and check."""
    with chaos_provider() as provider:
        async with fleet(starts.storage, directory, provider, messages_per_day="1000000000") as servers:
            return await send_all(servers, starts)


async def send_all(servers: Fleet, starts: Starts) -> Started:
    """Send through breaking proxies to a fleet that counts messages by day, and check what is stored of it."""
    began, result = time.monotonic(), Started()
    with ExitStack() as stack:
        async with callers_of(servers, f"starts-{starts.seed}-{int(time.time() * 1000)}") as callers:
            proxies = [
                stack.enter_context(
                    TcpProxy(
                        server.address, seed=starts.seed + number, life=ANSWERED, asked=ASKED, share=SHARE
                    ).running()
                )
                for number, server in enumerate(servers.servers)
            ]
            left = list(range(0, starts.sends, IN_A_ROW))
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(_work(callers, proxies, starts, left, result))
            result.calls = sum(proxy.connections for proxy in proxies)
            result.cut = sum(proxy.broken for proxy in proxies)
            await _check(servers, callers, starts, result)
    result.seconds = time.monotonic() - began
    return result


async def _work(callers: Callers, proxies: list[TcpProxy], starts: Starts, left: list[int], result: Started) -> None:
    while left:
        first = left.pop(0)
        conversation_id = await new_conversation(callers)
        for number in range(first, min(first + IN_A_ROW, starts.sends)):
            chance = random.Random(f"{starts.seed} {number}")
            copies = 2 if chance.random() < TWICE else 1
            run_ids = await asyncio.gather(
                *(_send(callers, chance.choice(proxies), starts, conversation_id, number) for _ in range(copies))
            )
            if len(set(run_ids)) > 1:
                result.faults.append(f"send {number} gave the runs {sorted(set(run_ids))}")
            result.sends += 1


async def _send(callers: Callers, proxy: TcpProxy, starts: Starts, conversation_id: str, number: int) -> str:
    key = dict(callers.metadata)["authorization"].removeprefix("Bearer ")
    # A connection of its own, so that a cut is a call's.
    options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    async with connect(
        proxy.address, credentials=ApiKey(key=key), tls=False, options=options, resumption=RESUMPTION
    ) as client:
        text = f"Once, please. chaos:short/{starts.seed}/0/{number}"
        stream = client.send(conversation_id, text, request_id=f"start-{starts.seed}-{number}")
        await stream.read_to_end()
        return stream.run_id


async def _check(servers: Fleet, callers: Callers, starts: Starts, result: Started) -> None:
    rows = Rows(servers.url)
    ((owner,),) = await rows.query(
        "SELECT owner_id FROM requests WHERE request_id = $1 ORDER BY expires_at DESC LIMIT 1",
        f"start-{starts.seed}-0",
    )
    ((result.runs,),) = await rows.query("SELECT count(*) FROM runs WHERE owner_id = $1", owner)
    by_role = await rows.query("SELECT role, count(*) FROM messages WHERE owner_id = $1 GROUP BY role", owner)
    result.messages = sum(count for _, count in by_role)
    ((result.counted,),) = await rows.query(
        "SELECT coalesce(sum(count), 0) FROM message_counts WHERE user_id IN"
        " (SELECT actor_id FROM runs WHERE owner_id = $1)",
        owner,
    )
    wanted = {"runs": starts.sends, "counted": starts.sends, "messages": 2 * starts.sends}
    for name, number in wanted.items():
        if getattr(result, name) != number:
            result.faults.append(f"there are {getattr(result, name)} {name}, and are to be {number}: {by_role}")
    ((attempts,),) = await rows.query("SELECT sum(attempt) FROM runs WHERE owner_id = $1", owner)
    asked = sum(call.complete for call in servers.provider.calls)
    # A machine that does much else loses a lease now and then, and with it an attempt.
    if not starts.sends <= asked <= attempts:
        result.faults.append(f"the provider answered {asked} times in {attempts} attempts")
