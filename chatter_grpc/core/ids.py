"""Makes the ids of resources: a prefix that names the kind, and a UUIDv7 that sorts by time."""

from typing import Final

from uuid_utils import uuid7

USER: Final = "user"
SUBJECT: Final = "subj"
SESSION: Final = "sess"
REFRESH_TOKEN: Final = "rt"
API_KEY: Final = "key"
CONVERSATION: Final = "conv"
MESSAGE: Final = "msg"
RUN: Final = "run"
AUDIT: Final = "audit"


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``run_019a…``: prefix and 32 hexadecimal digits; later ids sort after earlier ones."""
    return f"{prefix}_{uuid7().hex}"
