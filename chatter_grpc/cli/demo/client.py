"""A first client: makes an account, asks a question about a text, and shows the answer token by token."""

import asyncio
import secrets
from pathlib import Path
from typing import Final
from uuid import uuid4

import grpc

from chatter_grpc._gen.chatter.v1.auth_service_pb2 import LoginRequest, RegisterRequest
from chatter_grpc._gen.chatter.v1.auth_service_pb2_grpc import AuthServiceStub
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import (
    CreateConversationRequest,
    GetMessageRequest,
    SendMessageRequest,
    SendMessageResponse,
)
from chatter_grpc._gen.chatter.v1.chat_service_pb2_grpc import ChatServiceStub
from chatter_grpc._gen.chatter.v1.content_pb2 import ContentPart, TextPart, Usage
from chatter_grpc._gen.chatter.v1.run_service_pb2 import WatchRunRequest
from chatter_grpc._gen.chatter.v1.run_service_pb2_grpc import RunServiceStub
from chatter_grpc.cli.demo.fold import Answer, Fold
from chatter_grpc.cli.demo.grpcurl import repeat, repeat_from_file, take_token
from chatter_grpc.cli.demo.screen import CheckFailed, Screen

# Every call has a deadline, in seconds. A stream's bounds the reader alone: the run goes on behind it.
CALL: Final = 10
STREAM: Final = 60

USERNAME: Final = "demo"


