"""Reads logs for all readers of a process: what is asked while one query is under way, the next one answers."""

import asyncio
import contextvars
import time
from itertools import chain
from typing import Final, NamedTuple

from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.runs.run_logs import LogPart, LogPlace
from chatter_grpc.core.storage import Storage

# Storage has deadlines of its own, for a connection and for each statement. Nobody waits longer than that for a query.
QUERY_SECONDS: Final = 30.0
# A query that fails as late as this tells of a database that is away, one that fails at once of its connection alone.
SLOW_SECONDS: Final = 1.0


class Pace(NamedTuple):
    """How readers of one kind are served: so many places in a query, so many bytes behind each of them.

    A single batch may be larger.
    """

    places: int
    size: int


# Who follows a run finds what a commit or two wrote, and is many.
FOLLOWING: Final = Pace(64, 2 * 1024)
# Who was found to be behind reads pages of what the event loop does in a millisecond. Few are read at a time, so that
# others have their turns in between.
CATCHING_UP: Final = Pace(4, 16 * 1024)
# Who asks for pages waits for a call for each of them, so that they are as large as a frame.
PAGING: Final = Pace(8, 128 * 1024)

Waiting = dict[LogPlace, list[asyncio.Future[LogPart]]]


class LogReading:
    """Asks the database for all readers of a process.

    There is one query at a time for each pace, so that nobody waits for those who read at another. Whoever asks while
    none is under way is answered at once.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._queues: dict[Pace, _Queue] = {}
        self._closed = False

    async def read(self, place: LogPlace, pace: Pace) -> LogPart:
        """Return what comes after a place as it is now or will be in a moment, see ``RunLogStore.read_many``.

        Readers that ask for the same get the same. Raises ``StorageUnavailable``.
        """
        if self._closed:
            raise StorageUnavailable
        queue = self._queues.get(pace)
        if queue is None:
            queue = self._queues[pace] = _Queue(self._storage, pace)
        return await queue.ask(place)

    async def close(self) -> None:
        """End all queries; who still waits for one is told that the storage is unavailable."""
        self._closed = True
        for queue in tuple(self._queues.values()):
            await queue.close()


class _Queue:
    """Those who wait for one pace, and the task that asks for them, which is there while somebody waits."""

    def __init__(self, storage: Storage, pace: Pace) -> None:
        self._storage = storage
        self._pace = pace
        self._waiting: Waiting = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, place: LogPlace) -> LogPart:
        answer: asyncio.Future[LogPart] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, []).append(answer)
        if self._task is None:
            # It begins when all have asked who were woken together with this one, and belongs to none of their calls.
            self._task = asyncio.create_task(self._answer_all(), name="reading of logs", context=contextvars.Context())
        return await answer

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            # One that had not begun has told nobody.
            self._end({})

    async def _answer_all(self) -> None:
        asked: Waiting = {}
        try:
            while self._waiting:
                asked = self._take()
                await self._answer(asked)
        finally:
            self._end(asked)

    def _end(self, asked: Waiting) -> None:
        self._task = None
        _refuse(asked)
        self._refuse_waiting()

    def _take(self) -> Waiting:
        """Return those who waited longest, as many as one query answers; nobody asks for those who are gone."""
        taken: Waiting = {}
        for place in tuple(self._waiting):
            answers = [answer for answer in self._waiting.pop(place) if not answer.done()]
            if answers:
                taken[place] = answers
            if len(taken) == self._pace.places:
                break
        return taken

    async def _answer(self, asked: Waiting) -> bool:
        """Answer all of these; return whether the database did."""
        if not asked:
            return True
        began = time.monotonic()
        try:
            async with asyncio.timeout(QUERY_SECONDS), self._storage.read() as tx:
                parts = await tx.run_logs.read_many(tuple(asked), self._pace.size)
        except (StorageUnavailable, TimeoutError) as error:
            _refuse(asked, error)
            if time.monotonic() - began > SLOW_SECONDS:
                # Those who have come since would wait as long, to hear the same.
                self._refuse_waiting(error)
            return False
        except Exception as error:  # noqa: BLE001
            if len(asked) > 1:
                return await self._answer_each(asked)
            for answer in chain.from_iterable(asked.values()):
                if not answer.done():
                    answer.set_exception(error)
        else:
            for answers, part in zip(asked.values(), parts, strict=True):
                for answer in answers:
                    if not answer.done():
                        answer.set_result(part)
        return True

    async def _answer_each(self, asked: Waiting) -> bool:
        """Ask for each alone where something is wrong: a fault in one log must cost the readers of no other."""
        for place, answers in asked.items():
            if not await self._answer({place: answers}):
                _refuse(asked)
                return False
        return True

    def _refuse_waiting(self, cause: BaseException | None = None) -> None:
        waiting, self._waiting = self._waiting, {}
        _refuse(waiting, cause)


def _refuse(asked: Waiting, cause: BaseException | None = None) -> None:
    """Tell those who are not answered yet that the storage is unavailable."""
    for answer in chain.from_iterable(asked.values()):
        if not answer.done():
            error = StorageUnavailable()
            error.__cause__ = cause
            answer.set_exception(error)
