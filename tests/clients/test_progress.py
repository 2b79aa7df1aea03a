"""What a stream does next, decision by decision."""

from typing import Any

import grpc
import pytest

from chatter_client import ChatterError, CursorExpired, Fold, GaveUp, IntegrityError, Place, Resumption, Unauthenticated
from chatter_client.contract import chat_service_pb2, run_event_pb2, run_service_pb2
from chatter_client.progress import Progress

REQUEST = chat_service_pb2.SendMessageRequest(request_id="one", conversation_id="conv_1")
CUT = ChatterError("cut", code=grpc.StatusCode.UNAVAILABLE)


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def begun(clock: Hand | None = None, **given: Any) -> Progress:
    place = Place(run_id="", cursor="", fold=Fold(), request=REQUEST)
    return Progress(place, Resumption(**given), clock=clock or Hand(), chance=lambda: 0.0)


def first_frame() -> chat_service_pb2.SendMessageResponse:
    started = run_event_pb2.RunStarted(run_id="run_1", conversation_id="conv_1")
    event = run_event_pb2.RunEvent(first_seq=1, seq=1, attempt=1, run_started=started)
    return chat_service_pb2.SendMessageResponse(cursor="c1", events=[event])


def control(**kind: Any) -> run_service_pb2.WatchRunResponse:
    return run_service_pb2.WatchRunResponse(cursor="c2", control=run_event_pb2.StreamControl(**kind))


def refused(reason: str, code: grpc.StatusCode, **given: Any) -> ChatterError:
    return ChatterError("refused", reason=reason, code=code, **given)


def test_the_same_request_is_repeated_until_the_run_is_known() -> None:
    progress = begun()
    progress.pause(CUT)
    assert progress.request() is REQUEST


def test_a_run_that_is_known_is_watched_from_the_last_cursor() -> None:
    progress = begun()
    progress.take(first_frame())
    progress.pause(CUT)
    assert progress.request() == run_service_pb2.WatchRunRequest(run_id="run_1", cursor="c1")


