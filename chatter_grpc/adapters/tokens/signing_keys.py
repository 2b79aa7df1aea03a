"""The key ring: the Ed25519 pairs that sign tokens, shared by all replicas, private halves sealed."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chatter_grpc.adapters.tokens.sealing import SealBroken, Sealer
from chatter_grpc.adapters.tokens.secret import SecretRefused
from chatter_grpc.core.audit import record
from chatter_grpc.core.clock import Clock, utc_now
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.signing_keys import SigningKey
from chatter_grpc.core.storage import Storage

_log = logging.getLogger(__name__)

RELOAD_AFTER: Final = 1.0
# How long a rotation may go unnoticed: so long a server that runs goes on signing with the key before.
REFRESH_AFTER: Final = 10.0
# A server that runs signs with a key only when it is so old: more than ``RELOAD_AFTER``, in which another server would
# not look for it again, and than the clocks of servers differ.
SIGN_AFTER: Final = timedelta(seconds=5)
# The longest that a token may be set to hold.
TOKEN_LIFETIME: Final = timedelta(days=365)
# Added to the time that the tokens of a retired key hold: for servers that had not noticed, and clocks that differ.
MARGIN: Final = timedelta(hours=1)


class KeyRing:
    """Holds all signing keys in memory; ``open`` it before use.

    A key that another replica made is found when its id first turns up; since anybody can send an unknown id, the
    database is asked at most once in ``reload_after`` seconds, and a key signs only once everybody would find it.
    ``run`` looks for a rotation every ``refresh_after``.

    A retired key verifies for as long as a token that it signed may hold, ``token_lifetime``, and not for ever: whoever
    has stolen it can give a token any times, but not the key.
    """

    def __init__(
        self,
        storage: Storage,
        sealer: Sealer,
        *,
        token_lifetime: timedelta = TOKEN_LIFETIME,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        reload_after: float = RELOAD_AFTER,
        refresh_after: float = REFRESH_AFTER,
    ) -> None:
        self._storage = storage
        self._sealer = sealer
        self._clock = clock
        self._monotonic = monotonic
        self._token_lifetime = token_lifetime
        self._reload_after = reload_after
        self._refresh_after = refresh_after
        self._reload = asyncio.Lock()
        self._loaded_at: float | None = None
        self._kid = ""
        self._public: dict[str, Ed25519PublicKey] = {}
        self._retired: dict[str, datetime] = {}
        self._sealed: dict[str, bytes] = {}
        self._private: dict[str, Ed25519PrivateKey] = {}

    @property
    def kid(self) -> str:
        """The id of the key that signs: the newest that is not retired."""
        return self._kid

    async def open(self) -> None:
        """Load the keys, and make the first where there is none; of several processes at once, one makes it.

        Raises ``SecretRefused`` where the signing key was sealed under another secret, and ``StorageUnavailable``.
        """
        async with self._storage.read() as tx:
            keys = await tx.signing_keys.list()
        if all(key.retired_at is not None for key in keys):
            made = self._make()
            async with self._storage.write() as tx:
                await tx.signing_keys.add_first(made)
            async with self._storage.read() as tx:
                keys = await tx.signing_keys.list()
        self._take(keys, at_once=True)
        try:
            await self.private(self._kid)
        except SealBroken:
            raise SecretRefused(
                f"The signing key {self._kid} in the database was sealed under another secret. Start with the secret "
                "that this database was first used with; all replicas share it."
            ) from None

    async def rotate(self) -> str:
        """Make another key, which signs from now on, and return its id; those before it are retired.

        Tokens that they signed hold until they expire. Raises ``StorageUnavailable``.
        """
        made = self._make()
        async with self._storage.write() as tx:
            await tx.signing_keys.rotate(made)
            await record(tx.audit, "signing_key", made.kid)
            keys = await tx.signing_keys.list()
        self._take(keys, at_once=True)
        return made.kid

    async def run(self) -> None:
        """Look for keys that were rotated elsewhere, until cancelled."""
        failing = False
        while True:
            await asyncio.sleep(self._refresh_after)
            try:
                async with self._reload, self._storage.read() as tx:
                    self._take(await tx.signing_keys.list())
            except StorageUnavailable as error:
                if not failing:
                    _log.warning("signing keys cannot be read: %s", type(error).__name__)
                failing = True
            else:
                if failing:
                    _log.warning("signing keys are read again")
                failing = False

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        """Return the key that verifies what ``kid`` signed, or ``None``, as where it was retired long ago."""
        await self._find(kid)
        retired_at = self._retired.get(kid)
        if retired_at is not None and self._clock() >= retired_at + self._token_lifetime + MARGIN:
            return None
        return self._public.get(kid)

    async def private(self, kid: str) -> Ed25519PrivateKey | None:
        """Return the key that signs as ``kid``, or ``None``; raises ``SealBroken``."""
        await self._find(kid)
        if kid not in self._private and kid in self._sealed:
            self._private[kid] = Ed25519PrivateKey.from_private_bytes(self._sealer.unseal(self._sealed[kid], kid))
        return self._private.get(kid)

    async def _find(self, kid: str) -> None:
        if kid in self._public:
            return
        async with self._reload:
            known = kid in self._public
            recent = self._loaded_at is not None and self._monotonic() - self._loaded_at < self._reload_after
            if known or recent:
                return
            async with self._storage.read() as tx:
                self._take(await tx.signing_keys.list())

    def _take(self, keys: tuple[SigningKey, ...], *, at_once: bool = False) -> None:
        self._loaded_at = self._monotonic()
        newest = next((key for key in keys if key.retired_at is None), None)
        if newest is not None and (at_once or self._clock() >= newest.created_at + SIGN_AFTER):
            self._kid = newest.kid
        for key in keys:
            if key.kid not in self._public:
                self._public[key.kid] = Ed25519PublicKey.from_public_bytes(key.public)
                self._sealed[key.kid] = key.sealed_private
            if key.retired_at is not None:
                self._retired[key.kid] = key.retired_at

    def _make(self) -> SigningKey:
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        kid = hashlib.sha256(public).hexdigest()[:32]
        return SigningKey(
            kid=kid,
            public=public,
            sealed_private=self._sealer.seal(private.private_bytes_raw(), kid),
            created_at=self._clock(),
        )
