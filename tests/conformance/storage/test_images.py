"""What a store of images guarantees."""

from dataclasses import replace

from chatter_grpc.core.images import image_part, with_data
from chatter_grpc.core.messages import ImagePart, Message, TextPart
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.images import GIF, PNG
from tests.support.records import a_message, start_run, store_conversation

PARTS = (
    TextPart(text="Two images:"),
    image_part("image/png", PNG),
    TextPart(text=""),
    image_part("image/gif", GIF),
)


async def store(storage: Storage, *parts: TextPart | ImagePart) -> Message:
    """Store a message of these parts in a conversation of its own."""
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    message = a_message(conversation, run.id, parts=parts)
    async with storage.write() as tx:
        index = await tx.messages.append(conversation.id, (message,), Usage())
        await tx.images.add((message,))
    return replace(message, index=index)


async def test_images_come_back_at_their_places(storage: Storage) -> None:
    message = await store(storage, *PARTS)
    async with storage.read() as tx:
        found = await tx.images.read(message.owner_id, [message.id])
        stored = await tx.messages.get(message.owner_id, message.id)
    assert found == {message.id: {1: PNG, 3: GIF}}
    assert with_data(stored, found[message.id]) == message


async def test_messages_come_without_the_data_of_their_images(storage: Storage) -> None:
    message = await store(storage, *PARTS)
    bare = replace(message, parts=tuple(replace(p, data=None) if isinstance(p, ImagePart) else p for p in PARTS))
    async with storage.read() as tx:
        assert await tx.messages.get(message.owner_id, message.id) == bare
        page = await tx.messages.list(message.owner_id, message.conversation_id, PageRequest(), newest_first=False)
        assert page.items == (bare,)
        assert await tx.messages.latest(message.owner_id, message.conversation_id, 9, 9) == (bare,)


async def test_a_foreign_owner_gets_no_images(storage: Storage) -> None:
    message, other = await store(storage, *PARTS), await store(storage, PARTS[1])
    async with storage.read() as tx:
        assert await tx.images.read(other.owner_id, [message.id]) == {}
        both = await tx.images.read(other.owner_id, [message.id, other.id, "msg_none"])
    assert both == {other.id: {0: PNG}}


async def test_messages_without_images_have_none(storage: Storage) -> None:
    message = await store(storage, TextPart(text="Hello"))
    async with storage.read() as tx:
        assert await tx.images.read(message.owner_id, [message.id]) == {}
        assert await tx.images.read(message.owner_id, []) == {}
