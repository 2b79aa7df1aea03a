"""The fold: what the events of a run amount to, by the rules that the contract states for clients too."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chatter_grpc.core.budgets import Reservation, lost_usage
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
    stay there when their text is void. ``reported`` is what the others took. ``finished_nodes`` are the ids of the
    nodes of which a step has finished.
    """

    def __init__(self) -> None:
        self.messages: dict[str, FoldedMessage] = {}
        self.unreported: dict[str, FoldedMessage] = {}
        self.reported: dict[str, Usage] = {}
        self.finished_nodes: set[str] = set()
        self.usage = Usage()
        self.end: Terminal | None = None
        self._finished_steps: set[str] = set()
        self._reservations: dict[str, Reservation] = {}

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
                self.reported[body.message_id] = body.usage
                self.usage += body.usage
            elif isinstance(body, AttemptStarted):
                self._keep(lambda message: message.step_id in self._finished_steps)
            elif isinstance(body, TERMINAL):
                self.end = body
                self._keep(lambda message: message.finished is not None)

    def take_reservations(self, reservations: Iterable[Reservation]) -> None:
        """Note what model calls of the run have reserved: some may be lost before they wrote anything."""
        self._reservations = {each.message_id: each for each in reservations}

    def lost_calls(self) -> list[UsageReported]:
        """Return at what each model call is settled that never told what it took: those of attempts that were lost.

        That is its input, as it was estimated when it was sent, with the output that is in the log; or what the ledger
        knows of it.
        """
        found = []
        for message_id, message in self.unreported.items():
            started = message.started
            output = estimate_tokens(message.text) + message.reasoning_tokens
            reservation = self._reservations.get(message_id)
            usage = lost_usage(started.input_tokens, output, started.price, reservation)
            found.append(UsageReported(message_id, started.model, usage))
        for message_id, reservation in self._reservations.items():
            if message_id in self.unreported or message_id in self.reported or reservation.settled == Usage():
                continue
            found.append(UsageReported(message_id, reservation.model, lost_usage(0, 0, None, reservation)))
        return found

    def _keep(self, wanted: Callable[[FoldedMessage], bool]) -> None:
        self.messages = {key: message for key, message in self.messages.items() if wanted(message)}
