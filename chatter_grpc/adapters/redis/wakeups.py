"""Wake-ups between processes by publishing in Redis: one channel, one message for all that was notified since."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from chatter_grpc.adapters.redis.connection import FAULTS, RedisAway, RedisLink
from chatter_grpc.core.ids import new_id
from chatter_grpc.core.runs.relay import CarrierAway, Receive

# After so much silence the connection is asked whether it still carries.
SILENCE_SECONDS: Final = 1.0


class RedisCarrier:
    """``Carrier`` over one Redis."""

    def __init__(self, link: RedisLink, silence: float = SILENCE_SECONDS) -> None:
        self._link = link
        self._silence = silence
        self._channel = f"{link.namespace}wakeups"
        # Begins every message, so that nobody is woken twice by its own.
        self._sender = new_id("sender").encode()

    async def send(self, run_ids: Sequence[str]) -> None:
        """See ``Carrier``."""
        message = b" ".join((self._sender, *(run_id.encode() for run_id in run_ids)))
        try:
            await self._link.call(lambda client: client.publish(self._channel, message))
        except RedisAway as error:
            raise CarrierAway from error

    async def run(self, receive: Receive) -> None:
        """See ``Carrier``."""
        while True:
            if self._link.available:
                await self._listen(receive)
            # The link finds out when Redis is back, and says so in the log.
            await asyncio.sleep(self._link.options.probe)

    async def _listen(self, receive: Receive) -> None:
        """Receive until the connection ends, or answers no more."""
        async with self._link.client.pubsub() as channel:
            try:
                async with self._soon():
                    await channel.subscribe(self._channel)
                silent = 0
                # Two silences in a row mean that not even the ping between them was answered.
                while silent < 2:
                    async with self._soon(self._silence):
                        message: Any = await channel.get_message(timeout=self._silence)
                    silent = silent + 1 if message is None else 0
                    if silent == 1:
                        async with self._soon():
                            await channel.ping()
                    if message is not None and message["type"] == "message":
                        self._take(message["data"], receive)
            except FAULTS:
                return

    def _soon(self, more: float = 0.0) -> asyncio.Timeout:
        return asyncio.timeout(more + self._link.options.deadline)

    def _take(self, message: bytes, receive: Receive) -> None:
        sender, *run_ids = message.split(b" ")
        if sender != self._sender:
            receive([run_id.decode() for run_id in run_ids])
