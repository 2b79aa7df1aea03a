"""The bytes of the run log."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.adapters.sql.log_codec import LogUnreadable, decode_batch, encode_batch
from chatter_grpc.core.models import FinishReason, Price, Role
from chatter_grpc.core.runs import events
from chatter_grpc.core.runs.events import Batch, Body, DeltaKind, Entry
from chatter_grpc.core.usage import Usage

TEXT = st.text(max_size=8)
COUNT = st.integers(0, 2**53)
USAGE = st.builds(
    Usage, input_tokens=COUNT, output_tokens=COUNT, cost_micros=st.none() | COUNT, estimated=st.booleans()
)
STORED = st.lists(st.builds(events.StoredMessage, TEXT, TEXT), max_size=2).map(tuple)
BODIES: dict[type[Body], st.SearchStrategy[Body]] = {
    events.Deltas: st.builds(
        events.Deltas, st.sampled_from(DeltaKind), TEXT, st.lists(TEXT, min_size=1, max_size=4).map(tuple)
    ),
    events.RunStarted: st.builds(events.RunStarted, TEXT, TEXT, TEXT),
    events.AttemptStarted: st.builds(events.AttemptStarted),
    events.NodeStarted: st.builds(events.NodeStarted, TEXT, TEXT),
    events.NodeFinished: st.builds(events.NodeFinished, TEXT),
    events.MessageStarted: st.builds(
        events.MessageStarted,
        TEXT,
        st.sampled_from(Role),
        TEXT,
        TEXT,
        COUNT,
        st.none() | st.builds(Price, input_micros=COUNT, output_micros=COUNT),
    ),
    events.UsageReported: st.builds(events.UsageReported, TEXT, TEXT, USAGE),
    events.MessageDiscarded: st.builds(events.MessageDiscarded, TEXT),
    events.MessageFinished: st.builds(
        events.MessageFinished, TEXT, TEXT, st.sampled_from(FinishReason), USAGE, st.integers(0, 2**40)
    ),
    events.RunCompleted: st.builds(events.RunCompleted, STORED, USAGE),
    events.RunFailed: st.builds(events.RunFailed, TEXT, TEXT, STORED, USAGE),
    events.RunCancelled: st.builds(events.RunCancelled, STORED, USAGE),
}
DRAWN = st.lists(st.tuples(st.one_of(*BODIES.values()), TEXT, st.integers(0, 2**51)), min_size=1, max_size=6)


def batch_of(drawn: list[tuple[Body, str, int]], first_seq: int = 1, attempt: int = 1) -> Batch:
    entries: list[Entry] = []
    for body, step_id, time_us in drawn:
        seq = entries[-1].seq + 1 if entries else first_seq
        entries.append(Entry(seq, attempt, step_id, time_us, body))
    return Batch("run_1", attempt, tuple(entries))


def test_every_event_of_the_core_can_be_drawn() -> None:
    assert set(BODIES) == set(Body.__args__)


@given(drawn=DRAWN, first_seq=st.integers(1, 2**40), attempt=st.integers(1, 9))
def test_a_batch_comes_back_as_it_was_written(drawn: list[tuple[Body, str, int]], first_seq: int, attempt: int) -> None:
    batch = batch_of(drawn, first_seq, attempt)
    assert decode_batch(encode_batch(batch), attempt, first_seq) == batch.entries


@given(drawn=DRAWN)
def test_equal_batches_are_equal_bytes(drawn: list[tuple[Body, str, int]]) -> None:
    assert encode_batch(batch_of(drawn)) == encode_batch(batch_of(drawn))


COUNTED = Usage(input_tokens=1, output_tokens=2, cost_micros=3)
ESTIMATED = Usage(input_tokens=1, output_tokens=2, cost_micros=None, estimated=True)
# As the first release wrote them, at time 5 in step 1.1. They may be added to and never change: logs hold them.
KNOWN: dict[str, Body] = {
    "019205919300a3312e319401c2a16d92a26865a26c6f": events.Deltas(DeltaKind.TEXT, "m", ("he", "lo")),
    "019205919300a3312e319401c3a16d91a2686d": events.Deltas(DeltaKind.REASONING, "m", ("hm",)),
    "019205919300a3312e319402a172a163a16d": events.RunStarted("r", "c", "m"),
    "019205919300a3312e319103": events.AttemptStarted(),
    "019205919300a3312e319304a16ea56d6f64656c": events.NodeStarted("n", "model"),
    "019205919300a3312e319205a16e": events.NodeFinished("n"),
    "019205919300a3312e319506a16da9617373697374616e74a3702f6da170": events.MessageStarted(
        "m", Role.ASSISTANT, "p/m", "p"
    ),
    # With an estimate of what the model was sent, and its price.
    "019205919300a3312e319706a16da9617373697374616e74a3702f6da17007920102": events.MessageStarted(
        "m", Role.ASSISTANT, "p/m", "p", 7, Price(input_micros=1, output_micros=2)
    ),
    "019205919300a3312e319407a16da3702f6d94010203c2": events.UsageReported("m", "p/m", COUNTED),
    "019205919300a3312e319208a16d": events.MessageDiscarded("m"),
    "019205919300a3312e319609a16da26162a473746f70940102c0c307": events.MessageFinished(
        "m", "ab", FinishReason.STOP, ESTIMATED, 7
    ),
    "019205919300a3312e31930a9192a16da2616294010203c2": events.RunCompleted(
        (events.StoredMessage("m", "ab"),), COUNTED
    ),
    "019205919300a3312e31950ba8494e5445524e414ca949742062726f6b652e90940102c0c3": events.RunFailed(
        "INTERNAL", "It broke.", (), ESTIMATED
    ),
    "019205919300a3312e31930c9094010203c2": events.RunCancelled((), COUNTED),
}


@pytest.mark.parametrize("known", KNOWN)
def test_what_was_written_once_is_read_for_ever(known: str) -> None:
    assert decode_batch(bytes.fromhex(known), 1, 1) == (Entry(1, 1, "1.1", 5, KNOWN[known]),)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x92\x00\x90", b"\xff"])
def test_another_version_is_named_in_the_error(data: bytes) -> None:
    with pytest.raises(LogUnreadable, match="version"):
        decode_batch(data, 1, 1)


@given(drawn=DRAWN, cut=st.integers(1, 50))
def test_bytes_that_were_cut_off_are_refused(drawn: list[tuple[Body, str, int]], cut: int) -> None:
    data = encode_batch(batch_of(drawn))
    with pytest.raises(LogUnreadable):
        decode_batch(data[: max(1, len(data) - cut)], 1, 1)


@given(st.binary(max_size=40))
def test_other_bytes_are_read_or_refused_and_never_break_anything(data: bytes) -> None:
    with suppress(LogUnreadable):
        decode_batch(b"\x01" + data, 1, 1)


def test_an_event_that_a_later_version_added_is_refused() -> None:
    data = bytearray(encode_batch(batch_of([(events.AttemptStarted(), "", 0)])))
    assert data[-1] == 3
    data[-1] = 99
    with pytest.raises(LogUnreadable):
        decode_batch(bytes(data), 1, 1)


def test_fields_that_a_later_version_added_at_the_end_are_passed_over() -> None:
    data = encode_batch(batch_of([(events.NodeFinished("n"), "", 0)]))
    longer = data.replace(b"\x92\x05\xa1n", b"\x93\x05\xa1n\xa1x")
    assert longer != data
    assert decode_batch(longer, 1, 1)[0].body == events.NodeFinished("n")
