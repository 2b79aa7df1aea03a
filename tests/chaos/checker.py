"""What must hold of runs when a round is over: of what readers saw, what is stored, and what the provider sent."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chatter_grpc.core.runs.events import AttemptStarted, NodeFinished, NodeStarted
from tests.chaos.disasters import ENDING, Happened
from tests.chaos.graphs import NODES
from tests.chaos.plans import TOKEN_BYTES, ChaosPlan
from tests.chaos.provider import ChaosCall
from tests.chaos.readers import Seen
from tests.chaos.rows import StoredRun
from tests.support.openai_plans import Fault

# What is sent is not yet received, and on a machine that does much else that takes its time.
COMMIT_SLACK: Final = 1.0
# What was sent so shortly before a connection broke may be lost with it.
IN_FLIGHT: Final = 0.25
# The log's times are by the servers' clocks, the provider's by this process's: one machine, but not one moment.
CLOCK_SLACK: Final = 0.05
# How many attempts may be lost in a row.
LOSSES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one run when its round is over."""

    tag: str
    graph: str
    run: StoredRun
    messages: dict[str, str]
    """The assistant's messages as ListMessages gives them: texts by id."""
    hashes_match: bool
    state: str
    output_tokens: int
    estimated: bool
    seen: Sequence[Seen]
    calls: Sequence[ChaosCall]
    happened: Sequence[Happened]
    wall_offset: float
    """What is to be added to ``time.monotonic()`` for ``time.time()``."""


@dataclass(slots=True)
class Verdict:
    """What is wrong with a run, and what it took."""

    faults: list[str] = field(default_factory=list)
    interrupted: bool = False
    """Whether it ended as it may, after too many lost attempts."""
    take_overs: list[float] = field(default_factory=list)
    """Seconds from a disaster to the attempt after it."""

    def require(self, condition: bool, fault: str) -> None:
        """Note a fault where a condition does not hold."""
        if not condition:
            self.faults.append(fault)


def judge(evidence: Evidence) -> Verdict:
    """Return what is wrong with a run."""
    verdict = Verdict()
    _judge_end(evidence, verdict)
    _judge_readers(evidence, verdict)
    _judge_messages(evidence, verdict)
    _judge_log(evidence, verdict)
    _judge_branches(evidence, verdict)
    _judge_usage(evidence, verdict)
    verdict.take_overs = take_overs(evidence)
    return verdict


def _judge_end(evidence: Evidence, verdict: Verdict) -> None:
    run = evidence.run
    verdict.require(run.state == evidence.state, f"GetRun says {evidence.state}, the database {run.state}")
    if run.state == "completed":
        return
    verdict.interrupted = run.failure_reason == "RUN_INTERRUPTED" and run.losses >= LOSSES
    verdict.require(
        verdict.interrupted,
        f"it ended {run.state} {run.failure_reason} in attempt {run.attempt} after {run.losses} losses",
    )


def _judge_readers(evidence: Evidence, verdict: Verdict) -> None:
    for seen in evidence.seen:
        verdict.require(
            seen.messages == evidence.messages,
            f"the {seen.reader} has {_sizes(seen.messages)}, stored are {_sizes(evidence.messages)}",
        )
        verdict.require(
            list(seen.messages) == list(evidence.messages) or evidence.graph != "",
            f"the {seen.reader} has the messages in another order",
        )
        verdict.require(seen.end == evidence.run.state, f"the {seen.reader} saw it {seen.end}")
        usage = (seen.output_tokens, seen.estimated)
        stored = (evidence.output_tokens, evidence.estimated)
        verdict.require(usage == stored, f"the {seen.reader} saw a usage of {usage}, stored is {stored}")


def _judge_messages(evidence: Evidence, verdict: Verdict) -> None:
    """Each message is what one call of the provider said, from its beginning to its end: nothing is glued."""
    verdict.require(evidence.hashes_match, "a stored text does not have its hash")
    said = Counter(_joined(call) for call in evidence.calls if call.complete)
    for message_id, text in evidence.messages.items():
        verdict.require(said[text] > 0, f"{message_id} is none of the {len(said)} answers that the provider gave")
    if evidence.run.state == "completed":
        wanted = len(NODES[evidence.graph])
        verdict.require(len(evidence.messages) == wanted, f"{len(evidence.messages)} messages of {wanted} nodes")


