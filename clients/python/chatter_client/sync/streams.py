"""The stream of a run that reads on by itself."""

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message

from chatter_client.contract import run_event_pb2, run_pb2, run_service_pb2
from chatter_client.errors import ChatterError, ClientClosed
from chatter_client.folding import Fold
from chatter_client.interruptions import Interruption, Listener, ignore
from chatter_client.progress import Place, Progress
from chatter_client.sync.watchdogs import Watchdog

OpenCall = Callable[[Message], Any]
CancelCall = Callable[[run_service_pb2.CancelRunRequest], run_service_pb2.CancelRunResponse]


class SyncRunStream:
    """Iterates over a run's events, each once and in order, to the run's end; ``fold`` holds what they amount to.

    A broken connection, a server that stops and an expired token are passed over. Where the run's log was compacted
    before all of it was read, the events begin once more with ``run_started``: what came before is to be forgotten.
    Raises ``GaveUp`` where there was no news for too long, ``Unauthenticated``, ``CursorExpired``, ``IntegrityError``,
    and ``ChatterError`` where the run is refused; their ``place`` is where ``SyncClient.resume`` goes on.

    One thread reads a stream; ``cancel`` and ``close`` may be called on another. ``with`` closes it; closing leaves the
    run alone.
    """

    def __init__(
        self, progress: Progress, open_call: OpenCall, cancel_call: CancelCall, listener: Listener = ignore
    ) -> None:
        self._progress = progress
        self._open_call = open_call
        self._cancel_call = cancel_call
        self._listener = listener
        self._call: Any = None
        self._watchdog: Watchdog | None = None
        self._events: deque[run_event_pb2.RunEvent] = deque()
        self._cancel_wanted = False
        self._closed = threading.Event()

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
        """Where ``SyncClient.resume`` would go on."""
        return self._progress.place

    @property
    def breaks(self) -> int:
        """How often the stream broke and went on."""
        return self._progress.breaks

    def cancel(self) -> run_pb2.Run | None:
        """Cancel the run and return it; the stream goes on to its last event.

        ``None`` where the run is not known yet: it is then cancelled with the first frame. A run that has ended by
        itself raises ``ChatterError`` with RUN_ALREADY_FINISHED.
        """
        if not self.run_id:
            self._cancel_wanted = True
            return None
        return self._cancel_call(run_service_pb2.CancelRunRequest(run_id=self.run_id)).run

    def read_to_end(self) -> Fold:
        """Read what is left, and return the fold."""
        for _ in self:
            pass
        return self.fold

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> run_event_pb2.RunEvent:
        while not self._events:
            if self._closed.is_set() or self._progress.ended:
                self._hang_up()
                raise StopIteration
            try:
                self._read_frame()
            except BaseException:
                self._hang_up()
                raise
        return self._events.popleft()

    def _read_frame(self) -> None:
        try:
            if self._call is None:
                self._call = self._open_call(self._progress.request())
                self._watchdog = Watchdog(self._call.cancel, self._progress.patience())
            elif self._watchdog is not None:
                self._watchdog.feed(self._progress.patience())
            frame = next(self._call, None)
            if self._watchdog is not None:
                # What the reader does with the frame may take its time.
                self._watchdog.rest()
        except ChatterError as error:
            self._pause(error)
        except ClientClosed as error:
            raise self._progress.located(error) from None
        else:
            if frame is None:
                self._pause(None)
                return
            self._events.extend(self._progress.take(frame))
            if self._cancel_wanted and self.run_id:
                self._cancel_wanted = False
                self._cancel_unasked()

    def _pause(self, error: ChatterError | None) -> None:
        self._hang_up()
        if self._progress.ended or self._closed.is_set():
            return
        seconds = self._progress.pause(error)
        self._listener(Interruption(cause=error, pause=seconds, run_id=self.run_id))
        self._closed.wait(seconds)

    def _cancel_unasked(self) -> None:
        try:
            self.cancel()
        except ChatterError as error:
            if error.reason != "RUN_ALREADY_FINISHED":
                raise self._progress.located(error) from None

    def _hang_up(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.stop()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
