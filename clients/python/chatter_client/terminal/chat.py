"""What a person at the terminal does: say something, go to another conversation, choose a model, stop an answer."""

import asyncio
import signal
from collections.abc import Awaitable, Sequence
from typing import Final

from chatter_client.aio import Client, RunStream
from chatter_client.contract import (
    chat_service_pb2,
    content_pb2,
    conversation_pb2,
    run_pb2,
    run_service_pb2,
    system_service_pb2,
)
from chatter_client.errors import ChatterError, GaveUp
from chatter_client.progress import Place
from chatter_client.terminal.screen import Answer, Screen, in_words, title_of, when

LISTED: Final = 20
SHOWN: Final = 10
NAMES: Final = {content_pb2.ROLE_USER: "you", content_pb2.ROLE_ASSISTANT: "chatter"}


class Left(Exception):
    """Ctrl-C was pressed twice while an answer was on its way."""


class Chat:
    """One person's chat with one server. Its conversation is made when the first message is sent."""

    def __init__(self, client: Client, screen: Screen, *, conversation_id: str = "", model: str = "") -> None:
        self._client = client
        self._screen = screen
        self._listed: Sequence[conversation_pb2.Conversation] = ()
        self._place: Place | None = None
        self._conversation_id = conversation_id
        self.model = model

    async def say(self, text: str) -> bool:
        """Send a message and show its answer; whether it was completed. Raises ``ClientError`` and ``Left``."""
        if not self._conversation_id:
            request = chat_service_pb2.CreateConversationRequest(title=title_of(text))
            self._conversation_id = (await self._client.chat.CreateConversation(request)).conversation.id
        fields = {"overrides": conversation_pb2.ModelSettings(model=self.model)} if self.model else {}
        return await self._follow(self._client.send(self._conversation_id, text, **fields))

    async def resume(self) -> None:
        """Go on with the answer that was given up."""
        if self._place is None:
            self._screen.complain("there is nothing to go on with")
            return
        await self._follow(self._client.resume(self._place))

    async def begin(self) -> None:
        """Have the next message begin a conversation."""
        self._conversation_id = ""
        self._screen.say("A new conversation.", "dim")

    async def list(self) -> None:
        """Show the latest conversations, numbered for ``open``."""
        request = chat_service_pb2.ListConversationsRequest(page_size=LISTED)
        self._listed = (await self._client.chat.ListConversations(request)).conversations
        if not self._listed:
            self._screen.say("There is no conversation yet.", "dim")
        self._screen.table(
            f"{number:>3}  {when(each.update_time)}  {each.title or each.id}"
            for number, each in enumerate(self._listed, start=1)
        )

    async def open(self, name: str) -> None:
        """Go to a conversation, by its number in the list or its id, and show the end of it."""
        place = int(name) - 1 if name.isdecimal() else -1
        conversation_id = self._listed[place].id if 0 <= place < len(self._listed) else name
        request = chat_service_pb2.ListMessagesRequest(
            conversation_id=conversation_id, page_size=SHOWN, newest_first=True
        )
        messages = (await self._client.chat.ListMessages(request)).messages
        self._conversation_id = conversation_id
        for message in reversed(messages):
            text = "".join(part.text.text for part in message.parts)
            self._screen.message(NAMES.get(message.role, "?"), text)
        at_work = run_service_pb2.ListRunsRequest(
            conversation_id=conversation_id, state=run_pb2.RUN_STATE_RUNNING, page_size=1
        )
        for run in (await self._client.runs.ListRuns(at_work)).runs:
            await self._follow(self._client.watch(run.id))

    async def choose(self, name: str) -> None:
        """Answer with this model from now on; without a name, show which there are."""
        if name:
            self.model = name
            return
        info = await self._client.system.GetServerInfo(system_service_pb2.GetServerInfoRequest())
        current = self.model or info.default_model
        self._screen.table(f"{'*' if each.name == current else ' '} {each.name}" for each in info.models)

    async def _follow(self, stream: RunStream) -> bool:
        """Show a run to its end; Ctrl-C cancels it, and again leaves."""
        self._place = None
        try:
            with self._screen.answer() as answer:
                await _cancellable(self._show(stream, answer), stream, answer)
        except GaveUp as error:
            self._place = error.place
            self._screen.complain(f"{error}. /resume goes on with it.")
            return False
        return self._sum_up(stream)

    async def _show(self, stream: RunStream, answer: Answer) -> None:
        async for _ in stream:
            answer.show(stream.fold)

    def _sum_up(self, stream: RunStream) -> bool:
        end = stream.fold.end
        if end is None:
            return False
        kind = end.WhichOneof("event")
        if kind == "cancelled":
            self._screen.complain(f"Cancelled: {in_words(stream.fold.usage)}.")
        elif kind == "failed":
            self._screen.complain(f"The answer failed: {end.failed.message}")
        else:
            self._screen.hint(in_words(stream.fold.usage))
        return kind == "completed"


async def _cancellable(showing: Awaitable[None], stream: RunStream, answer: Answer) -> None:
    """Wait for what shows a run; the first SIGINT cancels the run, the second one raises ``Left``."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(showing)
    cancelling: list[asyncio.Task[None]] = []

    def interrupt() -> None:
        if cancelling:
            task.cancel()
        else:
            answer.note("cancelling; Ctrl-C again leaves")
            cancelling.append(loop.create_task(_cancel(stream, answer)))

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        await asyncio.wait([task])
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for each in (task, *cancelling):
            each.cancel()
        await asyncio.wait([task, *cancelling])
        await stream.aclose()
    if task.cancelled():
        raise Left
    task.result()


async def _cancel(stream: RunStream, answer: Answer) -> None:
    try:
        await stream.cancel()
    except ChatterError as error:
        if error.reason != "RUN_ALREADY_FINISHED":
            answer.note(f"it could not be cancelled: {error}")
