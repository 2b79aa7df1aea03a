"""However a run is written, lost, taken over, ended and compacted: whoever follows it by cursors comes to the same."""

from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.core.runs import compaction, reader
from tests.support.following import amounts, folded
from tests.support.journeys import SERVERS, World
from tests.support.random_logs import ENDS, KINDS
from tests.support.waiting import run_alone

FOLLOWER = st.integers(0, 5)
SERVER = st.integers(0, SERVERS - 1)
FOLLOWING = (
    st.tuples(st.just("look at"), st.sampled_from([(0, 1), (0, 1, 2, 3, 4, 5)])),
    st.tuples(st.just("look"), FOLLOWER),
    st.tuples(st.just("go"), FOLLOWER, SERVER),
)
WRITING = st.tuples(
    st.just("write"),
    st.sampled_from([kind for kind in KINDS if kind != "attempt"]),
    st.integers(0, 5),
    st.text(min_size=1, max_size=12),
)
AT_WORK = st.one_of(
    WRITING,
    WRITING,
    WRITING,
    st.tuples(st.just("commit")),
    st.tuples(st.just("lose"), st.integers(0, SERVERS - 2)),
    st.tuples(st.just("notice"), SERVER),
    *FOLLOWING,
)
BEFORE = st.one_of(st.lists(AT_WORK, max_size=15), st.lists(AT_WORK, min_size=20, max_size=70))
AFTERWARDS = st.one_of(*FOLLOWING, st.tuples(st.just("forget"), SERVER), st.tuples(st.just("notice"), SERVER))


async def act(world: World, action: tuple[Any, ...]) -> None:
    match action:
        case ("write", kind, place, text):
            world.maker.apply((kind, place, text))
        case ("commit",):
            await world.commit()
        case ("lose", server):
            await world.lose(server)
        case ("notice", server):
            await world.notice(server)
        case ("look", number):
            await world.followers[number].look()
        case ("look at", numbers):
            for number in numbers:
                await world.followers[number].look()
        case ("go", number, server):
            await world.followers[number].go(server)
        case ("forget", server):
            await world.forget(server)


async def play(
    before: list[Any], end: str, between: list[Any], after: list[Any], *, kept: int, compacted: bool
) -> World:
    world = World(kept)
    for action in before:
        await act(world, action)
    await world.conclude(end)
    for action in between:
        await act(world, action)
    if compacted:
        world.log.compact("run")
    for action in after:
        await act(world, action)
    for server in range(SERVERS):
        await world.notice(server)
    await world.read_to_end()
    return world


@settings(deadline=None)
@given(
    before=BEFORE,
    end=st.sampled_from(ENDS),
    between=st.lists(AFTERWARDS, max_size=12),
    after=st.lists(AFTERWARDS, max_size=12),
    kept=st.sampled_from([0, 150, 100_000]),
    compacted=st.booleans(),
    frame_size=st.sampled_from([1, 90, reader.FRAME_SIZE]),
    piece_size=st.sampled_from([1, 5, compaction.PIECE_SIZE]),
)
def test_everybody_comes_to_what_the_log_amounts_to(
    before: list[Any],
    end: str,
    between: list[Any],
    after: list[Any],
    kept: int,
    compacted: bool,
    frame_size: int,
    piece_size: int,
) -> None:
    with patch.object(reader, "FRAME_SIZE", frame_size), patch.object(compaction, "PIECE_SIZE", piece_size):
        world = run_alone(play(before, end, between, after, kept=kept, compacted=compacted))
    expected = amounts(folded(world.log.entries("run")))
    for follower in world.followers:
        assert amounts(follower.state) == expected
