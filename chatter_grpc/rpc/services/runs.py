"""RunService: looks at runs and steers them."""

from typing import Any, Final

import grpc

from chatter_grpc._gen.chatter.v1 import run_service_pb2 as pb
from chatter_grpc._gen.chatter.v1 import run_service_pb2_grpc
from chatter_grpc.core.pages import DEFAULT_SIZE, MAX_SIZE
from chatter_grpc.core.runs.run import RunFilter
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.sending import Sending
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.runs import STATE_OF, run_message
from chatter_grpc.rpc.convert.starts import detached_of
from chatter_grpc.rpc.convert.times import seconds_within
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.services.run_stream import RunStreams

Context = grpc.aio.ServicerContext[Any, Any]

LONGEST_WAIT_SECONDS: Final = 30
# So much of the call's time is left for the answer's way back.
WAY_BACK_SECONDS: Final = 0.5


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """Serves RunService."""

    def __init__(self, runs: Runs, sending: Sending, streams: RunStreams, page_tokens: PageTokenSigner) -> None:
        self._runs = runs
        self._sending = sending
        self._streams = streams
        self._page_tokens = page_tokens

    async def CreateRun(self, request: pb.CreateRunRequest, context: Context) -> pb.CreateRunResponse:
        """Store a message with a run that answers it when there is room."""
        call, caller = current_call(), current_caller()
        assert call.request_key is not None, "the contract requires a request id"
        run_id = await self._sending.send(caller, detached_of(request), call.request_key)
        return pb.CreateRunResponse(run=run_message(await self._runs.get(caller, run_id)))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """Read a run."""
        run = await self._runs.get(current_caller(), request.run_id)
        return pb.GetRunResponse(run=run_message(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """Read a page of runs."""
        call, caller = current_call(), current_caller()
        wanted = RunFilter(conversation_id=request.conversation_id, state=STATE_OF.get(request.state))
        asked = self._page_tokens.read(request, call.method, caller.owner_id)
        page = await self._runs.list(caller, wanted, asked)
        return pb.ListRunsResponse(
            runs=map(run_message, page.items),
            next_page_token=self._page_tokens.write(page.next, request, call.method, caller.owner_id),
        )

    # The stubs know handlers that yield alone; this one writes to the context, so that no layer sees its messages.
    async def WatchRun(  # type: ignore[override]
        self, request: pb.WatchRunRequest, context: Context
    ) -> None:
        """Stream a run from a cursor on."""
        caller = current_caller()
        position = self._streams.position(caller, request.run_id, request.cursor)
        reader = await self._runs.watch(caller, request.run_id, position)
        await self._streams.write(caller, reader, pb.WatchRunResponse, context)

    async def ListRunEvents(self, request: pb.ListRunEventsRequest, context: Context) -> pb.ListRunEventsResponse:
        """Read a page of a run's events, and wait for it where there is none yet."""
        caller = current_caller()
        wait = seconds_within(request.wait, LONGEST_WAIT_SECONDS, "wait")
        position = self._streams.position(caller, request.run_id, request.cursor)
        reader = await self._runs.watch(caller, request.run_id, position)
        count = min(request.page_size or DEFAULT_SIZE, MAX_SIZE)
        left = context.time_remaining()
        if left is not None:
            wait = max(0.0, min(wait, left - WAY_BACK_SECONDS))
        return await self._streams.page(caller, reader, count, wait)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Cancel a run."""
        run = await self._runs.cancel(current_caller(), request.run_id)
        return pb.CancelRunResponse(run=run_message(run))
