"""The fold as a client does it: the events of a run, in order, become messages whose hashes prove them whole."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from chatter_grpc._gen.chatter.v1.run_event_pb2 import MessageFinished, RunEvent


@dataclass(slots=True)
class Answer:
    """A message that a model writes; ``finished`` carries its hash and usage once it is whole."""

    step_id: str
    model: str
    pieces: list[str] = field(default_factory=list)
    finished: MessageFinished | None = None

    @property
    def text(self) -> str:
        """The text up to now."""
        return "".join(self.pieces)

    @property
    def is_proven(self) -> bool:
        """Whether the text is, to the byte, what the server stored."""
        return self.finished is not None and self.finished.text_sha256 == sha256(self.text.encode()).hexdigest()


class Fold:
    """Takes events by the rules that the contract states with ``RunEvent``; ``end`` is the last event."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.end: RunEvent | None = None
        self._finished_steps: set[str] = set()

    def take(self, events: Iterable[RunEvent]) -> None:
        """Apply events in the order of the stream."""
        for event in events:
            match event.WhichOneof("event"):
                case "message_started":
                    started = event.message_started
                    self.answers[started.message_id] = Answer(event.step_id, started.model)
                case "text_delta":
                    self.answers[event.text_delta.message_id].pieces.append(event.text_delta.text)
                case "message_finished":
                    self.answers[event.message_finished.message_id].finished = event.message_finished
                case "message_discarded":
                    del self.answers[event.message_discarded.message_id]
                case "node_finished":
                    self._finished_steps.add(event.step_id)
                case "attempt_started":
                    self._keep(lambda answer: answer.step_id in self._finished_steps)
                case "completed" | "failed" | "cancelled":
                    self.end = event
                    self._keep(lambda answer: answer.finished is not None)

    def _keep(self, wanted: Callable[[Answer], bool]) -> None:
        self.answers = {name: answer for name, answer in self.answers.items() if wanted(answer)}
