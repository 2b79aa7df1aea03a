"""The Python client of Chatter: answers that are read on from where a connection broke, and checked."""

from chatter_client.aio import Client as Client
from chatter_client.aio import RunStream as RunStream
from chatter_client.aio import connect as connect
from chatter_client.connection import Tls as Tls
from chatter_client.credentials import ApiKey as ApiKey
from chatter_client.credentials import Session as Session
from chatter_client.errors import ChatterError as ChatterError
from chatter_client.errors import ClientClosed as ClientClosed
from chatter_client.errors import ClientError as ClientError
from chatter_client.errors import CursorExpired as CursorExpired
from chatter_client.errors import GaveUp as GaveUp
from chatter_client.errors import IntegrityError as IntegrityError
from chatter_client.errors import Unauthenticated as Unauthenticated
from chatter_client.errors import Violation as Violation
from chatter_client.folding import Fold as Fold
from chatter_client.folding import FoldedMessage as FoldedMessage
from chatter_client.folding import fold as fold
from chatter_client.interruptions import Interruption as Interruption
from chatter_client.progress import Place as Place
from chatter_client.progress import Resumption as Resumption
from chatter_client.sync import SyncClient as SyncClient
from chatter_client.sync import SyncRunStream as SyncRunStream
from chatter_client.sync import connect_sync as connect_sync
from chatter_client.tokens import FileStore as FileStore
from chatter_client.tokens import MemoryStore as MemoryStore
from chatter_client.tokens import Tokens as Tokens
from chatter_client.tokens import TokenStore as TokenStore

__version__ = "0.1.0"
