"""One HTTP call of a provider: opened, read with deadlines, closed at once."""

import asyncio
import io
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import StrOrURL

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.http import HttpPool, ReadWatch, WaitExpired
from chatter_grpc.adapters.models.retries import CallFailed, parse_retry_after
from chatter_grpc.adapters.models.wire import error_code, error_pause
from chatter_grpc.core.errors import (
    ProviderRateLimited,
    ProviderRefused,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
)

_PASSING_STATUSES: Final = frozenset({408, 500, 502, 503, 504, 529})
# aiohttp sends bytes above 1 MiB in one piece, and warns of it.
_WHOLE_BODY_BYTES: Final = 1024 * 1024
_ERROR_BODY_BYTES: Final = 16 * 1024
_ERROR_BODY_SECONDS: Final = 2.0
# What follows the last event is the end of the body; it is on its way, and worth a connection that can be reused.
_END_OF_BODY_SECONDS: Final = 0.25

# A RuntimeError is how aiohttp says that the connection was closed on this side, which a stopping pool does.
_BROKEN: Final = (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError)

_log = logging.getLogger(__name__)


class OpenCall:
    """An answer that has begun to arrive; leaving the context frees its connection or closes it.

    Left in order, the connection goes back to the pool once its answer is read to the end; left by an exception,
    cancellation or ``aclose()``, it is closed before the context is left.
    """

    def __init__(self, response: aiohttp.ClientResponse, *, provider: str, deadline: float) -> None:
        """Take the answer, its provider's name, and until when its first piece is waited for."""
        self._response = response
        self._provider = provider
        self._watch = ReadWatch(response)
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._phase = "first_token"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(in_order=kind is None)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the answer, whose names may be written in any case."""
        return self._response.headers

    async def close(self, *, in_order: bool) -> None:
        """Leave the call: in order, which reads what is left of its end, or at once."""
        try:
            if in_order:
                await self._read_to_end()
        finally:
            self._watch.stop()
            self._response.close()
            # The transport closes its socket in the loop's next round.
            await asyncio.sleep(0)

    def wait_at_most(self, seconds: float) -> None:
        """Set how long the next bytes are waited for from now on, now that the answer has begun."""
        self._deadline = self._loop.time() + seconds
        self._phase = "idle"

    async def read(self) -> bytes:
        """Return all bytes that are there, none at the end; raises ``CallFailed``."""
        try:
            return await self._watch.read(self._deadline)
        except WaitExpired:
            error = ProviderTimeout(provider=self._provider, phase=self._phase)
            raise CallFailed(error, may_pass=False) from None
        except _BROKEN as cause:
            raise CallFailed(ProviderStreamBroken(provider=self._provider), may_pass=True) from cause

    async def _read_to_end(self) -> None:
        deadline = self._loop.time() + _END_OF_BODY_SECONDS
        try:
            while not self._response.content.at_eof():
                await self._watch.read(deadline)
        except (WaitExpired, *_BROKEN):
            _log.debug("%s: a connection did not end with its answer and is closed", self._provider)


class Caller:
    """Opens calls of one endpoint."""

    def __init__(self, endpoint: EndpointConfig, pool: HttpPool) -> None:
        self._endpoint = endpoint
        self._pool = pool
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=endpoint.connect_seconds, sock_connect=endpoint.connect_seconds
        )

    async def open(self, url: StrOrURL, headers: Mapping[str, str], body: bytes) -> OpenCall:
        """Post a request and return its answer from the status 200 on; raises ``CallFailed``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._endpoint.first_token_seconds
        response = await self._post(url, headers, body, deadline)
        if response.status != 200:
            raise await self._refusal(response)
        return OpenCall(response, provider=self._endpoint.provider, deadline=deadline)

    async def _post(
        self, url: StrOrURL, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> aiohttp.ClientResponse:
        provider = self._endpoint.provider
        if self._pool.closed:
            raise CallFailed(ProviderUnavailable(provider=provider), may_pass=False)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._pool.session.post(
                    url,
                    data=body if len(body) <= _WHOLE_BODY_BYTES else io.BytesIO(body),
                    headers={**headers, "Accept-Encoding": "identity"},
                    timeout=self._timeout,
                    # A redirect would hand the key and the conversation to another address.
                    allow_redirects=False,
                )
        except aiohttp.ConnectionTimeoutError as cause:
            error = ProviderTimeout(provider=provider, phase="connect")
            raise CallFailed(error, may_pass=True) from cause
        except TimeoutError as cause:
            error = ProviderTimeout(provider=provider, phase="first_token")
            raise CallFailed(error, may_pass=False) from cause
        except (aiohttp.ClientError, OSError) as cause:
            raise CallFailed(ProviderUnavailable(provider=provider), may_pass=True) from cause

    async def _refusal(self, response: aiohttp.ClientResponse) -> CallFailed:
        provider, status = self._endpoint.provider, response.status
        try:
            body = await self._error_body(response)
        finally:
            response.release()
        code = error_code(body)
        _log.warning("%s answered with status %d %s", provider, status, code)
        retry_after = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
        if retry_after is None:
            retry_after = error_pause(body)
        if status == 429:
            # A quota that is used up is no matter of seconds.
            error = ProviderRateLimited(provider=provider, retry_after=retry_after)
            return CallFailed(error, may_pass=code != "insufficient_quota", retry_after=retry_after)
        if status in _PASSING_STATUSES or status >= 500:
            unavailable = ProviderUnavailable(provider=provider, status=status)
            return CallFailed(unavailable, may_pass=status in _PASSING_STATUSES, retry_after=retry_after)
        return CallFailed(ProviderRefused(provider=provider, status=status), may_pass=False)

    async def _error_body(self, response: aiohttp.ClientResponse) -> bytes:
        """Return as much of an error's body as says what it is about; it is never logged or passed on."""
        body = b""
        try:
            async with asyncio.timeout(_ERROR_BODY_SECONDS):
                while len(body) < _ERROR_BODY_BYTES and (piece := await response.content.readany()):
                    body += piece
        except (TimeoutError, *_BROKEN):
            _log.debug("%s: the body of an error did not arrive whole", self._endpoint.provider)
        return body
