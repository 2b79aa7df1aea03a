"""The client: a channel that carries credentials, the stubs on it, and the streams of runs."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from chatter_client._gen.chatter.v1.auth_service_pb2_grpc import AuthServiceStub
from chatter_client._gen.chatter.v1.chat_service_pb2_grpc import ChatServiceStub
from chatter_client._gen.chatter.v1.run_service_pb2_grpc import RunServiceStub
from chatter_client._gen.chatter.v1.system_service_pb2_grpc import SystemServiceStub
from chatter_client._gen.chatter.v1.user_service_pb2_grpc import UserServiceStub
from chatter_client.connection import OPENINGS, Tls, channel_credentials, channel_options, encryption_of
from chatter_client.contract import auth_service_pb2
from chatter_client.credentials import Credentials
from chatter_client.folding import Fold
from chatter_client.interruptions import Listener, ignore
from chatter_client.progress import Place, Progress, Resumption
from chatter_client.requests import Content, message_request
from chatter_client.sync.channels import GuardedChannel
from chatter_client.sync.interceptors import CallInterceptor
from chatter_client.sync.keepers import SessionKeeper, keeper_of
from chatter_client.sync.streams import SyncRunStream


class SyncClient:
    """Talks to one server, or to several behind one name, on any thread. Made by ``connect_sync``.

    ``auth``, ``users``, ``chat``, ``runs`` and ``system`` are the contract's services: their calls carry the
    credentials and raise ``ChatterError``.
    """

    def __init__(
        self, channel: grpc.Channel, *, credentials: Credentials | None, resumption: Resumption, listener: Listener
    ) -> None:
        """Take a channel without credentials of its own; it is closed with the client."""
        self._keeper = keeper_of(credentials)
        self._resumption = resumption
        self._listener = listener
        self._channel = GuardedChannel(channel)
        calls = grpc.intercept_channel(self._channel, CallInterceptor(self._keeper, self._channel))
        self.auth = AuthServiceStub(calls)
        self.users = UserServiceStub(calls)
        self.chat = ChatServiceStub(calls)
        self.runs = RunServiceStub(calls)
        self.system = SystemServiceStub(calls)
        if isinstance(self._keeper, SessionKeeper):
            self._keeper.attach(self.auth)

    def log_in(self, login: str, password: str) -> auth_service_pb2.LoginResponse:
        """Open a session and keep its tokens; for a client whose credentials are a ``Session``."""
        return self._session().log_in(login, password)

    def log_out(self) -> None:
        """End the session on the server, and keep no tokens."""
        self.auth.Logout(auth_service_pb2.LogoutRequest())
        self._session().forget()

    def send(self, conversation_id: str, content: Content, **fields: Any) -> SyncRunStream:
        """Send a message, and stream the run that answers it; ``fields`` are those of SendMessageRequest.

        Without a ``request_id`` one is made. Nothing is sent before the stream is read.
        """
        return self.start(message_request(conversation_id, content, **fields))

    def start(self, request: Message) -> SyncRunStream:
        """Start a run by any request whose method streams one."""
        if request.DESCRIPTOR.full_name not in OPENINGS:
            raise TypeError(f"{request.DESCRIPTOR.full_name} starts no run")
        return self.resume(Place(run_id="", cursor="", fold=Fold(), request=request))

    def watch(self, run_id: str, cursor: str = "") -> SyncRunStream:
        """Stream a run from its beginning, or behind a cursor; messages that began before it are not folded."""
        return self.resume(Place(run_id=run_id, cursor=cursor, fold=Fold(partial=bool(cursor))))

    def resume(self, place: Place) -> SyncRunStream:
        """Go on where a stream came to."""
        return SyncRunStream(Progress(place, self._resumption), self._open, self.runs.CancelRun, self._listener)

    def close(self) -> None:
        """Close the channel; whoever is reading a stream is told so by ``ClientClosed``."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, request: Message) -> Any:
        service, method = OPENINGS[request.DESCRIPTOR.full_name]
        stub = {"ChatService": self.chat, "RunService": self.runs}[service]
        return getattr(stub, method)(request)

    def _session(self) -> SessionKeeper:
        if not isinstance(self._keeper, SessionKeeper):
            raise TypeError("connect with a Session to log in or out")
        return self._keeper


def connect_sync(
    target: str,
    *,
    credentials: Credentials | None = None,
    tls: Tls | bool | None = None,
    options: Sequence[tuple[str, Any]] = (),
    resumption: Resumption | None = None,
    listener: Listener = ignore,
) -> SyncClient:
    """Return a client of the server at ``host:port`` (or any name that gRPC resolves); nothing is sent yet.

    What leaves this machine is encrypted, unless ``tls`` is ``False``. ``options`` are gRPC's own, and go before those
    of the client. ``listener`` hears of streams that broke and go on.
    """
    encryption = encryption_of(target, tls)
    given = channel_options(encryption, options)
    if encryption is None:
        channel = grpc.insecure_channel(target, options=given)
    else:
        channel = grpc.secure_channel(target, channel_credentials(encryption), options=given)
    return SyncClient(channel, credentials=credentials, resumption=resumption or Resumption(), listener=listener)
