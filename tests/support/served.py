"""Servers as processes of their own, and clients of them: what acceptance tests drive over real gRPC."""

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message_factory import GetMessageClass

from chatter_grpc._gen.chatter.v1 import content_pb2
from chatter_grpc.app.identity import open_accounts
from chatter_grpc.config import load_settings
from chatter_grpc.core.accounts import Accounts
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.users import UserRole
from chatter_grpc.rpc.contract import SERVICES, methods_of
from tests.support.edge import Answer, Metadata, bearer
from tests.support.fold import ClientFold
from tests.support.processes import Process, serving

# By the method's own name, which is unique in the contract.
METHODS: Final = {method.name: (path, method) for path, method in methods_of(SERVICES)}
DEADLINE: Final = 60.0
SECRET: Final = "r4nd0m-Bytes_of.these+tests/alone=0123456789"
# Limits are for the tests that are about them.
UNLIMITED: Final = {
    "auth_calls_per_minute": "1000000",
    "read_calls_per_minute": "1000000",
    "write_calls_per_minute": "1000000",
    "start_calls_per_minute": "1000000",
    "login_failures_per_address": "1000000",
    "registrations_per_address": "1000000",
    "runs_per_owner": "1000000",
}
# What a server does by itself would come up in the middle of what tests count.
UNDISTURBED: Final = {"housekeeping_seconds": "0"}

_numbers = itertools.count(1)