class DemoClient:
    """The steps, in order; each takes what the ones before it gave, and shows how to repeat it by hand."""

    def __init__(self, channel: grpc.aio.Channel, address: str, screen: Screen, scratch: Path) -> None:
        """Take an open channel to the server at ``address``, and a directory for long requests."""
        self._auth = AuthServiceStub(channel)
        self._chat = ChatServiceStub(channel)
        self._runs = RunServiceStub(channel)
        self._address = address
        self._screen = screen
        self._scratch = scratch
        self._metadata: tuple[tuple[str, str], ...] = ()

    async def talk(self, passage: str, question: str) -> None:
        """Take all steps; raises ``CheckFailed`` and ``grpc.aio.AioRpcError``."""
        password = secrets.token_urlsafe(12)
        await self.register(password)
        await self.log_in(password)
        conversation_id = await self.create_conversation()
        frames = await self.ask(conversation_id, passage, question)
        await self.watch_again(frames)

    async def register(self, password: str) -> None:
        """Make an account."""
        self._screen.step("Register: an account")
        request = RegisterRequest(username=USERNAME, email="demo@example.org", password=password)
        response = await self._auth.Register(request, timeout=CALL)
        self._screen.fact("user", f"{response.user.username} ({response.user.id})")
        command = repeat(self._address, "AuthService/Register", request, token=False)
        self._screen.command(command, "answers USERNAME_TAKEN by now: another name makes another account")

    async def log_in(self, password: str) -> None:
        """Log in; the access token goes with every call from here on."""
        self._screen.step("Login: an access token, sent as metadata with every call from here on")
        request = LoginRequest(login=USERNAME, password=password)
        response = await self._auth.Login(request, timeout=CALL)
        self._metadata = (("authorization", f"Bearer {response.tokens.access_token}"),)
        self._screen.fact("expires", f"{response.tokens.access_expire_time.ToDatetime():%H:%M} UTC")
        self._screen.command(take_token(repeat(self._address, "AuthService/Login", request, token=False)))

    async def create_conversation(self) -> str:
        """Make a conversation; return its id."""
        self._screen.step("CreateConversation: a place for messages, with the settings of its answers")
        request = CreateConversationRequest(title="Gettysburg", tags=["demo"])
        response = await self._chat.CreateConversation(request, metadata=self._metadata, timeout=CALL)
        self._screen.fact("conversation", response.conversation.id)
        self._screen.command(repeat(self._address, "ChatService/CreateConversation", request))
        return response.conversation.id

    async def ask(self, conversation_id: str, passage: str, question: str) -> list[SendMessageResponse]:
        """Send the text and a question about it, and show the answer as it arrives; return the stream's frames."""
        self._screen.step("SendMessage: a text and a question about it, answered by a run that streams")
        request = SendMessageRequest(
            # The same id and payload give the same run again, whatever became of the first call.
            request_id=str(uuid4()),
            conversation_id=conversation_id,
            parts=[
                ContentPart(text=TextPart(text=f"{passage}\n\n")),
                ContentPart(text=TextPart(text=question)),
            ],
        )
        self._screen.fact("question", question)
        self._screen.say()
        frames = []
        fold = Fold()
        async for frame in self._chat.SendMessage(request, metadata=self._metadata, timeout=STREAM):
            frames.append(frame)
            fold.take(frame.events)
            for event in frame.events:
                if event.HasField("text_delta"):
                    self._screen.piece(event.text_delta.text)
        self._screen.end_answer()
        self._screen.say()
        answer = only_answer(fold)
        self._show(frames, answer)
        self._screen.check("the text's SHA-256 is the one that message_finished carries", holds=answer.is_proven)
        await self._compare_with_stored(answer)
        file = self._scratch / "send_message.json"
        command = await asyncio.to_thread(repeat_from_file, self._address, "ChatService/SendMessage", request, file)
        self._screen.command(command, "the same request_id: the same run, from its beginning, and nothing new")
        return frames

    async def watch_again(self, frames: list[SendMessageResponse]) -> None:
        """Read the run on from the middle, as a client does whose connection was cut there."""
        self._screen.step("WatchRun: the same run, read on from a cursor, as after a cut connection")
        taken = frames[: max(1, len(frames) // 2)]
        request = WatchRunRequest(run_id=run_id_of(frames), cursor=taken[-1].cursor)
        fold = Fold()
        for frame in taken:
            fold.take(frame.events)
        async for missed in self._runs.WatchRun(request, metadata=self._metadata, timeout=STREAM):
            fold.take(missed.events)
        holds = only_answer(fold).is_proven
        self._screen.check("what came before the cut and what came after it make the same text", holds=holds)
        self._screen.command(repeat(self._address, "RunService/WatchRun", request))

    def _show(self, frames: list[SendMessageResponse], answer: Answer) -> None:
        assert answer.finished is not None
        self._screen.fact("model", answer.model)
        self._screen.fact("usage", in_words(answer.finished.usage))
        self._screen.fact("run", run_id_of(frames))
        self._screen.fact("cursor", frames[-1].cursor)

    async def _compare_with_stored(self, answer: Answer) -> None:
        assert answer.finished is not None
        request = GetMessageRequest(message_id=answer.finished.message_id)
        response = await self._chat.GetMessage(request, metadata=self._metadata, timeout=CALL)
        stored = "".join(part.text.text for part in response.message.parts)
        self._screen.check("the message that is stored is the one that was streamed", holds=stored == answer.text)


def only_answer(fold: Fold) -> Answer:
    """Return the answer of a run that completed with one; raises ``CheckFailed``."""
    if fold.end is None or not fold.end.HasField("completed") or len(fold.answers) != 1:
        raise CheckFailed(f"the run completes with one answer (its end: {fold.end})")
    (answer,) = fold.answers.values()
    return answer


def run_id_of(frames: list[SendMessageResponse]) -> str:
    """Return the run that the first frame names."""
    return frames[0].events[0].run_started.run_id


def in_words(usage: Usage) -> str:
    """Return the tokens and the price of an answer as a line."""
    cost = f"{usage.cost_micros / 1_000_000:.6f} USD" if usage.HasField("cost_micros") else "price not known"
    origin = "estimated" if usage.estimated else "counted by the provider"
    return f"{usage.input_tokens} tokens in, {usage.output_tokens} out, {cost} ({origin})"
