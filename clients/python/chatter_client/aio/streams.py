"""The stream of a run that reads on by itself."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message

from chatter_client.contract import run_event_pb2, run_pb2, run_service_pb2
from chatter_client.errors import ChatterError, ClientClosed
from chatter_client.folding import Fold
from chatter_client.interruptions import Interruption, Listener, ignore
from chatter_client.progress import Place, Progress

OpenCall = Callable[[Message], Any]
CancelCall = Callable[[run_service_pb2.CancelRunRequest], Any]


class RunStream:
    """Iterates over a run's events, each once and in order, to the run's end; ``fold`` holds what they amount to.

    A broken connection, a server that stops and an expired token are passed over. Where the run's log was compacted
    before all of it was read, the events begin once more with ``run_started``: what came before is to be forgotten.
    Raises ``GaveUp`` where there was no news for too long, ``Unauthenticated``, ``CursorExpired``, ``IntegrityError``,
    and ``ChatterError`` where the run is refused; their ``place`` is where ``Client.resume`` goes on.

    One task reads a stream. ``async with`` closes it; closing leaves the run alone.
    """

    def __init__(
        self, progress: Progress, open_call: OpenCall, cancel_call: CancelCall, listener: Listener = ignore
    ) -> None:
        self._progress = progress
        self._open_call = open_call
        self._cancel_call = cancel_call
        self._listener = listener
        self._call: Any = None
        self._frames: AsyncIterator[Any] | None = None
        self._events: deque[run_event_pb2.RunEvent] = deque()
        self._cancel_wanted = False
        self._closed = False

    @property
    def fold(self) -> Fold:
        """The messages up to now."""
        return self._progress.fold

    @property
    def run_id(self) -> str:
        """The run, empty before the first event."""
        return self._progress.run_id

    @property
    def cursor(self) -> str:
        """The cursor behind the last frame."""
        return self._progress.cursor

    @property
    def place(self) -> Place:
        """Where ``Client.resume`` would go on."""
        return self._progress.place

    @property
    def breaks(self) -> int:
        """How often the stream broke and went on."""
        return self._progress.breaks

    async def cancel(self) -> run_pb2.Run | None:
        """Cancel the run and return it; the stream goes on to its last event.

        ``None`` where the run is not known yet: it is then cancelled with the first frame. A run that has ended by
        itself raises ``ChatterError`` with RUN_ALREADY_FINISHED.
        """
        if not self.run_id:
            self._cancel_wanted = True
            return None
        response: run_service_pb2.CancelRunResponse = await self._cancel_call(
            run_service_pb2.CancelRunRequest(run_id=self.run_id)
        )
        return response.run

    async def read_to_end(self) -> Fold:
        """Read what is left, and return the fold."""
        async for _ in self:
            pass
        return self.fold

    async def aclose(self) -> None:
        """Stop reading."""
        self._closed = True
        self._hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> run_event_pb2.RunEvent:
        while not self._events:
            if self._closed or self._progress.ended:
                self._hang_up()
                raise StopAsyncIteration
            try:
                await self._read_frame()
            except BaseException:
                self._hang_up()
                raise
        return self._events.popleft()

    async def _read_frame(self) -> None:
        try:
            if self._frames is None:
                self._call = self._open_call(self._progress.request())
                self._frames = aiter(self._call)
            async with asyncio.timeout(self._progress.patience()):
                frame = await anext(self._frames, None)
        except TimeoutError:
            await self._pause(None)
        except ChatterError as error:
            await self._pause(error)
        except ClientClosed as error:
            raise self._progress.located(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The call was cancelled and not the task: another one closed the stream, which then is over, or the client.
            if not self._closed:
                raise self._progress.located(ClientClosed()) from None
        else:
            if frame is None:
                await self._pause(None)
                return
            self._events.extend(self._progress.take(frame))
            if self._cancel_wanted and self.run_id:
                self._cancel_wanted = False
                await self._cancel_unasked()

    async def _pause(self, error: ChatterError | None) -> None:
        self._hang_up()
        if self._progress.ended:
            return
        seconds = self._progress.pause(error)
        self._listener(Interruption(cause=error, pause=seconds, run_id=self.run_id))
        await asyncio.sleep(seconds)

    async def _cancel_unasked(self) -> None:
        try:
            await self.cancel()
        except ChatterError as error:
            if error.reason != "RUN_ALREADY_FINISHED":
                raise self._progress.located(error) from None

    def _hang_up(self) -> None:
        if self._call is not None:
            with suppress(asyncio.CancelledError):
                self._call.cancel()
        self._call = self._frames = None
