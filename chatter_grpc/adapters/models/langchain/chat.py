"""The models of one provider, streamed through its LangChain integration."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.call import Caller
from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.langchain.chunks import ChunkReader
from chatter_grpc.adapters.models.langchain.integrations import Integration, ModelRefused
from chatter_grpc.adapters.models.langchain.line import Line, on_line
from chatter_grpc.adapters.models.langchain.messages import messages_of
from chatter_grpc.adapters.models.retries import CallFailed, Retries
from chatter_grpc.core.errors import ProviderStreamBroken
from chatter_grpc.core.inquiries import with_schema
from chatter_grpc.core.models import ModelDelta, ModelRequest

# The usage follows the last piece at once; a provider that forgets to say that it is done is not waited for longer.
_TRAILER_SECONDS: Final = 2.0
# What follows the usage is the end of the body.
_END_SECONDS: Final = 0.25
# How Python fails on an answer that cannot be read.
_UNREADABLE: Final = (ValueError, TypeError, LookupError, AttributeError)

_log = logging.getLogger(__name__)


class LangChainChat:
    """Implements ``ChatModel`` on a LangChain integration, which is given our connections and repeats nothing itself.

    Repeated, as on an OpenAI-compatible endpoint, before the first piece of text or reasoning alone: see
    ``OpenAIChat``.
    """

    def __init__(
        self,
        endpoint: EndpointConfig,
        integration: Integration,
        pool: HttpPool,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Make all models, which blocks for seconds; raises ``ExtraMissing`` and ``ModelRefused``."""
        self._endpoint = endpoint
        self._integration = integration
        self._caller = Caller(endpoint, pool)
        self._retries = Retries.of(endpoint)
        self._sleep = sleep
        self._models = {name: self._open_model(name) for name in endpoint.models}

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self._endpoint.provider

    def close(self) -> None:
        """Give up what the integration holds; the connections are the pool's."""
        self._integration.close()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        """Stream an answer; see ``ChatModel.stream``. ``Finished`` is always the last delta."""
        integration = self._integration
        model = self._models[request.model.removeprefix(f"{self.provider}/")]
        request = self._with_schema_in_words(request)
        messages, options = messages_of(request), integration.options(request)
        attempt = 0
        while True:
            attempt += 1
            answer = ChunkReader(integration.finish_reason)
            line = Line(self._caller, self._endpoint)
            chunks = integration.chunks(model, messages, options)
            try:
                while (chunk := await self._next(chunks, line, answer)) is not None:
                    if batch := self._read(chunk, answer):
                        yield batch
                    self._go_on(answer, line)
                if answer.finish_reason is None:
                    raise CallFailed(ProviderStreamBroken(provider=self.provider), may_pass=True)
                await line.close(in_order=line.failure is None)
                yield answer.end()
            except CallFailed as failure:
                pause = None if answer.began else self._retries.pause_after(attempt, failure)
                if pause is None:
                    raise failure.error from failure.__cause__
                _log.info("%s: attempt %d failed: %s", self.provider, attempt, failure)
            else:
                return
            finally:
                await line.close()
                await _wind_up(chunks)
            await self._sleep(pause)

    def _with_schema_in_words(self, request: ModelRequest) -> ModelRequest:
        """Return a request whose schema stands in the prompt where the provider would refuse it."""
        schema = request.response_schema
        if schema is None or self._integration.holds_to(json.loads(schema)):
            return request
        return replace(request, system_prompt=with_schema(request.system_prompt, schema), response_schema=None)

    async def _next(
        self, chunks: AsyncIterator[ChatGenerationChunk], line: Line, answer: ChunkReader
    ) -> ChatGenerationChunk | None:
        """Return the next chunk, ``None`` at the end; raises ``CallFailed``."""
        try:
            with on_line(line):
                return await anext(chunks, None)
        except Exception as error:  # noqa: BLE001 - what went wrong is said by the line, whatever is made of it
            kind = type(error)
        # Not from the error, which may quote what was said. A text that is complete lacks its usage at most.
        if answer.finish_reason is not None:
            return None
        raise line.failure or self._unread(kind)

    def _read(self, chunk: ChatGenerationChunk, answer: ChunkReader) -> list[ModelDelta]:
        """Return the deltas of a chunk; raises ``CallFailed`` for one that is none."""
        try:
            return answer.feed(chunk)
        except _UNREADABLE as error:
            kind = type(error)
        raise self._unread(kind)

    def _unread(self, kind: type[Exception]) -> CallFailed:
        """Return the failure on an answer that an integration, or we, cannot make sense of."""
        _log.info("%s: an answer could not be read: %s", self.provider, kind.__name__)
        return CallFailed(ProviderStreamBroken(provider=self.provider), may_pass=not self._is_unreadable(kind))

    def _is_unreadable(self, kind: type[Exception]) -> bool:
        """Whether bytes could not be read, rather than that the provider reported an error in them."""
        names = {each.__name__ for each in kind.__mro__}
        return issubclass(kind, _UNREADABLE) or not names.isdisjoint(self._integration.unreadable)

    def _open_model(self, name: str) -> BaseChatModel:
        try:
            return self._integration.open_model(self._endpoint, name)
        except ModelRefused:
            raise
        except ValueError as error:
            # What the integration says shows what it was given, the key among it.
            kind = type(error).__name__
        raise ModelRefused(f"provider {self.provider}: the model {name} cannot be made ({kind})")

    def _go_on(self, answer: ChunkReader, line: Line) -> None:
        """Move the deadline after a chunk, which counts as progress."""
        line.progress()
        if answer.counted:
            line.wait_at_most(_END_SECONDS)
        elif answer.finish_reason is not None:
            line.wait_at_most(min(_TRAILER_SECONDS, self._endpoint.idle_seconds))
        elif answer.began:
            line.wait_at_most(self._endpoint.idle_seconds)


async def _wind_up(chunks: AsyncIterator[ChatGenerationChunk]) -> None:
    """Let an integration come to its end, now that its line is closed.

    Its generators wait for one another, and those within would be left to the garbage collector by closing the
    outermost; so each is told of the end where it reads.
    """
    with suppress(Exception):
        async for _ in chunks:
            pass
