"""The synchronous client, call by call, on gRPC's channel for tests: what it sends and what it makes of answers."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import grpc
import grpc_testing
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from chatter_client import ApiKey, ChatterError, GaveUp, MemoryStore, Resumption, Session, SyncClient, Tokens
from chatter_client.contract import auth_service_pb2, chat_service_pb2, run_event_pb2, run_service_pb2, user_service_pb2
from chatter_client.credentials import Credentials
from chatter_client.interruptions import ignore

SECONDS = 10
AUTH = auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"]
CHAT = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
RUNS = run_service_pb2.DESCRIPTOR.services_by_name["RunService"]
USERS = user_service_pb2.DESCRIPTOR.services_by_name["UserService"]
OK = grpc.StatusCode.OK
FAR = 4e9


class Intercepted(grpc.Channel):
    """A channel for tests that takes what interceptors hand on and it does not know."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        return Known(self._channel.unary_unary(method))

    def unary_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        return Known(self._channel.unary_stream(method))

    def stream_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError

    def stream_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        raise NotImplementedError

    def unsubscribe(self, callback: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Known:
    """A call with the arguments that the channel for tests knows."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def with_call(self, request: Any, *, timeout: Any, metadata: Any, credentials: Any, **_: Any) -> Any:
        return self._call.with_call(request, timeout=timeout, metadata=metadata, credentials=credentials)

    def __call__(self, request: Any, *, timeout: Any, metadata: Any, credentials: Any, **_: Any) -> Any:
        return self._call(request, timeout=timeout, metadata=metadata, credentials=credentials)


class Desk:
    """Makes calls on a thread and answers them as a server would."""

    def __init__(self, credentials: Credentials | None, **resumption: float) -> None:
        self.channel = grpc_testing.channel([AUTH, CHAT, RUNS, USERS], grpc_testing.strict_real_time())
        self.client = SyncClient(
            Intercepted(self.channel), credentials=credentials, resumption=Resumption(**resumption), listener=ignore
        )
        self._threads = ThreadPoolExecutor(max_workers=2)

    def do(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Begin to work on a thread."""
        return self._threads.submit(work, *arguments)

    def answer(self, service: Any, method: str, response: Any, failure: tuple[Any, ...] = ()) -> tuple[Any, Any]:
        """Answer the next unary call; return its metadata and request."""
        metadata, request, rpc = self._take(self.channel.take_unary_unary, service, method)
        code, trailing, details = failure or (OK, (), "")
        rpc.terminate(response, trailing, code, details)
        # The channel adds something of its own, to show that gRPC may.
        carried = {key: value for key, value in metadata or () if not key.startswith("grpc.")}
        return carried, request

    def stream(self, service: Any, method: str) -> tuple[Any, Any]:
        """Take the next stream; return its request and what it is answered by."""
        metadata, request, rpc = self._take(self.channel.take_unary_stream, service, method)
        assert dict(metadata or ()).get("authorization") == "Bearer key"
        rpc.send_initial_metadata(())
        return request, rpc

    def _take(self, take: Callable[[Any], Any], service: Any, method: str) -> Any:
        """Wait for a call; the channel itself would wait for ever."""
        taken: list[Any] = []
        thread = threading.Thread(target=lambda: taken.append(take(service.methods_by_name[method])), daemon=True)
        thread.start()
        thread.join(SECONDS)
        assert taken, f"nobody calls {method}"
        return taken[0]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def desks() -> Iterator[list[Desk]]:
    made: list[Desk] = []
    yield made
    for desk in made:
        desk.close()


def opened(desks: list[Desk], credentials: Credentials | None, **resumption: float) -> Desk:
    desks.append(Desk(credentials, **resumption))
    return desks[-1]


def failure(reason: str, code: grpc.StatusCode) -> tuple[Any, ...]:
    """The status of a refusal, as a server sends it."""
    status = status_pb2.Status(code=code.value[0], message="No.")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="chatter", metadata={"k": "v"}))
    status.details.add().Pack(error_details_pb2.RequestInfo(request_id="call_1"))
    packed: Any = rpc_status.to_status(status)
    return code, packed.trailing_metadata, "No."


def frame(number: int, kind: Any = chat_service_pb2.SendMessageResponse, **body: Any) -> Any:
    event = run_event_pb2.RunEvent(first_seq=number, seq=number, attempt=1, **body)
    return kind(cursor=f"c{number}", events=[event])


STARTED = {"run_started": run_event_pb2.RunStarted(run_id="run_1", conversation_id="conv_1")}
COMPLETED = {"completed": run_event_pb2.RunCompleted()}


def test_calls_carry_the_key_and_its_subject(desks: list[Desk]) -> None:
    desk = opened(desks, ApiKey(key="key", subject="end-user-7"))
    asked = desk.do(desk.client.users.GetMe, user_service_pb2.GetMeRequest())
    metadata, _ = desk.answer(USERS, "GetMe", user_service_pb2.GetMeResponse())
    assert metadata == {"authorization": "Bearer key", "x-chatter-subject": "end-user-7"}
    assert asked.result(SECONDS) == user_service_pb2.GetMeResponse()


