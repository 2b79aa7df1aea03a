"""What to do next about a run's stream: the whole of reading on, without any input or output."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from chatter_client._gen.chatter.v1 import run_event_pb2, run_service_pb2
from chatter_client.errors import ChatterError, ClientError, GaveUp
from chatter_client.folding import Fold, fold

# Statuses that no server of Chatter gave: a connection broke, or a proxy spoke.
BROKEN: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
EXPIRED: Final = "TOKEN_EXPIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """How long a stream goes on trying; times are in seconds.

    ``give_up_after`` is the time without news from the run, over all tries. Pauses between tries double from
    ``first_pause`` to ``longest_pause``, each shortened by chance by up to half. A stream without a frame for
    ``silence`` (the server sends one at least every 15 seconds) counts as broken.
    """

    give_up_after: float = 60.0
    first_pause: float = 0.1
    longest_pause: float = 5.0
    silence: float = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a stream of a run has come, to go on from later with ``client.resume``.

    ``run_id`` is empty where the run is not known to have started: ``request`` is what would start it, and repeats
    under its request id start nothing twice.
    """

    run_id: str
    cursor: str
    fold: Fold
    request: Message | None = None


class Progress:
    """How far the stream of one run has come.

    Begins with a request that starts a run, or behind a cursor of a run that is known. ``news`` is when the run was
    last heard of, by ``clock``.
    """

    def __init__(
        self,
        place: Place,
        resumption: Resumption,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.fold = place.fold
        self.run_id = place.run_id
        self.cursor = place.cursor
        self.opening = place.request
        self.resumption = resumption
        self.news = clock()
        self.breaks = 0
        self._clock = clock
        self._chance = chance
        self._tries = 0
        self._handed_off = False
        self._delivered = False

    @property
    def place(self) -> Place:
        """Where to go on."""
        return Place(run_id=self.run_id, cursor=self.cursor, fold=self.fold, request=self.opening)

    @property
    def ended(self) -> bool:
        """Whether the run's last event was taken."""
        return self.fold.end is not None

    def patience(self) -> float:
        """Return how long to wait for the frame that is now asked for, in seconds, at most until it is time to give up.

        What the reader has done since it was given events is not time that the run was silent.
        """
        if self._delivered:
            self.news = self._clock()
            self._delivered = False
        left = self.news + self.resumption.give_up_after - self._clock()
        # A try that was begun has a moment to succeed.
        return max(min(self.resumption.silence, left), 1.0)

    def request(self) -> Message:
        """Return the next call to make: the one that starts the run until it is known, and WatchRun from then on."""
        if not self.run_id:
            assert self.opening is not None
            return self.opening
        return run_service_pb2.WatchRunRequest(run_id=self.run_id, cursor=self.cursor)

    def take(self, frame: Any) -> Sequence[run_event_pb2.RunEvent]:
        """Take a frame and return its events; raises ``IntegrityError``.

        After a snapshot the run's events are given once more from ``run_started`` on, as far as they are still kept.
        """
        control = frame.control.WhichOneof("control")
        if frame.events or control in ("heartbeat", "snapshot"):
            self.news = self._clock()
            self._tries = 0
        self._delivered = bool(frame.events)
        self._handed_off = control == "hand_off"
        try:
            self.fold = fold(self.fold, frame)
        except ClientError as error:
            raise self.located(error) from None
        self.run_id = self.run_id or self.fold.run_id
        self.cursor = frame.cursor
        return list(frame.events)

    def pause(self, error: ChatterError | None) -> float:
        """Return how long to wait before the next call, after a failure or an end that came too early (``None``).

        Raises the error where another call would not help, among them ``CursorExpired``, and ``GaveUp``.
        """
        self.breaks += 1
        if error is not None and not passes(error):
            raise self.located(error)
        left = self.news + self.resumption.give_up_after - self._clock()
        if error is not None and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and (error.retry_after or 0) > left:
            # A quota that is used up for today is no fault of the connection.
            raise self.located(error)
        if left <= 0:
            raise self.located(GaveUp(self.resumption.give_up_after, error)) from error
        wait = min(self.resumption.first_pause * 2.0**self._tries, self.resumption.longest_pause)
        wait *= 1 - self._chance() / 2
        if self._tries == 0 and (self._handed_off or (error is not None and error.reason == EXPIRED)):
            # Another server is ready, or other credentials are.
            wait = 0.0
        self._handed_off = False
        self._tries += 1
        if error is not None and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        # Whatever was asked for, there is one more try before giving up.
        return min(wait, left)

    def located(self, error: ClientError) -> ClientError:
        """Return an error that says where to go on."""
        error.place = self.place
        return error


def passes(error: ChatterError) -> bool:
    """Whether another call may go better than the one that failed so."""
    if not error.reason:
        return error.code in BROKEN
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return error.code is grpc.StatusCode.UNAVAILABLE or error.reason == EXPIRED
