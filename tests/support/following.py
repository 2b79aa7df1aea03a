"""What a client makes of a run that it is sent frame by frame, with the client's own fold."""

from collections.abc import Iterable
from typing import Any, Final

from chatter_client import Fold, fold
from chatter_grpc._gen.chatter.v1.run_service_pb2 import WatchRunResponse
from chatter_grpc.core.runs.events import Entry
from chatter_grpc.core.runs.reader import Chunk, Control
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.rpc.cursors import CursorSigner
from chatter_grpc.rpc.frames import frame_of

CURSORS: Final = CursorSigner(b"k" * 32).for_run("owner", "run")


def frame(chunk: Chunk) -> Any:
    """Return a chunk as the frame that a client is sent."""
    return frame_of(chunk, CURSORS, WatchRunResponse)


def folded(entries: Iterable[Entry]) -> Fold:
    """Return what a client makes of a whole log as it was written."""
    return fold(Fold(), frame(Chunk(tuple(entries), LogPosition())))


def folded_snapshot(entries: Iterable[Entry]) -> Fold:
    """Return what a client makes of a whole log that was compacted."""
    *rest, last = entries
    begun = fold(Fold(), frame(Chunk((), LogPosition(), Control.SNAPSHOT, last.seq - 1)))
    return fold(begun, frame(Chunk((*rest, last), LogPosition())))


def amounts(state: Fold) -> tuple[Any, ...]:
    """Return what of a fold has to be the same however a run was read."""
    messages = [
        (message.id, message.step_id, message.started, message.text, message.finished)
        for message in state.messages.values()
    ]
    # The last event has its number; those before it may have had others.
    return (state.run_id, state.conversation_id, state.user_message_id, messages, state.usage, state.end)
