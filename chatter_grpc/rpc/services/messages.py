"""The half of ChatService that keeps messages, and starts the runs that answer them."""

import asyncio
from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import chat_service_pb2 as pb
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.message_changes import MessageChanges
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.sending import Sending
from chatter_grpc.core.starting import Start
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.messages import message_message
from chatter_grpc.rpc.convert.starts import regenerate_of, send_of
from chatter_grpc.rpc.frames import AnyFrame
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.services.run_stream import RunStreams

Context = grpc.aio.ServicerContext[Any, Any]


class MessageMethods:
    """Serves the RPCs on messages."""

    def __init__(
        self,
        messages: Messages,
        changes: MessageChanges,
        sending: Sending,
        runs: Runs,
        streams: RunStreams,
        page_tokens: PageTokenSigner,
    ) -> None:
        self._messages = messages
        self._message_changes = changes
        self._sending = sending
        self._runs = runs
        self._streams = streams
        self._message_pages = page_tokens

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        """Read a page of messages."""
        call, caller = current_call(), current_caller()
        asked = self._message_pages.read(request, call.method, caller.owner_id)
        page = await self._messages.list(
            caller,
            request.conversation_id,
            asked,
            newest_first=request.newest_first,
            include_replaced=request.include_replaced,
        )
        return pb.ListMessagesResponse(
            messages=map(message_message, page.items),
            next_page_token=self._message_pages.write(page.next, request, call.method, caller.owner_id),
        )

    async def GetMessage(self, request: pb.GetMessageRequest, context: Context) -> pb.GetMessageResponse:
        """Read a message."""
        found = await self._messages.get(current_caller(), request.message_id)
        return pb.GetMessageResponse(message=message_message(found))

    async def DeleteMessage(self, request: pb.DeleteMessageRequest, context: Context) -> pb.DeleteMessageResponse:
        """Delete a message."""
        await self._message_changes.delete(current_caller(), request.message_id)
        return pb.DeleteMessageResponse()

    async def RateMessage(self, request: pb.RateMessageRequest, context: Context) -> pb.RateMessageResponse:
        """Rate an answer."""
        rated = await self._message_changes.rate(current_caller(), request.message_id, request.rating, request.comment)
        return pb.RateMessageResponse(message=message_message(rated))

    async def SendMessage(self, request: pb.SendMessageRequest, context: Context) -> None:
        """Start a run, or attach to the one that the same request started, and stream it from its beginning."""
        call, caller = current_call(), current_caller()
        assert call.request_key is not None, "the contract requires a request id"
        send = send_of(request)
        run_id = await self._sending.send(caller, send, call.request_key)
        await self._stream(caller, send, run_id, pb.SendMessageResponse, context)

    async def RegenerateMessage(self, request: pb.RegenerateMessageRequest, context: Context) -> None:
        """Start a run that answers the last message again, or attach to it, and stream it from its beginning."""
        call, caller = current_call(), current_caller()
        assert call.request_key is not None, "the contract requires a request id"
        regenerate = regenerate_of(request)
        run_id = await self._sending.regenerate(caller, regenerate, call.request_key)
        await self._stream(caller, regenerate, run_id, pb.RegenerateMessageResponse, context)

    async def _stream(
        self, caller: Caller, start: Start, run_id: str, response: type[AnyFrame], context: Context
    ) -> None:
        try:
            await self._streams.write(caller, self._runs.reader(run_id), response, context)
        except asyncio.CancelledError:
            if start.cancel_on_disconnect:
                self._runs.abandon(caller, run_id)
            raise
