"""Request ids: how a repeated request is known, and what the first one made."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from chatter_grpc.core.errors import RequestIdReused

LIFETIME: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """What makes two requests the same: owner, method and request id; ``payload_hash`` tells whether they agree."""

    owner_id: str
    method: str
    request_id: str
    payload_hash: bytes


class RequestStore(Protocol):
    """Keeps request keys with the id of the resource that the first request made, inside a transaction."""

    async def claim(self, key: RequestKey, resource_id: str, now: datetime) -> "EarlierRequest | None":
        """Record the key for ``LIFETIME``, or return the earlier request that holds it.

        Two transactions that claim one key at once are ordered: the second waits for the first to end, then sees it.
        An expired key counts as absent.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRequest:
    """The request that came first under a key."""

    resource_id: str
    payload_hash: bytes


async def claim_request(store: RequestStore, key: RequestKey | None, resource_id: str, now: datetime) -> str | None:
    """Record ``key`` for a new resource, or return the id of the resource that an equal request made before.

    Raises ``RequestIdReused`` where the earlier request had another payload. No key, no record.
    """
    return None if key is None else made_before(key, await store.claim(key, resource_id, now))


def made_before(key: RequestKey, earlier: EarlierRequest | None) -> str | None:
    """Return the id of what an earlier request made, ``None`` where there is none; raises ``RequestIdReused``."""
    if earlier is None:
        return None
    if earlier.payload_hash != key.payload_hash:
        raise RequestIdReused(request_id=key.request_id)
    return earlier.resource_id