class Stream:
    """A stream of a run: its frames as they are read, and what they fold to."""

    def __init__(self, call: Any, frame: type[Any]) -> None:
        self._call = call
        self._frame = frame
        self.frames: list[Any] = []
        self.fold = ClientFold()

    @property
    def events(self) -> list[Any]:
        """All events up to now, in order."""
        return [event for frame in self.frames for event in frame.events]

    @property
    def run_id(self) -> str:
        """The run, as its first event names it."""
        return str(self.events[0].run_started.run_id)

    @property
    def text(self) -> str:
        """The texts of all messages up to now, finished or not."""
        return "".join(message.text for message in self.fold.messages.values())

    async def read(self) -> bool:
        """Take in the next frame; ``False`` at the end. Raises ``grpc.aio.AioRpcError``."""
        data = await self._call.read()
        if data is grpc.aio.EOF:
            return False
        frame = self._frame.FromString(data)
        self.frames.append(frame)
        # A stream that begins after a cursor is not folded: its reader has the rest.
        if self.frames[0].events[:1] and self.frames[0].events[0].first_seq > 1:
            return True
        self.fold.take(frame.events)
        return True

    async def until(self, reached: Callable[["Stream"], bool]) -> "Stream":
        """Read until a condition holds."""
        while not reached(self):
            assert await self.read(), f"the stream ended with {self.fold.kinds}"
        return self

    async def to_end(self) -> Answer:
        """Read all that is left and return how the call ended."""
        with suppress(grpc.aio.AioRpcError):
            while await self.read():
                pass
        return await _answer(self._call, [])

    def leave(self) -> None:
        """Cancel the call."""
        self._call.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Calls a server with some credentials. Methods are named without their service, requests by their fields."""

    channel: grpc.aio.Channel
    metadata: Metadata = ()

    def carrying(self, *more: tuple[str, str]) -> "Client":
        """Return a client of the same channel with further metadata."""
        return replace(self, metadata=(*self.metadata, *more))

    def trusting(self, token: str) -> "Client":
        """Return a client of the same channel with other credentials."""
        return replace(self, metadata=bearer(token))

    async def call(self, name: str, /, request: Any = None, **fields: Any) -> Answer:
        """Call a method and read to the end, whatever comes."""
        call = self._open(name, request_of(name, **fields) if request is None else request, DEADLINE)
        responses: list[bytes] = []
        with suppress(grpc.aio.AioRpcError):
            responses.extend([response async for response in call])
        return await _answer(call, responses)

    async def ok(self, name: str, /, **fields: Any) -> Any:
        """Call a unary method that is to go well, and return its response."""
        answer = await self.call(name, **fields)
        assert answer.code is grpc.StatusCode.OK, (name, answer.code, answer.reason, answer.message)
        (data,) = answer.responses
        return GetMessageClass(METHODS[name][1].output_type).FromString(data)

    async def reason(self, name: str, /, **fields: Any) -> str:
        """Call a method and return the reason of its refusal; empty where it went well."""
        return (await self.call(name, **fields)).reason

    def open(self, name: str, /, *, timeout: float = DEADLINE, **fields: Any) -> Stream:
        """Open a stream of a run."""
        return Stream(self._open(name, request_of(name, **fields), timeout), response_type(name))

    async def ask(self, conversation_id: str, text: str, **fields: Any) -> Stream:
        """Send a message and read its run to the end, which is to come without a status."""
        stream = self.send(conversation_id, text, **fields)
        answer = await stream.to_end()
        assert answer.code is grpc.StatusCode.OK, (answer.reason, answer.message)
        return stream

    def send(self, conversation_id: str, text: str, *, timeout: float = DEADLINE, **fields: Any) -> Stream:
        """Send a message, under a new request id unless one is given, and return its stream."""
        return self.open("SendMessage", timeout=timeout, **message(conversation_id, text, **fields))

    async def conversation(self, **fields: Any) -> Any:
        """Make a conversation."""
        return (await self.ok("CreateConversation", **fields)).conversation

    async def messages(self, conversation_id: str) -> list[Any]:
        """Return the first thousand messages of a conversation."""
        return list((await self.ok("ListMessages", conversation_id=conversation_id, page_size=1000)).messages)

    async def run(self, run_id: str) -> Any:
        """Return a run."""
        return (await self.ok("GetRun", run_id=run_id)).run

    def _open(self, name: str, request: Any, timeout: float) -> Any:
        data = request if isinstance(request, bytes) else request.SerializeToString()
        # Unary methods answer like streams of one message.
        stub: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(METHODS[name][0])
        return stub(data, metadata=tuple(self.metadata), timeout=timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account with its session; ``client`` calls with it."""

    user: Any
    password: str
    tokens: Any
    client: Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that runs: where, with which settings beside the defaults, and its process."""

    address: str
    settings: Mapping[str, str]
    process: Process

    @property
    def output(self) -> str:
        """All that it has written to stdout and stderr."""
        return self.process.out.read_text() + self.process.err.read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log's events of one name."""
        lines = [json.loads(line) for line in self.process.err.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == event]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """Open a channel, without credentials."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            yield Client(channel=channel)

    @asynccontextmanager
    async def accounts(self) -> AsyncIterator[Accounts]:
        """Open the administration of accounts beside the server, as `chatter-grpc admin` does."""
        names = ("data_dir", "database_url", "secret")
        given = {name: self.settings[name] for name in names if name in self.settings}
        async with open_accounts(load_settings(**given)) as accounts:
            yield accounts

    async def api_key(self, login: str, *scopes: str) -> str:
        """Give an account an API key with these scopes."""
        async with self.accounts() as accounts:
            issued = await accounts.create_api_key(login=login, name="test", scopes=scopes, expires_at=None)
        return issued.text


@contextmanager
def served(directory: Path, **settings: str) -> Iterator[Served]:
    """Run a server in a directory of its own while the block lasts; embedded unless the settings name a database."""
    directory.mkdir(parents=True, exist_ok=True)
    given = {**UNLIMITED, **UNDISTURBED, "data_dir": str(directory / "data"), **settings}
    if "database_url" in given:
        given = {"secret": SECRET, **given}
    with serving(directory, **given) as (process, address):
        yield Served(address=address, settings=given, process=process)


async def signed_in(client: Client, name: str = "ada", password: str = "correct horse battery") -> Account:
    """Make an account, whose name begins as given, and log it in."""
    username = f"{name}-{next(_numbers)}"
    made = await client.ok("Register", username=username, email=f"{username}@example.org", password=password)
    tokens = (await client.ok("Login", login=username, password=password)).tokens
    return Account(user=made.user, password=password, tokens=tokens, client=client.trusting(tokens.access_token))


async def administrator_of(server: Served, anyone: Client) -> Client:
    """Make an administrator and log it in."""
    name, password = f"root-{next(_numbers)}", "correct horse battery"
    async with server.accounts() as accounts:
        await accounts.create_admin(username=name, email=f"{name}@example.org", password=password)
    return anyone.trusting((await anyone.ok("Login", login=name, password=password)).tokens.access_token)


async def sign_in_administrator(anyone: Client, storage: Storage) -> Account:
    """Make an account of a server in this process an administrator's, which may call every method, and log it in."""
    made = await signed_in(anyone)
    async with storage.write() as tx:
        user = await tx.users.lock(made.user.id)
        assert user is not None
        await tx.users.replace(replace(user, role=UserRole.ADMIN))
    tokens = (await anyone.ok("Login", login=user.username, password=made.password)).tokens
    return replace(made, tokens=tokens, client=anyone.trusting(tokens.access_token))


def message(conversation_id: str, text: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of SendMessage for a text."""
    fields.setdefault("request_id", f"request-{next(_numbers)}")
    part = content_pb2.ContentPart(text=content_pb2.TextPart(text=text))
    return {"conversation_id": conversation_id, "parts": [part], **fields}


def request_of(name: str, /, **fields: Any) -> Any:
    """Return the request of a method."""
    return GetMessageClass(METHODS[name][1].input_type)(**fields)


def response_type(name: str) -> Any:
    """Return the class of a method's responses."""
    return GetMessageClass(METHODS[name][1].output_type)


def written(number: int) -> Callable[[Stream], bool]:
    """Whether a stream has so many words of answers, for ``Stream.until``."""
    return lambda stream: len(stream.text.split()) >= number


async def _answer(call: Any, responses: list[bytes]) -> Answer:
    trailing: Any = await call.trailing_metadata()
    return Answer(
        code=await call.code(), message=await call.details() or "", responses=responses, trailing=dict(trailing or ())
    )
