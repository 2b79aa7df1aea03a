"""Slots counted in the process."""

import asyncio

from chatter_grpc.core.ids import new_id


class MemorySlots:
    """Counts what is in use in one process, with whose end all of it ends."""

    def __init__(self) -> None:
        self._held: dict[str, set[str]] = {}

    async def take(self, key: str, amount: int) -> str | None:
        """See ``Slots``."""
        held = self._held.setdefault(key, set())
        if len(held) >= amount:
            if not held:
                del self._held[key]
            return None
        slot = new_id("slot")
        held.add(slot)
        return slot

    async def free(self, key: str, slot: str) -> None:
        """See ``Slots``."""
        held = self._held.get(key, set())
        held.discard(slot)
        if not held:
            self._held.pop(key, None)

    async def run(self) -> None:
        """See ``Slots``; nothing here comes back by itself."""
        await asyncio.Event().wait()

    def __len__(self) -> int:
        """Return under how many keys something is held."""
        return len(self._held)
