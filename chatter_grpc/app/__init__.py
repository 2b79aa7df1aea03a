"""The composition root: builds everything from the settings, and is the only package that knows every part."""

from chatter_grpc.app.identity import open_accounts as open_accounts
from chatter_grpc.app.serving import serve as serve
from chatter_grpc.app.storage import database_url as database_url
from chatter_grpc.app.storage import migrate as migrate
