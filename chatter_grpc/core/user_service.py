"""What a caller may do with accounts: look at its own."""

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.errors import TokenInvalid
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.users import User


class Users:
    """The use-cases of accounts."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def me(self, caller: Caller) -> User:
        """Return the account of the caller's credentials; raises ``TokenInvalid`` where it is no longer there."""
        async with self._storage.read() as tx:
            user = await tx.users.get(caller.actor_id)
        if user is None:
            raise TokenInvalid
        return user
