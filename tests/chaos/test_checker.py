"""The checker says what is wrong, and nothing of what is well: a check that cannot fail shows nothing."""

import time
from dataclasses import replace

import pytest

from chatter_grpc.core.runs.events import AttemptStarted, Body, Entry, NodeFinished, NodeStarted, RunStarted
from tests.chaos.checker import Evidence, judge
from tests.chaos.disasters import Happened, Kind
from tests.chaos.plans import ChaosPlan
from tests.chaos.provider import ChaosCall
from tests.chaos.readers import Seen
from tests.chaos.rows import LoggedBatch, StoredRun
from tests.support.standin import Connection

NOW, BASE = time.time(), time.monotonic()
TEXT = "one two six "
MESSAGES = {"msg_1": TEXT}
SEEN = Seen(
    reader="client",
    run_id="run_1",
    messages=MESSAGES,
    end="completed",
    output_tokens=3,
    estimated=False,
    attempt=1,
    breaks=0,
)


def batch(first_seq: int, *bodies: Body, attempt: int = 1, at: float = 0.0) -> LoggedBatch:
    time_us = round((NOW + at) * 1e6)
    entries = tuple(Entry(first_seq + n, attempt, "1.1", time_us, body) for n, body in enumerate(bodies))
    return LoggedBatch(attempt=attempt, first_seq=first_seq, last_seq=first_seq + len(bodies) - 1, entries=entries)


LOG = (
    batch(1, RunStarted("run_1", "conv_1", "msg_0"), AttemptStarted()),
    batch(3, NodeStarted("solo", "model"), NodeFinished("solo"), at=1.0),
)
RUN = StoredRun(
    id="run_1",
    conversation_id="conv_1",
    state="completed",
    attempt=1,
    last_seq=4,
    failure_reason="",
    losses=0,
    log=LOG,
)


def call(pieces: tuple[str, ...] = ("one ", "two ", "six "), *, complete: bool = True) -> ChaosCall:
    """A call that sent a token every tenth of a second from its beginning."""
    sent_at = [(BASE + number / 10, number) for number in range(1, len(pieces) + 1)]
    return ChaosCall(
        {},
        ChaosPlan(),
        Connection(BASE),
        started_at=BASE,
        sent=list(pieces),
        complete=complete,
        branch="solo",
        sent_at=sent_at,
    )


def evidence() -> Evidence:
    return Evidence(
        tag="calm/1/1/1",
        graph="",
        run=RUN,
        messages=MESSAGES,
        hashes_match=True,
        state="completed",
        output_tokens=3,
        estimated=False,
        seen=[SEEN],
        calls=[call()],
        happened=[],
        wall_offset=NOW - BASE,
    )


def happened(*, after: float) -> Happened:
    return Happened(kind=Kind.KILL, server=0, began=BASE + after, ended=BASE + after + 1, wall=NOW + after)


def test_a_run_that_is_well_has_no_faults() -> None:
    assert not judge(evidence()).faults


WRONG = {
    "has": {"seen": [replace(SEEN, messages={"msg_1": "one two "})]},
    "saw it failed": {"seen": [replace(SEEN, end="failed")]},
    "saw a usage": {"seen": [replace(SEEN, output_tokens=2)]},
    "does not have its hash": {"hashes_match": False},
    "GetRun says running": {"state": "running"},
    "none of the 1 answers": {"calls": [call(("one ", "two ", "ten "))]},
    "messages of 1 nodes": {"messages": {}, "seen": [replace(SEEN, messages={})]},
    "4 tokens are reported": {"output_tokens": 4},
    "2 tokens are reported": {"output_tokens": 2},
    "follows 1/2": {"run": replace(RUN, log=(LOG[0], batch(4, NodeFinished("solo"))))},
    "the log ends at 4": {"run": replace(RUN, last_seq=5)},
    "the attempts [1] of 2": {"run": replace(RUN, attempt=2)},
    "began again": {
        "run": replace(RUN, last_seq=6, log=(*LOG, batch(5, NodeStarted("solo", "model"), NodeFinished("solo"))))
    },
    "ended failed RUN_INTERRUPTED": {
        "run": replace(RUN, state="failed", failure_reason="RUN_INTERRUPTED", losses=2),
        "state": "failed",
        "seen": [replace(SEEN, end="failed")],
    },
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_said(fault: str) -> None:
    faults = judge(replace(evidence(), **WRONG[fault])).faults  # type: ignore[arg-type]
    assert any(fault in each for each in faults), faults


def test_a_node_that_has_finished_is_not_asked_again() -> None:
    log = (LOG[0], batch(3, NodeStarted("left", "model"), NodeFinished("left"), at=-5.0))
    again = replace(call(), branch="left")
    faults = judge(replace(evidence(), graph="parallel", run=replace(RUN, log=log), calls=[again])).faults
    assert any("was asked for left after" in each for each in faults), faults


@pytest.mark.parametrize(("committed", "due"), [(2.55, 15), (1.55, 5)])
def test_a_call_that_was_killed_is_reported_but_for_what_was_sent_since_the_last_commit(
    committed: float, due: int
) -> None:
    pieces = ("abc ",) * 30
    known = evidence()
    lost, whole = call(pieces, complete=False), call()
    log = (
        LOG[0],
        batch(3, NodeStarted("solo", "model"), at=committed),
        batch(4, AttemptStarted(), NodeStarted("solo", "model"), NodeFinished("solo"), attempt=2, at=4.0),
    )
    known = replace(
        known,
        run=replace(RUN, attempt=2, last_seq=6, log=log),
        calls=[lost, whole],
        happened=[happened(after=2.55)],
        seen=[],
    )
    # Of the 30 tokens of that call, ten a second, those are due that came a second before; three are the next call's.
    for tokens, well in ((due + 2, False), (due + 3, True), (33, True), (34, False)):
        faults = judge(replace(known, output_tokens=tokens)).faults
        assert bool(faults) is not well, (tokens, faults)
