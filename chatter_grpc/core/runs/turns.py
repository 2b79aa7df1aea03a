"""What the model of a run is given of its conversation."""

from collections.abc import Mapping, Sequence
from typing import Final

from chatter_grpc.core.conversations import MemoryMode
from chatter_grpc.core.inquiries import words_for
from chatter_grpc.core.messages import ImagePart, Message
from chatter_grpc.core.models import Image, Turn
from chatter_grpc.core.runs.run import RunInput
from chatter_grpc.core.storage import Transaction

# A run holds what its model is given for as long as it lasts: of remembered images the latest, within these bounds.
REMEMBERED_IMAGES: Final = 20
REMEMBERED_IMAGE_BYTES: Final = 16 * 1024 * 1024


async def remembered_turns(tx: Transaction, run_input: RunInput, message: Message) -> tuple[Turn, ...]:
    """Return what the model of a run is given: as much of the past as memory allows, and the user's ``message``.

    Words stand for remembered images that are too many or too large together, and for all of them where the model takes
    none; the user's own message is given whole.
    """
    memory = run_input.memory
    past: tuple[Message, ...] = ()
    before = run_input.before_index
    # The first message of a conversation has the index 1, and nothing before it to look for.
    if memory.mode is MemoryMode.WINDOW and before > 1:
        past = await tx.messages.latest(message.owner_id, message.conversation_id, before, memory.window)
    shown = _latest_images(past) if run_input.takes_images else []
    if any(image.data is None for image in message.images):
        shown.append(message.id)
    found = await tx.images.read(message.owner_id, shown) if shown else {}
    turns = [_turn(said, found.get(said.id, {})) for said in past if said.parts]
    return (*turns, _turn(message, found.get(message.id, {})))


def _latest_images(past: Sequence[Message]) -> list[str]:
    """Return the ids of the latest messages with images, as far back as the bounds reach."""
    shown: list[str] = []
    count = size = 0
    for said in reversed(past):
        count += len(said.images)
        size += sum(image.size_bytes for image in said.images)
        if count > REMEMBERED_IMAGES or size > REMEMBERED_IMAGE_BYTES:
            break
        if said.images:
            shown.append(said.id)
    return shown


def _turn(said: Message, found: Mapping[int, bytes]) -> Turn:
    images: list[Image] = []
    texts = [said.text]
    for place, part in enumerate(said.parts):
        if isinstance(part, ImagePart):
            data = found.get(place) if part.data is None else part.data
            if data is None:
                texts.append(words_for(part.media_type))
            else:
                images.append(Image(media_type=part.media_type, data=data))
    return Turn(role=said.role, text="\n".join(filter(None, texts)), images=tuple(images))
