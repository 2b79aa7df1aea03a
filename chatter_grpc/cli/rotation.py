"""`chatter-grpc admin rotate-keys`: has tokens signed with a new key."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import typer

from chatter_grpc.core.audit import Action, acting


class SigningKeys(Protocol):
    """The keys that sign tokens."""

    async def rotate(self) -> str:
        """Make another key that signs from now on, retire those before it, and return its id."""
        ...


OpenSigningKeys = Callable[[], AbstractAsyncContextManager[SigningKeys]]


def rotation_command(open_keys: OpenSigningKeys) -> Callable[[], None]:
    """Return the command, which reaches the keys through ``open_keys``."""

    def rotate_keys() -> None:
        """Have tokens signed with a new key.

        Servers that run take it up within 15 seconds. What was signed before holds until it expires; the key that
        signed it is refused after that.
        """

        async def rotate() -> str:
            async with open_keys() as keys:
                return await keys.rotate()

        with acting(Action(method="chatter-grpc admin rotate-keys")):
            kid = asyncio.run(rotate())
        typer.echo(f"Tokens are signed with the key {kid} from now on.", err=True)

    return rotate_keys
