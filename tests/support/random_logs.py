"""Logs of ended runs as any run might leave them: attempts, parallel steps, messages that are taken back."""

from dataclasses import dataclass, field
from typing import Final

from hypothesis import strategies as st

from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs.events import (
    AttemptStarted,
    Body,
    DeltaKind,
    Deltas,
    Entry,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    NodeStarted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    StoredMessage,
    UsageReported,
)
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.usage import Usage

Action = tuple[str, int, str]
KINDS: Final = (
    *("step", "start", "start", "finish", "finish", "discard", "end_step", "end_step", "attempt"),
    *("say",) * 6,
    *("think",) * 2,
)
ENDS: Final = ("completed", "failed", "cancelled")
ACTION: Final = st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.text(min_size=1, max_size=12))
# Short ones alone would seldom come to anything.
ACTIONS: Final = st.one_of(st.lists(ACTION, max_size=10), st.lists(ACTION, min_size=15, max_size=50))


@dataclass(slots=True)
class LogMaker:
    """Writes a log as an attempt does, which begins a step or a message where there is none to go on with."""

    entries: list[Entry] = field(default_factory=list)
    attempt: int = 1
    steps: list[str] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    made: int = 0

    def add(self, step_id: str, body: Body) -> None:
        seq = self.entries[-1].seq + 1 if self.entries else 1
        self.entries.append(Entry(seq, self.attempt, step_id, 1_000 * seq, body))

    def apply(self, action: Action) -> None:
        kind, place, text = action
        if kind == "attempt":
            self.begin_attempt()
            return
        if kind == "step" or not self.steps:
            self.open_step()
        if kind == "end_step":
            self.end_step(self.steps[place % len(self.steps)])
        elif kind != "step":
            if kind == "start" or not self.messages:
                self.start(self.steps[place % len(self.steps)])
            if kind != "start":
                self.change(kind, list(self.messages)[place % len(self.messages)], text)

    def open_step(self) -> None:
        self.made += 1
        self.steps.append(f"{self.attempt}.{self.made}")
        self.add(self.steps[-1], NodeStarted(f"node_{self.made}", "model"))

    def start(self, step: str) -> None:
        self.made += 1
        message_id = f"msg_{self.made}"
        self.messages[message_id] = step
        self.texts[message_id] = ""
        self.add(step, MessageStarted(message_id, Role.ASSISTANT, "a/b", "a"))

    def change(self, kind: str, message_id: str, text: str) -> None:
        step = self.messages[message_id]
        if kind == "say":
            self.texts[message_id] += text
            self.add(step, Deltas(DeltaKind.TEXT, message_id, tuple(text)))
        elif kind == "think":
            self.add(step, Deltas(DeltaKind.REASONING, message_id, (text,)))
        elif kind == "finish":
            self.finish(message_id)
        else:
            self.report(step, message_id)
            self.add(step, MessageDiscarded(message_id))
            del self.messages[message_id]

    def report(self, step: str, message_id: str) -> None:
        used = Usage(input_tokens=7, output_tokens=len(self.texts[message_id]), cost_micros=3)
        self.add(step, UsageReported(message_id, "a/b", used))

    def finish(self, message_id: str, reason: FinishReason = FinishReason.STOP) -> None:
        step = self.messages.pop(message_id)
        self.report(step, message_id)
        text = self.texts[message_id]
        self.add(step, MessageFinished(message_id, sha256_of(text), reason, Usage(output_tokens=len(text)), 1))

    def end_step(self, step: str) -> None:
        for message_id in [key for key, at in self.messages.items() if at == step]:
            self.finish(message_id)
        self.steps.remove(step)
        self.add(step, NodeFinished(f"node_{step}"))

    def begin_attempt(self) -> None:
        self.attempt += 1
        self.add("", AttemptStarted())
        # What the attempt before took and did not report is settled by an estimate.
        for message_id in self.messages:
            self.report("", message_id)
        self.steps.clear()
        self.messages.clear()

    def end(self, how: str) -> None:
        if how == "completed":
            while self.steps:
                self.end_step(self.steps[0])
        elif how == "cancelled":
            for message_id in list(self.messages)[::2]:
                self.finish(message_id, FinishReason.CANCELLED)
        fold = Fold()
        fold.take(self.entries)
        stored = tuple(
            StoredMessage(key, message.finished.text_sha256)
            for key, message in fold.messages.items()
            if message.finished is not None
        )
        ends: dict[str, Body] = {
            "completed": RunCompleted(stored, fold.usage),
            "failed": RunFailed("PROVIDER_TIMEOUT", "…", stored, fold.usage),
            "cancelled": RunCancelled(stored, fold.usage),
        }
        self.add("", ends[how])


def log_of(actions: list[Action], end: str) -> tuple[Entry, ...]:
    """Return the log of a run in which this happened."""
    maker = LogMaker()
    maker.add("", RunStarted("run", "conv", "msg_0"))
    maker.add("", AttemptStarted())
    for action in actions:
        maker.apply(action)
    maker.end(end)
    return tuple(maker.entries)


LOGS: Final = st.builds(log_of, ACTIONS, st.sampled_from(ENDS))
