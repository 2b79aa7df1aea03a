"""RunService: looks at runs and steers them."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import run_service_pb2 as pb
from chatter_grpc._gen.chatter.v1 import run_service_pb2_grpc
from chatter_grpc.core.runs.run import RunFilter
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.runs import STATE_OF, run_message
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.services.run_stream import RunStreams

Context = grpc.aio.ServicerContext[Any, Any]


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """Serves RunService."""

    def __init__(self, runs: Runs, streams: RunStreams, page_tokens: PageTokenSigner) -> None:
        self._runs = runs
        self._streams = streams
        self._page_tokens = page_tokens

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

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Cancel a run."""
        run = await self._runs.cancel(current_caller(), request.run_id)
        return pb.CancelRunResponse(run=run_message(run))
