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
    """A message as far as the events tell; ``finished`` is its last event, ``None`` while it is being written.

    ``reasoning_tokens`` is an estimate of what the model thought for it, in tokens.
    """

    step_id: str
    started: MessageStarted
    pieces: list[str]
    finished: MessageFinished | None = None
    reasoning_tokens: int = 0

    @property
    def text(self) -> str:
        """The text up to now."""
        return "".join(self.pieces)


class Fold:
    """Takes the events of one run in order, and holds the messages, the usage and the end that follow from them.

    ``unreported`` are the messages whose model calls never told what they took, by their ids: those of lost attempts
    stay there when their text is void. ``finished_nodes`` are the ids of the nodes of which a step has finished.
    """

    def __init__(self) -> None:
        self.messages: dict[str, FoldedMessage] = {}
        self.unreported: dict[str, FoldedMessage] = {}
        self.finished_nodes: set[str] = set()
        self.usage = Usage()
        self.end: Terminal | None = None
        self._finished_steps: set[str] = set()

    @property
    def finished_messages(self) -> list[FoldedMessage]:
        """The messages that are final, in the order in which they were begun."""
        return [message for message in self.messages.values() if message.finished is not None]

    def take(self, entries: Iterable[Entry]) -> None:
        """Apply events."""
        for entry in entries:
            body = entry.body
            if isinstance(body, Deltas):
                message = self.messages[body.message_id]
                if body.kind is DeltaKind.TEXT:
                    message.pieces.extend(body.pieces)
                else:
                    message.reasoning_tokens += estimate_tokens("".join(body.pieces))
            elif isinstance(body, MessageStarted):
                message = FoldedMessage(entry.step_id, body, [])
                self.messages[body.message_id] = self.unreported[body.message_id] = message
            elif isinstance(body, MessageFinished):
                self.messages[body.message_id].finished = body
            elif isinstance(body, MessageDiscarded):
                del self.messages[body.message_id]
            elif isinstance(body, NodeFinished):
                self._finished_steps.add(entry.step_id)
                self.finished_nodes.add(body.node_id)
            elif isinstance(body, UsageReported):
                self.unreported.pop(body.message_id, None)
                self.usage += body.usage
            elif isinstance(body, AttemptStarted):
                self._keep(lambda message: message.step_id in self._finished_steps)
            elif isinstance(body, TERMINAL):
                self.end = body
                self._keep(lambda message: message.finished is not None)

    def _keep(self, wanted: Callable[[FoldedMessage], bool]) -> None:
        self.messages = {key: message for key, message in self.messages.items() if wanted(message)}


def lost_usage(message: FoldedMessage) -> Usage:
    """Estimate what a model call took that was lost before it told: the output that is in the log.

    Its cost is not known, nor what the model was given: that does not stand in the log.
    """
    tokens = estimate_tokens(message.text) + message.reasoning_tokens
    return Usage(output_tokens=tokens, cost_micros=None, estimated=True)
