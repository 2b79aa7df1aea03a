"""The fold: what the events of a run amount to, by the rules that the contract states for clients too."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chatter_grpc.core.runs.events import (
    TERMINAL,
    AttemptStarted,
    DeltaKind,
    Deltas,
    Entry,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    Terminal,
    UsageReported,
)
from chatter_grpc.core.usage import Usage, estimate_tokens


@dataclass(slots=True)
class FoldedMessage:
    """A message as far as the events tell; ``finished`` is its last event, ``None`` while it is being written."""

    step_id: str
    started: MessageStarted
    pieces: list[str]
    finished: MessageFinished | None = None

    @property
    def text(self) -> str:
        """The text up to now."""
        return "".join(self.pieces)


class Fold:
    """Takes the events of one run in order, and holds the messages, the usage and the end that follow from them."""

    def __init__(self) -> None:
        self.messages: dict[str, FoldedMessage] = {}
        self.usage = Usage()
        self.end: Terminal | None = None
        self._finished_steps: set[str] = set()
        self._counted: set[str] = set()

    def uncounted(self) -> Usage:
        """Return an estimate of what the messages took that were begun and whose usage was never reported.

        It is of their output alone, at a cost that is not known: what the model was given does not stand in the log.
        """
        usage = Usage()
        for key, message in self.messages.items():
            if key not in self._counted:
                tokens = estimate_tokens(message.text)
                usage += Usage(output_tokens=tokens, cost_micros=None, estimated=True)
        return usage

    def take(self, entries: Iterable[Entry]) -> None:
        """Apply events."""
        for entry in entries:
            body = entry.body
            if isinstance(body, Deltas):
                if body.kind is DeltaKind.TEXT:
                    self.messages[body.message_id].pieces.extend(body.pieces)
            elif isinstance(body, MessageStarted):
                self.messages[body.message_id] = FoldedMessage(entry.step_id, body, [])
            elif isinstance(body, MessageFinished):
                self.messages[body.message_id].finished = body
            elif isinstance(body, MessageDiscarded):
                del self.messages[body.message_id]
            elif isinstance(body, NodeFinished):
                self._finished_steps.add(entry.step_id)
            elif isinstance(body, UsageReported):
                self._counted.add(body.message_id)
                self.usage += body.usage
            elif isinstance(body, AttemptStarted):
                self._keep(lambda message: message.step_id in self._finished_steps)
            elif isinstance(body, TERMINAL):
                self.end = body
                self._keep(lambda message: message.finished is not None)

    def _keep(self, wanted: Callable[[FoldedMessage], bool]) -> None:
        self.messages = {key: message for key, message in self.messages.items() if wanted(message)}
