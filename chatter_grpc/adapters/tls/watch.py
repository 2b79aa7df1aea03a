"""Watches a certificate's files: has what they hold taken when it changes, and says in time when it ends."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from chatter_grpc.adapters.tls.files import CertificateFiles, CertificateRefused
from chatter_grpc.core.certificates import Certificate
from chatter_grpc.core.clock import Clock

INTERVAL: Final = 2.0
# Authorities that give out short certificates renew them a third of their life before the end.
SOON: Final = timedelta(days=7)

_log = logging.getLogger(__name__)


class CertificateWatch:
    """Reads the files every ``interval`` seconds and calls ``take`` with what is new; what is refused changes nothing.

    A certificate that has ended is used all the same: it is for the clients to refuse it, and a log line's to tell.
    """

    def __init__(
        self,
        files: CertificateFiles,
        current: Certificate,
        take: Callable[[Certificate], None],
        clock: Clock,
        interval: float = INTERVAL,
    ) -> None:
        self._files = files
        self._current = current
        self._take = take
        self._clock = clock
        self._interval = interval
        self._told = ""
        self._refusals: list[str] = []

    async def run(self) -> None:
        """Watch; has no end of its own."""
        while True:
            self.tell_validity()
            await asyncio.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Read the files once."""
        try:
            found = await asyncio.to_thread(self._files.read)
        except CertificateRefused as refusal:
            # Two files do not change at one moment: what is refused once may be half of a change.
            if self._refusals.count(str(refusal)) == 1:
                _log.error("certificate_refused", extra={"cause": str(refusal)})
            self._refusals.append(str(refusal))
            return
        self._refusals.clear()
        if found != self._current:
            self._take(found)
            self._current = found
            self._told = ""
            _log.info("certificate_replaced", extra={"ends_at": found.ends_at.isoformat()})

    def tell_validity(self) -> None:
        """Warn, once each, where the certificate does not hold yet, ends soon, or has ended."""
        now = self._clock()
        ends_at = self._current.ends_at
        if now >= ends_at:
            event = "certificate_expired"
        elif now < self._current.begins_at:
            event = "certificate_not_yet_valid"
        elif ends_at - now < min(SOON, (ends_at - self._current.begins_at) / 3):
            event = "certificate_expires_soon"
        else:
            event = ""
        if event and event != self._told:
            _log.warning(
                event, extra={"begins_at": self._current.begins_at.isoformat(), "ends_at": ends_at.isoformat()}
            )
        self._told = event
