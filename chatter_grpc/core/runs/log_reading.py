"""Reads logs for all readers of a process: what is asked while one query is under way, the next one answers."""

import asyncio
from typing import Final, NamedTuple

from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.runs.run_logs import LogPart, LogPlace
from chatter_grpc.core.storage import Storage

# Storage has deadlines of its own, for a connection and for each statement. Nobody waits longer than that for a query.
QUERY_SECONDS: Final = 30.0


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
CATCHING_UP: Final = Pace(2, 16 * 1024)
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

    async def read(self, place: LogPlace, pace: Pace) -> LogPart:
        """Return what comes after a place as it is now or will be in a moment, see ``RunLogStore.read_many``.

        Readers that ask for the same get the same. Raises ``StorageUnavailable``.
        """
        queue = self._queues.get(pace)
        if queue is None:
            queue = self._queues[pace] = _Queue(self._storage, pace)
        return await queue.ask(place)

    async def close(self) -> None:
        """End all queries; who still waits for one is told that the storage is unavailable."""
        for queue in self._queues.values():
            await queue.close()


class _Queue:
    """Those who wait for one pace, and the task that asks for them, which is there while somebody waits."""

    def __init__(self, storage: Storage, pace: Pace) -> None:
        self._storage = storage
        self._pace = pace
        self._waiting: Waiting = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def ask(self, place: LogPlace) -> LogPart:
        if self._closed:
            raise StorageUnavailable
        answer: asyncio.Future[LogPart] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, []).append(answer)
        if self._task is None:
            # It begins when all have asked who were woken together with this one.
            self._task = asyncio.create_task(self._answer_all(), name="reading of logs")
        return await answer

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _answer_all(self) -> None:
        asked: Waiting = {}
        try:
            while self._waiting:
                asked = self._take()
                await self._answer(asked)
        finally:
            self._task = None
            self._refuse(asked)

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

    async def _answer(self, asked: Waiting) -> None:
        if not asked:
            return
        try:
            async with asyncio.timeout(QUERY_SECONDS), self._storage.read() as tx:
                parts = await tx.run_logs.read_many(tuple(asked), self._pace.size)
        except (StorageUnavailable, TimeoutError) as error:
            # Those who have come since would wait as long, to hear the same.
            self._refuse(asked, error)
        except Exception as error:  # noqa: BLE001
            await self._answer_each(asked, error)
        else:
            for answers, part in zip(asked.values(), parts, strict=True):
                for answer in answers:
                    if not answer.done():
                        answer.set_result(part)

    async def _answer_each(self, asked: Waiting, error: Exception) -> None:
        """Ask for each alone where something is wrong: a fault in one log must cost the readers of no other."""
        if len(asked) > 1:
            for place, answers in asked.items():
                await self._answer({place: answers})
            return
        for answers in asked.values():
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)

    def _refuse(self, asked: Waiting, cause: BaseException | None = None) -> None:
        """Tell these, and all who wait, that the storage is unavailable."""
        waiting, self._waiting = self._waiting, {}
        for answers in (*asked.values(), *waiting.values()):
            for answer in answers:
                if not answer.done():
                    error = StorageUnavailable()
                    error.__cause__ = cause
                    answer.set_exception(error)