def test_public_methods_carry_nothing(desks: list[Desk]) -> None:
    desk = opened(desks, ApiKey(key="key"))
    asked = desk.do(desk.client.auth.Login, auth_service_pb2.LoginRequest(login="ada"))
    metadata, _ = desk.answer(AUTH, "Login", auth_service_pb2.LoginResponse())
    assert metadata == {}
    asked.result(SECONDS)


def test_a_refusal_is_an_error_with_all_that_the_server_told(desks: list[Desk]) -> None:
    desk = opened(desks, ApiKey(key="key"))
    asked = desk.do(desk.client.users.GetMe, user_service_pb2.GetMeRequest())
    refusal = failure("A_REASON_OF_TOMORROW", grpc.StatusCode.PERMISSION_DENIED)
    desk.answer(USERS, "GetMe", user_service_pb2.GetMeResponse(), refusal)
    with pytest.raises(ChatterError) as caught:
        asked.result(SECONDS)
    error = caught.value
    assert (error.reason, error.code) == ("A_REASON_OF_TOMORROW", grpc.StatusCode.PERMISSION_DENIED)
    assert (error.metadata, error.call_id, error.message) == ({"k": "v"}, "call_1", "No.")


def test_an_expired_token_is_renewed_and_the_call_repeated(desks: list[Desk]) -> None:
    tokens = Tokens(access_token="old", refresh_token="r1", access_expires_at=FAR, refresh_expires_at=FAR)
    store = MemoryStore(tokens)
    desk = opened(desks, Session(store=store))
    asked = desk.do(desk.client.users.GetMe, user_service_pb2.GetMeRequest())
    expired = failure("TOKEN_EXPIRED", grpc.StatusCode.UNAUTHENTICATED)
    metadata, _ = desk.answer(USERS, "GetMe", user_service_pb2.GetMeResponse(), expired)
    assert metadata["authorization"] == "Bearer old"
    pair = auth_service_pb2.TokenPair(access_token="new", refresh_token="r2")
    pair.access_expire_time.FromSeconds(int(FAR))
    _, request = desk.answer(AUTH, "Refresh", auth_service_pb2.RefreshResponse(tokens=pair))
    assert request.refresh_token == "r1"
    metadata, _ = desk.answer(USERS, "GetMe", user_service_pb2.GetMeResponse())
    assert metadata["authorization"] == "Bearer new"
    asked.result(SECONDS)
    kept = store.load()
    assert kept is not None
    assert (kept.access_token, kept.refresh_token) == ("new", "r2")


def test_a_call_is_repeated_once_and_no_more(desks: list[Desk]) -> None:
    desk = opened(desks, ApiKey(key="key"))
    asked = desk.do(desk.client.users.GetMe, user_service_pb2.GetMeRequest())
    expired = failure("TOKEN_EXPIRED", grpc.StatusCode.UNAUTHENTICATED)
    desk.answer(USERS, "GetMe", user_service_pb2.GetMeResponse(), expired)
    with pytest.raises(ChatterError, match="TOKEN_EXPIRED"):
        asked.result(SECONDS)


def test_a_broken_stream_goes_on_from_its_cursor(desks: list[Desk]) -> None:
    desk = opened(desks, ApiKey(key="key"), first_pause=0.0)
    stream = desk.client.send("conv_1", "Hello", request_id="one")
    read = desk.do(stream.read_to_end)
    request, rpc = desk.stream(CHAT, "SendMessage")
    assert (request.request_id, request.conversation_id) == ("one", "conv_1")
    rpc.send_response(frame(1, **STARTED))
    give_up_at = time.monotonic() + SECONDS
    while not stream.run_id:
        # The channel for tests drops what was not read before a failure.
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "cut")
    request, rpc = desk.stream(RUNS, "WatchRun")
    assert (request.run_id, request.cursor) == ("run_1", "c1")
    rpc.send_response(frame(2, run_service_pb2.WatchRunResponse, **COMPLETED))
    rpc.terminate((), OK, "")
    fold = read.result(SECONDS)
    assert fold.end.WhichOneof("event") == "completed"
    assert stream.breaks == 1


def test_a_start_without_an_answer_is_repeated_with_its_request_id(desks: list[Desk]) -> None:
    desk = opened(desks, ApiKey(key="key"), first_pause=0.0)
    read = desk.do(desk.client.send("conv_1", "Hello").read_to_end)
    first, rpc = desk.stream(CHAT, "SendMessage")
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "cut")
    second, rpc = desk.stream(CHAT, "SendMessage")
    assert first == second
    assert len(first.request_id) == 36
    rpc.send_response(frame(1, **STARTED))
    rpc.send_response(frame(2, **COMPLETED))
    rpc.terminate((), OK, "")
    read.result(SECONDS)


def test_a_stream_that_says_nothing_is_given_up(desks: list[Desk]) -> None:
    desk = opened(desks, ApiKey(key="key"), first_pause=0.0, give_up_after=0.05)
    read = desk.do(desk.client.watch("run_1").read_to_end)
    _, rpc = desk.stream(RUNS, "WatchRun")
    with pytest.raises(GaveUp) as caught:
        # Nobody answers: the call is ended for its silence, and there is no time left for another one.
        read.result(SECONDS)
    assert caught.value.place is not None
    assert caught.value.place.run_id == "run_1"
    assert isinstance(caught.value.cause, ChatterError)
    assert rpc.cancelled() is None
