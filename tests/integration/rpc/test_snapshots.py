"""Readers of logs that were compacted, and of runs that were purged, as clients meet them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from chatter_client import Fold, fold
from chatter_grpc._gen.chatter.v1 import chat_service_pb2 as chat
from chatter_grpc._gen.chatter.v1 import run_service_pb2 as pb
from chatter_grpc.adapters.models.scripted import ScriptedChat
from chatter_grpc.core.housekeeping.duties import Duty
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.compaction import compact_log
from chatter_grpc.core.storage import Storage
from tests.support.edge import CHAT, Account, Answer, Edge, EdgeOptions
from tests.support.following import amounts
from tests.support.housekeeping import sweep
from tests.support.served import message, request_of
from tests.support.waiting import soon, until

RUNS = "/chatter.v1.RunService"
WORDS = [f"word {number} " for number in range(40)]


@pytest.fixture
def options() -> EdgeOptions:
    pieces = [TextPiece(word) for word in WORDS]
    return EdgeOptions(model=ScriptedChat([*pieces, Finished(FinishReason.STOP)]))


@pytest.fixture
async def run_id(edge: Edge, account: Account, conversation_id: str) -> str:
    """A run that was completed."""
    answer = await edge.send(account.metadata, conversation_id, "Hello", "one")
    assert answer.code is grpc.StatusCode.OK, answer.message
    frames = [chat.SendMessageResponse.FromString(data) for data in answer.responses]
    return frames[0].events[0].run_started.run_id


async def compacted(storage: Storage, run_id: str) -> None:
    async with storage.write() as tx:
        assert await compact_log(tx, run_id) is not None


async def watch(edge: Edge, account: Account, run_id: str, cursor: str = "") -> list[Any]:
    """Return the frames of a stream to its end."""
    answer = await edge.call(f"{RUNS}/WatchRun", pb.WatchRunRequest(run_id=run_id, cursor=cursor), account.metadata)
    assert answer.code is grpc.StatusCode.OK, answer.message
    return [pb.WatchRunResponse.FromString(data) for data in answer.responses]


async def page(edge: Edge, account: Account, run_id: str, cursor: str = "", size: int = 0) -> Any:
    request = pb.ListRunEventsRequest(run_id=run_id, cursor=cursor, page_size=size)
    answer = await edge.call(f"{RUNS}/ListRunEvents", request, account.metadata)
    assert answer.code is grpc.StatusCode.OK, answer.message
    return pb.ListRunEventsResponse.FromString(answer.responses[0])


def folded(frames: Sequence[Any], state: Fold | None = None) -> Fold:
    state = state or Fold()
    for frame in frames:
        state = fold(state, frame)
    return state


def controls(frames: Sequence[Any]) -> list[str]:
    return [frame.control.WhichOneof("control") for frame in frames if frame.HasField("control")]


async def test_a_compacted_run_is_sent_as_a_snapshot_that_amounts_to_the_same(
    edge: Edge, account: Account, run_id: str, storage: Storage
) -> None:
    before = await watch(edge, account, run_id)
    await compacted(storage, run_id)
    frames = await watch(edge, account, run_id)
    assert controls(frames) == ["snapshot", "caught_up"]
    assert (list(frames[0].events), frames[0].control.snapshot.seq) == ([], folded(before).seq - 1)
    assert amounts(folded(frames)) == amounts(folded(before))
    assert folded(frames).text == "".join(WORDS)


async def test_a_reader_from_any_place_before_comes_to_the_same(
    edge: Edge, account: Account, run_id: str, storage: Storage
) -> None:
    places: list[tuple[Fold, str]] = []
    state, cursor = Fold(), ""
    while state.end is None:
        taken = await page(edge, account, run_id, cursor, 1)
        state, cursor = fold(state, taken), taken.cursor
        places.append((state, cursor))
    await compacted(storage, run_id)
    assert len(places) > 5
    for before, after in places[:-2]:
        frames = await watch(edge, account, run_id, after)
        assert controls(frames) == ["snapshot", "caught_up"]
        assert amounts(folded(frames, before)) == amounts(state)
    for before, after in places[-2:]:
        frames = await watch(edge, account, run_id, after)
        assert controls(frames) == ["caught_up"], "who has all of what was compacted needs no snapshot"
        assert amounts(folded(frames, before)) == amounts(state)


@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_pages_of_a_snapshot_come_to_an_end(
    edge: Edge, account: Account, run_id: str, storage: Storage, size: int
) -> None:
    whole = folded(await watch(edge, account, run_id))
    await compacted(storage, run_id)
    first = await page(edge, account, run_id, "", size)
    assert (first.control.WhichOneof("control"), list(first.events), first.finished) == ("snapshot", [], False)
    pages = [first]
    while not pages[-1].finished:
        pages.append(await page(edge, account, run_id, pages[-1].cursor, size))
        assert 0 < len(pages[-1].events) <= size
        assert len(pages) < 20
    assert controls(pages) == ["snapshot"]
    assert amounts(folded(pages)) == amounts(whole)
    assert (await page(edge, account, run_id, pages[-1].cursor)).finished


async def test_a_snapshot_that_was_cut_is_read_on_from_the_middle(
    edge: Edge, account: Account, run_id: str, storage: Storage
) -> None:
    whole = folded(await watch(edge, account, run_id))
    await compacted(storage, run_id)
    begun = [await page(edge, account, run_id)]
    begun.append(await page(edge, account, run_id, begun[-1].cursor, 3))
    rest = await watch(edge, account, run_id, begun[-1].cursor)
    assert controls(rest) == ["caught_up"]
    assert amounts(folded([*begun, *rest])) == amounts(whole)


async def test_a_repeated_start_is_sent_the_snapshot(
    edge: Edge, account: Account, conversation_id: str, run_id: str, storage: Storage
) -> None:
    whole = folded(await watch(edge, account, run_id))
    await compacted(storage, run_id)
    answer = await edge.send(account.metadata, conversation_id, "Hello", "one")
    frames = [chat.SendMessageResponse.FromString(data) for data in answer.responses]
    assert controls(frames) == ["snapshot", "caught_up"]
    assert amounts(folded(frames)) == amounts(whole)


async def refused(edge: Edge, account: Account, run_id: str, cursor: str) -> list[tuple[grpc.StatusCode, str]]:
    """Return how both methods refuse a cursor."""
    answers: list[Answer] = []
    for method, request in (
        ("WatchRun", pb.WatchRunRequest(run_id=run_id, cursor=cursor)),
        ("ListRunEvents", pb.ListRunEventsRequest(run_id=run_id, cursor=cursor)),
    ):
        answers.append(await edge.call(f"{RUNS}/{method}", request, account.metadata))
    return [(answer.code, answer.reason) for answer in answers]


INVALID = [(grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID")] * 2
EXPIRED = [(grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")] * 2
ABSENT = [(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")] * 2


@pytest.mark.parametrize("snapshot", [False, True], ids=["as written", "compacted"])
async def test_of_a_purged_run_a_cursor_is_expired_and_nothing_else_is_known(
    edge: Edge, account: Account, conversation_id: str, run_id: str, storage: Storage, snapshot: bool
) -> None:
    if snapshot:
        await compacted(storage, run_id)
    cursors = [frame.cursor for frame in await watch(edge, account, run_id)]
    other = await edge.sign_in("bob")
    await edge.call(
        f"{CHAT}/DeleteConversation",
        chat.DeleteConversationRequest(conversation_id=conversation_id),
        account.metadata,
    )
    await sweep(storage, datetime.now(UTC) + timedelta(days=400), Duty.CONVERSATIONS)
    for cursor in cursors:
        assert await refused(edge, account, run_id, cursor) == EXPIRED
        assert await refused(edge, other, run_id, cursor) == INVALID, "to others there never was such a run"
        assert await refused(edge, account, "run_of_nobody", cursor) == INVALID
    assert await refused(edge, account, run_id, "") == ABSENT
    assert await refused(edge, account, run_id, cursors[0][:-1]) == INVALID


async def test_cursors_that_were_not_given_out_for_this_run_and_caller_are_refused(
    edge: Edge, account: Account, run_id: str, conversation_id: str
) -> None:
    (*_, frame) = await watch(edge, account, run_id)
    other = await edge.sign_in("bob")
    assert await refused(edge, other, run_id, frame.cursor) == INVALID
    await edge.send(account.metadata, conversation_id, "Hello", "two")
    runs = await edge.call(f"{RUNS}/ListRuns", pb.ListRunsRequest(), account.metadata)
    ids = [run.id for run in pb.ListRunsResponse.FromString(runs.responses[0]).runs]
    (another,) = set(ids) - {run_id}
    assert await refused(edge, account, another, frame.cursor) == INVALID
    for cursor in (frame.cursor[:-1], frame.cursor + "A", frame.cursor[::-1], "A" * 36, "\N{SNOWMAN}" * 36, "?"):
        assert await refused(edge, account, run_id, cursor) == INVALID


# Takes no more from the network than is asked for.
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))


class TestASlowReader:
    """One that reads its first frame, and the rest when there is another log."""

    @pytest.fixture
    def options(self) -> EdgeOptions:
        """A model that writes more than what lies between a server and a client that does not read."""
        pieces = [TextPiece("x" * 20_000) for _ in range(90)]
        return EdgeOptions(model=ScriptedChat([*pieces, Finished(FinishReason.STOP)]))

    async def test_it_is_sent_a_snapshot_when_it_reads_again(
        self, edge: Edge, account: Account, conversation_id: str, storage: Storage
    ) -> None:
        request = request_of("SendMessage", **message(conversation_id, "Hello"))
        async with grpc.aio.insecure_channel(edge.address, options=NARROW) as channel:
            send: Any = channel.unary_stream(f"{CHAT}/SendMessage")
            call = send(request.SerializeToString(), metadata=tuple(account.metadata))
            await self.read_late(edge, account, storage, call)

    async def read_late(self, edge: Edge, account: Account, storage: Storage, call: Any) -> None:
        frames = [chat.SendMessageResponse.FromString(await soon(call.read()))]
        run_id = frames[0].events[0].run_started.run_id
        await until(lambda: run_id not in edge.supervisor._active)
        whole = folded(await watch(edge, account, run_id))
        await compacted(storage, run_id)
        while (data := await soon(call.read())) is not grpc.aio.EOF:
            frames.append(chat.SendMessageResponse.FromString(data))
        assert await call.code() is grpc.StatusCode.OK
        assert sorted(controls(frames)) == ["caught_up", "snapshot"]
        assert max(frame.ByteSize() for frame in frames) < 256 * 1024
        assert amounts(folded(frames)) == amounts(whole)
