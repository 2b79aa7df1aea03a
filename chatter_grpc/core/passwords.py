"""Passwords: the port that hashes them."""

from typing import Protocol


class PasswordHasher(Protocol):
    """Hashes passwords off the event loop, few at a time.

    Raises ``RateLimited`` where no turn comes within the time that a call may wait.
    """

    async def hash(self, password: str) -> str:
        """Return a salted hash that names its own parameters."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Say whether the password fits. Without a hash it never does, and takes as long to say so."""
        ...

    def needs_rehash(self, password_hash: str) -> bool:
        """Say whether the hash was made with other parameters than new ones are."""
        ...
