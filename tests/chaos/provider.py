"""A provider that plans each answer by the name in its question, and counts what it has sent, token by token."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from tests.chaos.plans import ChaosPlan, count_tokens, plan_of, tag_of
from tests.support.openai_plans import Plan
from tests.support.openai_standin import OpenAIAnswer, OpenAIStandIn
from tests.support.provider import provider_on_a_thread
from tests.support.standin import Call, Connection

KEY: Final = "sk-of-the-chaos-provider"
# Names of models: `solo`, `solo-2`, `solo-3`; those after the first are the fallbacks of their node.
BRANCHES: Final = ("solo", "left", "middle", "right", "join")
FALLBACKS: Final = 3
LAST_IS_THE_USERS: Final = "the last message is to be the user's"


@dataclass(slots=True, eq=False)
class ChaosCall(Call):
    """A request with what of its answer was sent and when; times are by ``time.monotonic()``."""

    tag: str = ""
    branch: str = ""
    number: int = 0
    started_at: float = field(default_factory=time.monotonic)
    sent_at: list[tuple[float, int]] = field(default_factory=list)
    """When something was sent, and how many tokens there were with it."""
    failed: bool = False
    """Whether the provider ended the answer itself, as its plan said."""

    @property
    def text(self) -> str:
        """The text that was sent."""
        return "".join(self.sent)

    @property
    def tokens(self) -> int:
        """How many tokens were sent, thoughts included."""
        return self.sent_at[-1][1] if self.sent_at else 0

    def tokens_until(self, at: float) -> int:
        """How many tokens were sent up to then."""
        return max((count for when, count in self.sent_at if when <= at), default=0)


class ChaosAnswer(OpenAIAnswer):
    """Writes an answer in the manner of its plan."""

    call: ChaosCall

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> None:
        super().__init__(request, response, call)
        assert isinstance(call.plan, ChaosPlan)
        self._manner = call.plan

    async def send(self, said: str, limit: int | None) -> AsyncIterator[str]:
        """See ``Answer``; a piece counts from when its bytes are handed over."""
        plan, call = self._manner, self.call
        await self.begin()
        await asyncio.sleep(plan.first_delay)
        for piece in plan.reasoning:
            call.sent_at.append((time.monotonic(), call.tokens + count_tokens(piece)))
            await self.think(piece)
        for number, piece in enumerate(plan.content(said)):
            if await self._fails(number):
                return
            await asyncio.sleep(plan.delay)
            call.sent.append(piece)
            await self.say(piece)
            yield piece
        if await self._fails(len(call.sent)):
            return
        await self.finish(plan.finish_reason)
        call.complete = True

    async def say(self, piece: str) -> None:
        """Send a piece, some bytes of it one a second where that is planned."""
        data = self._data(piece)
        first, slow = self._manner.crawl
        if len(self.call.sent) - 1 == first:
            for start in range(slow):
                await self._response.write(data[start : start + 1])
                await asyncio.sleep(1)
            data = data[slow:]
        self.call.sent_at.append((time.monotonic(), self.call.tokens + self._count(piece)))
        await self.write(data)

    async def write(self, data: bytes) -> None:
        """Send bytes in the chunks that are planned."""
        size = self._manner.chunks or len(data)
        for start in range(0, len(data), size):
            await self._response.write(data[start : start + size])
            if size < len(data):
                await asyncio.sleep(0)

    def completion_tokens(self) -> int:
        """Return what was sent."""
        return self.call.tokens

    async def _fails(self, number: int) -> bool:
        plan = self._manner
        if number != plan.after or (plan.fault is None and not plan.torn):
            return False
        self.call.failed = True
        if not plan.torn:
            return await self._interrupt()
        data = self._data("torn ")
        await self._response.write(data[: len(data) // 2])
        assert self._request.transport is not None
        self._request.transport.close()
        return True

    def _count(self, piece: str) -> int:
        """Count the tokens that a piece completes, which may begin and end within a pair."""
        if not any("\ud800" <= unit <= "\udfff" for unit in piece):
            return count_tokens(piece)
        return count_tokens(self.call.text) - count_tokens("".join(self.call.sent[:-1]))

    def _data(self, piece: str) -> bytes:
        choice = {"index": 0, "delta": {"content": piece}, "logprobs": None, "finish_reason": None}
        comment = b": keep-alive" + self._line * 2 if self._manner.comments else b""
        data = json.dumps(self._envelope([choice]), ensure_ascii=not self._manner.raw)
        return comment + b"data: " + data.encode() + self._line * 2


class ChaosProvider(OpenAIStandIn):
    """The server; ``calls_of`` tells what it was asked about a name."""

    def __init__(self, *, api_key: str = KEY, port: int = 0) -> None:
        super().__init__(api_key=api_key, port=port)
        self._numbers: Counter[tuple[str, str]] = Counter()

    def record(self, body: dict[str, Any], plan: Plan, connection: Connection, model: str) -> Call:
        """Plan the answer by the name that the last message of the user carries."""
        said = [message["content"] for message in body["messages"] if message["role"] == "user"]
        tag, branch = tag_of(str(said[-1])), model.partition("-")[0]
        number = self._numbers[tag, branch]
        self._numbers[tag, branch] += 1
        planned = plan_of(tag, branch, number)
        call = ChaosCall(body, planned, connection, model, tag=tag, branch=branch, number=number)
        call.failed = planned.status != 200 or planned.mute
        return call

    def fault_of(self, body: Any) -> str | None:
        """See ``StandIn``; the last of several nodes is asked with what those before it have answered."""
        fault = super().fault_of(body)
        return None if fault == LAST_IS_THE_USERS and body["messages"][-1]["role"] == "assistant" else fault

    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> ChaosAnswer:
        """See ``StandIn``."""
        return ChaosAnswer(request, response, call)

    async def _answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        try:
            return await super()._answer(request, call)
        except ConnectionError:
            # The server died, which is what it does here.
            return self.error(503, "nobody_is_there")

    def calls_of(self, tag: str) -> list[ChaosCall]:
        """Return the calls about a name, in order."""
        return [call for call in tuple(self.calls) if isinstance(call, ChaosCall) and call.tag == tag]

    def forget(self) -> None:
        """Forget all calls; their numbers are by name, and go on."""
        self.clear()


@contextmanager
def chaos_provider() -> Iterator[ChaosProvider]:
    """Run the provider on a thread of its own while the block lasts."""
    with provider_on_a_thread(KEY, ChaosProvider) as provider:
        assert isinstance(provider.standin, ChaosProvider)
        yield provider.standin


def provider_settings(provider: ChaosProvider) -> dict[str, str]:
    """Return the settings of a server that asks this provider, and passes to the next model where one fails."""
    names = {branch: [branch, *(f"{branch}-{number}" for number in range(2, FALLBACKS + 1))] for branch in BRANCHES}
    return {
        "openai_base_url": provider.base_url,
        "openai_api_key": KEY,
        "openai_models": json.dumps([name for each in names.values() for name in each]),
        "default_model": "openai/solo",
        "fallbacks": json.dumps(
            {f"openai/{first}": [f"openai/{name}" for name in rest] for first, *rest in names.values()}
        ),
        "provider_first_token_seconds": "3",
        "provider_idle_seconds": "5",
    }
