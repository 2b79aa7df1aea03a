"""The models of one OpenAI-compatible endpoint, streamed over pooled connections."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial

from chatter_grpc.adapters.models.answer import AnswerReader, Fault
from chatter_grpc.adapters.models.call import Caller, OpenCall
from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.retries import CallFailed, Retries
from chatter_grpc.adapters.models.wire import encode_request
from chatter_grpc.core.errors import ProviderStreamBroken
from chatter_grpc.core.models import ModelDelta, ModelRequest

# The usage follows the last piece at once; a provider that forgets to say that it is done is not waited for longer.
_TRAILER_SECONDS = 2.0

_log = logging.getLogger(__name__)


class OpenAIChat:
    """Implements ``ChatModel`` on the chat-completions stream of OpenAI and those who speak like it.

    Repeated before the first piece of text or reasoning, with jittered pauses: a connection that cannot be made or
    breaks, the statuses 408, 429, 500, 502, 503, 504 and 529, and an error that the provider reports within its stream.
    Not repeated: any other status, a quota that is used up, a first token that does not come in time (the next one
    would take as long), and bytes that cannot be read.
    """

    def __init__(
        self,
        endpoint: EndpointConfig,
        pool: HttpPool,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the endpoint, the connections that it shares with others, and how to wait between attempts."""
        self._endpoint = endpoint
        self._caller = Caller(endpoint, pool)
        self._url = endpoint.base_url.rstrip("/") + "/chat/completions"
        self._headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._retries = Retries.of(endpoint)
        self._sleep = sleep

    @property
    def provider(self) -> str:
        """The endpoint's name."""
        return self._endpoint.provider

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        """Stream an answer; see ``ChatModel.stream``. ``Finished`` is always the last delta."""
        body = await self._encode(request)
        attempt = 0
        while True:
            attempt += 1
            answer = AnswerReader(max_event_bytes=self._endpoint.max_event_bytes)
            try:
                async with await self._caller.open(self._url, self._headers, body) as call:
                    while not answer.ended and (data := await self._read(call, answer)):
                        events = answer.events
                        if batch := answer.feed(data):
                            yield batch
                        if answer.events != events or answer.fault is not None:
                            self._check(answer, call)
                    yield self._last(answer)
            except CallFailed as failure:
                pause = None if answer.began else self._retries.pause_after(attempt, failure)
                if pause is None:
                    raise failure.error from failure.__cause__
                _log.info("%s: attempt %d failed: %s", self.provider, attempt, failure)
            else:
                return
            await self._sleep(pause)

    async def _encode(self, request: ModelRequest) -> bytes:
        name = request.model.removeprefix(f"{self.provider}/")
        encode = partial(encode_request, request, name=name, limit_field=self._endpoint.limit_field)
        # Images are many bytes to write in base64.
        if any(turn.images for turn in request.turns):
            return await asyncio.to_thread(encode)
        return encode()

    async def _read(self, call: OpenCall, answer: AnswerReader) -> bytes:
        try:
            return await call.read()
        except CallFailed:
            # The text is complete: what is missing is the usage at most.
            if answer.finish_reason is None:
                raise
            return b""

    def _check(self, answer: AnswerReader, call: OpenCall) -> None:
        """Move the deadline after an event, which counts as progress; raises ``CallFailed`` after a faulty one."""
        if answer.fault is not None:
            error = ProviderStreamBroken(provider=self.provider)
            raise CallFailed(error, may_pass=answer.fault is Fault.PROVIDER_ERROR)
        if answer.finish_reason is not None:
            call.wait_at_most(min(_TRAILER_SECONDS, self._endpoint.idle_seconds))
        elif answer.began:
            call.wait_at_most(self._endpoint.idle_seconds)

    def _last(self, answer: AnswerReader) -> list[ModelDelta]:
        if answer.finish_reason is None:
            raise CallFailed(ProviderStreamBroken(provider=self.provider), may_pass=True)
        return answer.end()
