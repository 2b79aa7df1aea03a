"""A model that is observed when it is called: how long it takes to begin and to end, and why it fails."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, cast

from chatter_grpc.core.errors import ChatterError
from chatter_grpc.core.models import ChatModel, ModelDelta, ModelRequest, ReasoningPiece, TextPiece
from chatter_grpc.core.observation import Observer

CANCELLED: Final = "CANCELLED"


class ObservedChat:
    """A ``ChatModel`` whose calls are observed."""

    def __init__(self, chat: ChatModel, observer: Observer) -> None:
        self._chat = chat
        self._observer = observer

    @property
    def provider(self) -> str:
        """See ``ChatModel``."""
        return self._chat.provider

    async def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ModelDelta]]:
        """See ``ChatModel``; what comes off the wire goes on as it is."""
        call = self._observer.model_call(request.model, self._chat.provider)
        # What ends it without an error is whoever reads it: by closing it, or by being cancelled.
        reason = CANCELLED
        silent = True
        try:
            batches = cast("AsyncGenerator[Sequence[ModelDelta]]", self._chat.stream(request))
            async with aclosing(batches):
                async for batch in batches:
                    if silent and any(isinstance(delta, TextPiece | ReasoningPiece) for delta in batch):
                        silent = False
                        call.answering()
                    yield batch
            reason = ""
        except ChatterError as error:
            reason = error.reason
            raise
        except Exception:
            reason = "INTERNAL"
            raise
        finally:
            call.ended(reason)