def _judge_log(evidence: Evidence, verdict: Verdict) -> None:
    """The rows of the log have no gap and no overlap, and attempts follow one another."""
    seq, attempt = 0, 1
    for batch in evidence.run.log:
        verdict.require(
            batch.first_seq == seq + 1 and batch.attempt >= attempt,
            f"{batch.attempt}/{batch.first_seq} follows {attempt}/{seq} in the log",
        )
        seq, attempt = batch.last_seq, batch.attempt
    verdict.require(seq == evidence.run.last_seq, f"the log ends at {seq}, the run at {evidence.run.last_seq}")
    started = [entry.attempt for entry in evidence.run.entries if isinstance(entry.body, AttemptStarted)]
    verdict.require(
        started == sorted(set(started)) and started[-1:] == [evidence.run.attempt],
        f"the attempts {started} of {evidence.run.attempt} began",
    )


def _judge_branches(evidence: Evidence, verdict: Verdict) -> None:
    """A node that has finished is never begun again, and the provider never asked for it again."""
    finished: dict[str, int] = {}
    for entry in evidence.run.entries:
        if isinstance(entry.body, NodeStarted):
            node = entry.body.node_id
            verdict.require(node not in finished, f"{node} began again after it had finished")
        elif isinstance(entry.body, NodeFinished):
            node = entry.body.node_id
            verdict.require(node not in finished, f"{node} finished twice")
            finished[node] = entry.time_us
    if not evidence.graph:
        return
    for call in evidence.calls:
        at = finished.get(call.branch)
        late = at is not None and call.started_at + evidence.wall_offset > at / 1e6 + CLOCK_SLACK
        verdict.require(not late, f"the provider was asked for {call.branch} after it had finished")


def _judge_usage(evidence: Evidence, verdict: Verdict) -> None:
    """What is reported is what was sent by calls that ended by themselves, and of the others nearly so."""
    sent = sum(call.tokens for call in evidence.calls)
    least = sum(_reported_at_least(evidence, call) for call in evidence.calls)
    shown = [(call.branch, call.number, call.tokens, call.complete, call.failed) for call in evidence.calls]
    verdict.require(
        least <= evidence.output_tokens <= sent,
        f"{evidence.output_tokens} tokens are reported, at least {least} of the {sent} that were sent in {shown}",
    )


def _reported_at_least(evidence: Evidence, call: ChaosCall) -> int:
    """How much of a call must be reported: all where it ended by itself, else what must have been in the log."""
    causes = [began for began, ended in _endings(evidence) if ended > call.started_at]
    if call.complete or call.failed:
        ended = call.sent_at[-1][0] if call.sent_at else call.started_at
        if all(cause > ended + COMMIT_SLACK for cause in causes):
            return call.tokens_until(ended - IN_FLIGHT) if _is_broken(call) else call.tokens
    elif (closed := call.connection.closed_at) is not None:
        causes.append(closed)
    return call.tokens_until(min(*causes, _committed_at(evidence, call)) - COMMIT_SLACK)


def _committed_at(evidence: Evidence, call: ChaosCall) -> float:
    """When the attempt that made a call wrote what it committed last."""
    last = call.started_at
    for entry in evidence.run.entries:
        at = entry.time_us / 1e6 - evidence.wall_offset
        if isinstance(entry.body, AttemptStarted) and at > call.started_at + CLOCK_SLACK:
            break
        last = at
    return last


def _endings(evidence: Evidence) -> list[tuple[float, float]]:
    """When attempts may have been ended from without, each from when to when.

    Beside disasters these are the losses that none explains: a busy machine that does not renew a short lease. All
    that is known of those is what was committed last, and when the next attempt began.
    """
    found = [(each.began, each.ended) for each in evidence.happened if each.kind in ENDING]
    last = 0.0
    for entry in evidence.run.entries:
        at = entry.time_us / 1e6 - evidence.wall_offset
        begins = isinstance(entry.body, AttemptStarted) and entry.attempt > 1
        if begins and not any(last - COMMIT_SLACK <= began <= at for began, _ in found):
            found.append((last, at))
        last = at
    return found


def _is_broken(call: ChaosCall) -> bool:
    """Whether the provider broke the connection, which takes with it what was on its way."""
    assert isinstance(call.plan, ChaosPlan)
    return call.failed and (call.plan.torn or call.plan.fault in {Fault.CUT, Fault.UNFRAMED})


def take_overs(evidence: Evidence) -> list[float]:
    """Return the seconds from each disaster to the attempt that followed it."""
    causes = sorted(each.wall for each in evidence.happened if each.kind in ENDING)
    found = []
    for entry in evidence.run.entries:
        if isinstance(entry.body, AttemptStarted) and entry.attempt > 1:
            before = [cause for cause in causes if cause < entry.time_us / 1e6]
            if before:
                found.append(entry.time_us / 1e6 - before[-1])
    return found


def _joined(call: ChaosCall) -> str:
    # Halves of pairs are sent in pieces of their own.
    return call.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _sizes(messages: dict[str, str]) -> Iterable[str]:
    return [f"{message_id}: {len(text.encode()) // TOKEN_BYTES} tokens" for message_id, text in messages.items()]
