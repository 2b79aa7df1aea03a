"""The client for asyncio."""

from chatter_client.aio.client import Client as Client
from chatter_client.aio.client import connect as connect
from chatter_client.aio.streams import RunStream as RunStream
