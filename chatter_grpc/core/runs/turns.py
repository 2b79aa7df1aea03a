"""What the model of a run is given of its conversation."""

from chatter_grpc.core.conversations import MemoryMode
from chatter_grpc.core.messages import Message
from chatter_grpc.core.models import Role, Turn
from chatter_grpc.core.runs.run import RunInput
from chatter_grpc.core.storage import Transaction


async def remembered_turns(tx: Transaction, run_input: RunInput, message: Message) -> tuple[Turn, ...]:
    """Return what the model of a run is given: as much of the past as memory allows, and the user's ``message``."""
    memory = run_input.memory
    past: tuple[Message, ...] = ()
    if memory.mode is MemoryMode.WINDOW:
        before = run_input.before_index
        past = await tx.messages.latest(message.owner_id, message.conversation_id, before, memory.window)
    turns = tuple(Turn(role=said.role, text=said.text) for said in past if said.text)
    return (*turns, Turn(role=Role.USER, text=message.text))
