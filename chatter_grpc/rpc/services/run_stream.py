"""Streams a run to a client: the one loop behind every RPC that watches."""

import asyncio
from typing import Any

import grpc.aio

from chatter_grpc._gen.chatter.v1.run_service_pb2 import ListRunEventsResponse
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.revocation_watch import RevocationWatch
from chatter_grpc.core.runs.reader import Chunk, Control, RunReader
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.rpc.cursors import CursorSigner, RunCursors
from chatter_grpc.rpc.frames import AnyFrame, frame_of


class RunStreams:
    """Writes what a reader finds, frame by frame, for as long as the caller may be trusted."""

    def __init__(self, cursors: CursorSigner, revocations: RevocationWatch) -> None:
        self._cursors = cursors
        self._revocations = revocations

    def position(self, caller: Caller, run_id: str, cursor: str) -> LogPosition:
        """Return the position of a cursor, the beginning for an empty one; raises ``CursorInvalid``."""
        if not cursor:
            return LogPosition()
        attempt, seq = self._cursors.for_run(caller.owner_id, run_id).decode(cursor)
        return LogPosition(attempt, seq)

    async def write(
        self,
        caller: Caller,
        reader: RunReader,
        response: type[AnyFrame],
        context: grpc.aio.ServicerContext[Any, AnyFrame],
    ) -> None:
        """Write frames until the run's last event or a hand-off.

        A frame is built when the one before is in the transport, and holds all that gathered until then. Raises what
        the reader raises, ``SessionRevoked`` or ``ApiKeyInvalid`` when the caller's credentials are revoked, and
        ``asyncio.CancelledError`` when the client went away.
        """
        cursors = self._cursors.for_run(caller.owner_id, reader.run_id)
        unsubscribe = self._revocations.subscribe(caller, reader.fail)
        try:
            # In a task of its own each frame resumes this loop alone. In the call's task it would resume all that
            # stands around the call too, some fifty frames of interceptors, twice.
            frames = _deliver_all(reader, cursors, response, context)
            await asyncio.create_task(frames, name=f"reader of {reader.run_id}")
        finally:
            unsubscribe()

    async def page(self, caller: Caller, reader: RunReader, count: int, wait: float) -> ListRunEventsResponse:
        """Return one page of up to ``count`` events, waited for up to so many seconds; raises as ``write`` does."""
        cursors = self._cursors.for_run(caller.owner_id, reader.run_id)
        unsubscribe = self._revocations.subscribe(caller, reader.fail)
        try:
            async with reader:
                page = await reader.page(count, wait)
        finally:
            unsubscribe()
        control = Control.HAND_OFF if page.handed_off else Control.SNAPSHOT if page.snapshot else None
        response = frame_of(Chunk(page.entries, page.position, control, page.snapshot), cursors, ListRunEventsResponse)
        response.finished = page.finished
        return response


async def _deliver_all(
    reader: RunReader,
    cursors: RunCursors,
    response: type[AnyFrame],
    context: grpc.aio.ServicerContext[Any, AnyFrame],
) -> None:
    async with reader:
        while (chunk := await reader.next()) is not None:
            await deliver(context, frame_of(chunk, cursors, response))


async def deliver(context: grpc.aio.ServicerContext[Any, AnyFrame], frame: AnyFrame) -> None:
    """Write a frame; raises ``asyncio.CancelledError`` where the call is over, whoever notices that first."""
    try:
        await context.write(frame)
    except grpc.aio.InternalError as error:
        # A write that waits for a slow client fails as the client goes away, before the call's task is cancelled.
        raise asyncio.CancelledError from error