def test_pauses_double_up_to_the_longest() -> None:
    progress = begun(first_pause=0.1, longest_pause=0.5)
    assert [round(progress.pause(CUT), 3) for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_pauses_begin_anew_where_the_run_was_heard_of() -> None:
    progress = begun(first_pause=0.1)
    progress.pause(CUT)
    progress.pause(CUT)
    progress.take(first_frame())
    assert progress.pause(CUT) == pytest.approx(0.1)


def test_controls_alone_are_no_news_of_the_run() -> None:
    clock = Hand()
    progress = begun(clock, give_up_after=60)
    progress.take(first_frame())
    for _ in range(6):
        clock.now += 10
        progress.take(control(caught_up=run_event_pb2.CaughtUp()))
    with pytest.raises(GaveUp):
        progress.pause(CUT)


def test_a_heartbeat_says_that_the_run_is_alive() -> None:
    clock = Hand()
    progress = begun(clock, give_up_after=60)
    for _ in range(6):
        clock.now += 15
        progress.take(control(heartbeat=run_event_pb2.Heartbeat()))
    progress.pause(CUT)


def test_a_hand_off_is_followed_at_once_but_not_for_ever() -> None:
    progress = begun(first_pause=0.1)
    progress.take(first_frame())
    progress.take(control(hand_off=run_event_pb2.HandOff()))
    assert progress.pause(None) == 0.0
    progress.take(control(hand_off=run_event_pb2.HandOff()))
    assert progress.pause(None) > 0.0


def test_expired_credentials_have_been_renewed_by_then() -> None:
    assert begun().pause(refused("TOKEN_EXPIRED", grpc.StatusCode.UNAUTHENTICATED)) == 0.0


def test_a_server_that_says_when_to_come_back_is_obeyed() -> None:
    error = refused("RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=7.0)
    assert begun(give_up_after=60).pause(error) == 7.0


def test_a_wait_beyond_all_patience_is_an_error_at_once() -> None:
    error = refused("RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=7200.0)
    with pytest.raises(ChatterError) as caught:
        begun(give_up_after=60).pause(error)
    assert caught.value is error


def test_it_gives_up_with_the_place_to_go_on_from() -> None:
    clock = Hand()
    progress = begun(clock, give_up_after=60)
    progress.take(first_frame())
    clock.now += 61
    with pytest.raises(GaveUp) as caught:
        progress.pause(CUT)
    assert caught.value.cause is CUT
    assert caught.value.place == Place(run_id="run_1", cursor="c1", fold=progress.fold, request=REQUEST)


def test_the_time_that_a_reader_takes_is_not_held_against_the_run() -> None:
    clock = Hand()
    progress = begun(clock, give_up_after=60)
    progress.take(first_frame())
    clock.now += 3600
    assert progress.patience() == Resumption().silence
    assert progress.pause(CUT) > 0


def test_a_run_that_is_silent_is_waited_for_as_long_as_there_is_patience() -> None:
    clock = Hand()
    progress = begun(clock, give_up_after=60, silence=45)
    assert progress.patience() == 45
    clock.now += 40
    assert progress.patience() == pytest.approx(20)
    clock.now += 40
    assert progress.patience() == 1.0


def test_there_is_a_try_just_before_it_gives_up() -> None:
    clock = Hand()
    progress = begun(clock, give_up_after=60, first_pause=50, longest_pause=50)
    clock.now += 40
    assert progress.pause(CUT) == pytest.approx(20)


@pytest.mark.parametrize(
    "error",
    [
        refused("CONVERSATION_NOT_FOUND", grpc.StatusCode.NOT_FOUND),
        refused("CONVERSATION_BUSY", grpc.StatusCode.FAILED_PRECONDITION),
        refused("INTERNAL", grpc.StatusCode.INTERNAL),
        refused("A_REASON_OF_TOMORROW", grpc.StatusCode.PERMISSION_DENIED),
        Unauthenticated(reason="SESSION_REVOKED", code=grpc.StatusCode.UNAUTHENTICATED),
        ChatterError(code=grpc.StatusCode.UNIMPLEMENTED),
    ],
    ids=lambda error: error.reason or error.code.name,
)
def test_what_another_call_would_not_mend_is_raised(error: ChatterError) -> None:
    with pytest.raises(ChatterError) as caught:
        begun().pause(error)
    assert caught.value is error
    assert caught.value.place is not None


@pytest.mark.parametrize(
    "error",
    [
        CUT,
        ChatterError(code=grpc.StatusCode.INTERNAL),
        ChatterError(code=grpc.StatusCode.CANCELLED),
        refused("STORAGE_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE),
        refused("A_REASON_OF_TOMORROW", grpc.StatusCode.UNAVAILABLE),
    ],
    ids=lambda error: error.reason or error.code.name,
)
def test_what_may_pass_is_waited_for(error: ChatterError) -> None:
    assert begun().pause(error) > 0


def test_a_run_that_was_purged_ends_the_stream_with_what_was_read_of_it() -> None:
    progress = begun()
    progress.take(first_frame())
    with pytest.raises(CursorExpired) as caught:
        progress.pause(CursorExpired(reason="CURSOR_EXPIRED", code=grpc.StatusCode.OUT_OF_RANGE))
    assert caught.value.place is not None
    assert caught.value.place.fold.run_id == "run_1"


def test_a_snapshot_begins_the_fold_anew_and_is_gone_on_from() -> None:
    progress = begun()
    progress.take(first_frame())
    assert list(progress.take(control(snapshot=run_event_pb2.Snapshot(seq=7)))) == []
    assert progress.fold == Fold(snapshot=7)
    assert progress.request() == run_service_pb2.WatchRunRequest(run_id="run_1", cursor="c2")
    assert [event.seq for event in progress.take(first_frame())] == [1]
    assert progress.fold.run_id == "run_1"


def test_events_that_cannot_be_trusted_end_the_stream_with_the_place_before_them() -> None:
    progress = begun()
    progress.take(first_frame())
    gap = run_event_pb2.RunEvent(first_seq=5, seq=5, attempt=1, attempt_started=run_event_pb2.AttemptStarted())
    with pytest.raises(IntegrityError) as caught:
        progress.take(run_service_pb2.WatchRunResponse(cursor="c9", events=[gap]))
    assert caught.value.place is not None
    assert caught.value.place.cursor == "c1"
