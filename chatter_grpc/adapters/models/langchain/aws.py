"""The models on AWS Bedrock, by the Converse API of `langchain-aws`, whose client is for threads."""

import asyncio
import contextvars
import importlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.langchain.integrations import ModelRefused, make_model, reason_named, require
from chatter_grpc.adapters.models.langchain.line import Line, current_line
from chatter_grpc.adapters.models.strict_schema import can_be_strict
from chatter_grpc.core.models import FinishReason, ModelRequest

MOST_CALLS: Final = 200
"""Calls at the same time, each of which holds a thread; further ones wait for their turn."""

_CALL: Final = "before-send.bedrock-runtime.ConverseStream"
_NO_CLIENT: Final = object()
# Beyond the line's own deadline: what a thread does without the network is over sooner.
_GRACE_SECONDS: Final = 1.0
_REASONS: Final = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccess:
    """Which region is called and as whom; without a key, AWS's own chain of credentials is asked."""

    region: str
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse half a key."""
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("provider aws: an access key's id and its secret belong together")
        if self.session_token and not self.access_key_id:
            raise ValueError("provider aws: a session token is nothing without its access key")


class Aws:
    """Implements ``Integration``."""

    provider = "aws"
    unreadable = ("ParserError",)

    def __init__(self, access: AwsAccess) -> None:
        self._access = access
        self._threads = ThreadPoolExecutor(max_workers=MOST_CALLS, thread_name_prefix="aws")
        self._client: Any = None

    def open_model(self, endpoint: EndpointConfig, name: str) -> BaseChatModel:
        """Make a model; see ``Integration.open_model``. All models share a client, which is dear."""
        access = self._access
        if name.startswith("arn:"):
            raise ModelRefused(
                "provider aws: models are named by ids, theirs or those of inference profiles, not by ARNs"
            )
        require(self.provider, "langchain_aws")
        config = importlib.import_module("botocore.config").Config(retries={"total_max_attempts": 1})
        model: Any = make_model(
            "bedrock_converse",
            name,
            region_name=access.region,
            endpoint_url=endpoint.base_url,
            aws_access_key_id=access.access_key_id or None,
            aws_secret_access_key=access.secret_access_key or None,
            aws_session_token=access.session_token or None,
            config=config,
            client=self._client,
            # Nothing is ever asked of the service's administration, whose client takes as long to make again.
            bedrock_client=_NO_CLIENT,
        )
        if self._client is None:
            self._client = model.client
            self._client.meta.events.register(_CALL, _send)
        return cast(BaseChatModel, model)

    def holds_to(self, schema: dict[str, Any]) -> bool:
        """Those of strict mode are taken; see ``Integration.holds_to``."""
        return can_be_strict(schema)

    def options(self, request: ModelRequest) -> dict[str, Any]:
        """Return the arguments of a call; see ``Integration.options``."""
        options: dict[str, Any] = {}
        inference: dict[str, Any] = {}
        if request.temperature is not None:
            inference["temperature"] = request.temperature
        if request.max_tokens is not None:
            inference["max_tokens"] = request.max_tokens
        if inference:
            # As one argument: given one by one, those that the integration thinks a model does not take are dropped.
            options["inference_config"] = inference
        if request.response_schema is not None:
            schema = {"name": "answer", "schema": json.loads(request.response_schema)}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        return options

    def finish_reason(self, chunk: ChatGenerationChunk) -> FinishReason | None:
        """Return why the answer ended; see ``Integration.finish_reason``."""
        return reason_named(chunk.message.response_metadata.get("stopReason"), _REASONS)

    async def chunks(
        self, model: BaseChatModel, messages: Sequence[BaseMessage], options: Mapping[str, Any]
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Stream a call; see ``Integration.chunks``."""
        line, loop = current_line(), asyncio.get_running_loop()
        # The steps are taken in threads, where this context tells them their line.
        context = contextvars.copy_context()
        steps: Iterator[ChatGenerationChunk] = model._stream(list(messages), **options)  # noqa: SLF001 - see OverHttpx

        def take_step() -> ChatGenerationChunk | None:
            return context.run(lambda: next(steps, None))

        while True:
            step = loop.run_in_executor(self._threads, take_step)
            try:
                # Waits without being thrown what the thread raises, which would upset a generator that is being closed.
                await asyncio.wait({step}, timeout=max(0.0, line.deadline - loop.time()) + _GRACE_SECONDS)
            except asyncio.CancelledError:
                await _leave(line, step)
                raise
            if not step.done():
                # Before the line is closed, which is a failure of its own to who uses it.
                failure = line.expire()
                await _leave(line, step)
                raise failure
            chunk = step.result()
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:
        """Let the threads end; see ``Integration.close``."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _leave(line: Line, step: "asyncio.Future[ChatGenerationChunk | None]") -> None:
    """Close the line, and see the thread that uses it end."""
    await line.close()
    await asyncio.wait({step}, timeout=_GRACE_SECONDS)
    # Whatever it says now, nobody asks any more.
    step.add_done_callback(lambda done: done.cancelled() or done.exception())


def _send(request: Any, **_: object) -> Any:
    """Send a request of botocore's, which is signed, over the current line. Runs in a thread."""
    line = current_line()
    headers = {
        name: value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()
    }
    answered = line.lend(line.open(request.url, headers, request.body))
    response = importlib.import_module("botocore.awsrequest").AWSResponse
    return response(request.url, 200, answered, _Body(line))


class _Body:
    """The bytes of an answer, for a thread."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def stream(self) -> Iterator[bytes]:
        """Yield the bytes as they come."""
        while piece := self._line.lend(self._line.read()):
            yield piece

    def close(self) -> None:
        """The line is closed by who opened it."""
