"""A stand-in on a thread of its own, for tests whose server is another process."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.openai_plans import Plan
from tests.support.openai_standin import OpenAIStandIn
from tests.support.standin import Call, StandIn

# A wait that takes so long has failed.
PATIENCE = 20.0
PAUSE = 0.01


@dataclass(slots=True)
class Gate:
    """Holds an answer back, after as many deltas as ``Plan.gates`` says, until it is opened."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> None:
        """Let the answer go on."""
        self.loop.call_soon_threadsafe(self.event.set)


class Provider:
    """A stand-in that serves while a test does something else; plans are taken in the order of the requests."""

    def __init__(self, standin: StandIn, loop: asyncio.AbstractEventLoop) -> None:
        self.standin = standin
        self._loop = loop

    @property
    def base_url(self) -> str:
        """What a server is configured with."""
        return self.standin.base_url

    @property
    def calls(self) -> list[Call]:
        """The requests since the last ``clear``, oldest first."""
        return self.standin.calls

    def clear(self) -> None:
        """Forget plans and calls."""
        self.standin.clear()

    def plan(self, *plans: Plan) -> None:
        """Queue plans for the next requests, one each."""
        self.standin.plan(*plans)

    def hold(self, *, after: int = 0, **plan: object) -> Gate:
        """Plan an answer that stops after so many deltas until the gate is opened; a fault comes just after that."""
        gate = Gate(self._loop)
        self.plan(Plan(gates={after: gate.event}, after=after, **plan))  # type: ignore[arg-type]
        return gate

    async def called(self, number: int = 1) -> Call:
        """Return the call of this number, from 1, once it has come."""
        await until(lambda: len(self.calls) >= number)
        return self.calls[number - 1]

    async def closed(self, call: Call) -> None:
        """Return once the connection of a call is closed."""
        await until(call.connection.closed.is_set)


@contextmanager
def provider_on_a_thread(api_key: str, make: Callable[..., StandIn] = OpenAIStandIn) -> Iterator[Provider]:
    """Run a stand-in while the block lasts, OpenAI's unless another one is given."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="provider")
    thread.start()
    standin = make(api_key=api_key)

    def run(work: Callable[[], Awaitable[object]]) -> None:
        async def wrapped() -> None:
            await work()

        asyncio.run_coroutine_threadsafe(wrapped(), loop).result(PATIENCE)

    run(standin.__aenter__)
    try:
        yield Provider(standin, loop)
    finally:
        run(lambda: standin.__aexit__(None, None, None))
        run(loop.shutdown_asyncgens)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return once a condition holds; fails where it does not within the time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, f"did not come true within {seconds} s"
        await asyncio.sleep(PAUSE)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Return once a condition that has to be asked for holds; fails where it does not within the time."""
    give_up_at = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < give_up_at, f"did not come true within {seconds} s"
        await asyncio.sleep(PAUSE)
