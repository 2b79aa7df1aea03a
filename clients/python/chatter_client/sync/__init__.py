"""The client for threads, on gRPC's synchronous channel."""

from chatter_client.sync.client import SyncClient as SyncClient
from chatter_client.sync.client import connect_sync as connect_sync
from chatter_client.sync.streams import SyncRunStream as SyncRunStream
