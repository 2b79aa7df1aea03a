"""Images in the database: they go with their message, and a version that knows none can read what is left."""

import asyncio

from alembic import command
from sqlalchemy import Connection, text

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.core.images import image_part
from chatter_grpc.core.messages import Message, TextPart
from chatter_grpc.core.usage import Usage
from tests.support.images import PNG
from tests.support.records import a_message, start_run, store_conversation


async def store(database: Database) -> Message:
    storage = SqlStorage(database)
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    parts = (image_part("image/png", PNG), TextPart(text="What is this?\x00"))
    message = a_message(conversation, run.id, parts=parts)
    async with storage.write() as tx:
        await tx.messages.append(conversation.id, (message,), Usage())
        await tx.images.add((message,))
    return message


async def test_images_go_with_their_message(database_url: str) -> None:
    database = Database(database_url)
    message = await store(database)
    async with database.writing() as statements:
        for table, column in (("message_words", "message_id"), ("messages", "id")):
            await statements.run(text(f"DELETE FROM {table} WHERE {column} = :id"), {"id": message.id})
    async with SqlStorage(database).read() as tx:
        assert await tx.images.read(message.owner_id, [message.id]) == {}
    await database.close()


async def test_going_back_to_before_images_leaves_the_texts(database_url: str) -> None:
    def go_back_and_forth(connection: Connection) -> None:
        configuration = schema._configuration()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "0005")
        command.upgrade(configuration, "head")

    database = Database(database_url)
    message = await store(database)
    await database.close()
    await asyncio.to_thread(schema._in_own_loop, database_url, go_back_and_forth)
    database = Database(database_url)
    async with SqlStorage(database).read() as tx:
        stored = await tx.messages.get(message.owner_id, message.id)
    assert stored.parts == message.parts[1:]
    await database.close()
