"""What a process imports when it first calls each provider behind LangChain, after their models were made.

Prints a line for each module: the provider's name and the module's. To be run as a process of its own, in which nothing
was imported before::

    python -m tests.support.first_calls
"""

import asyncio
import sys

from chatter_grpc.adapters.models.http import HttpPool
from tests.support.chats import KEY
from tests.support.deltas import ask, deltas_of
from tests.support.hosted import HOSTED
from tests.support.openai_plans import Fault, Plan

SCHEMA = '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false}'


async def call_all() -> None:
    pool = HttpPool(max_connections=5)
    for hosted in HOSTED.values():
        async with hosted.standin(api_key=KEY) as standin:
            chat = await hosted.chat(standin, pool)
            request = ask("hello", model=hosted.named(), response_schema=SCHEMA, temperature=0.5, max_tokens=9)
            # One that is closed, too, since what is done then may be as new.
            standin.plan(Plan(reasoning=("Hm.",)), Plan(tokens=5, fault=Fault.STALL, after=2))
            before = set(sys.modules)
            await deltas_of(chat, request)
            stream = chat.stream(request)
            await anext(stream)
            await stream.aclose()
            for name in sorted(set(sys.modules) - before):
                sys.stdout.write(f"{hosted.provider} {name}\n")
            chat.close()
    await pool.close()


if __name__ == "__main__":
    asyncio.run(call_all())
