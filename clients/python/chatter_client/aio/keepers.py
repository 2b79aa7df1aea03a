"""Keeps what calls carry: an API key as it is, a session's access token as long as it holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

import grpc

from chatter_client.contract import auth_service_pb2
from chatter_client.credentials import (
    LOCK_PAUSE_SECONDS,
    LOCK_SECONDS,
    RENEWAL_PAUSES,
    ApiKey,
    Credentials,
    Held,
    Metadata,
    Session,
    bearer,
    not_logged_in,
    not_unlocked,
)
from chatter_client.errors import ChatterError, Unauthenticated
from chatter_client.progress import EXPIRED
from chatter_client.tokens import Tokens

if TYPE_CHECKING:
    from chatter_client._gen.chatter.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

NOBODY: Final[Metadata] = ()


class Keeper(Protocol):
    """Knows what calls carry."""

    async def metadata(self) -> Metadata:
        """Return what a call carries now."""
        ...

    async def renew(self, refused: Metadata) -> bool:
        """Make sure that calls carry something else than what was refused as expired; ``False`` if that cannot be."""
        ...


class FixedKeeper:
    """What calls carry never changes: an API key, or nothing."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    async def metadata(self) -> Metadata:
        """See ``Keeper``."""
        return self._metadata

    async def renew(self, refused: Metadata) -> bool:
        """See ``Keeper``."""
        return False


class SessionKeeper:
    """Renews a session's tokens before their time is over and when the server says that it is.

    However many calls find the tokens due, they are renewed once.
    """

    def __init__(self, session: Session, held: Held | None = None) -> None:
        self._session = session
        self._held = held or Held()
        self._auth: AuthServiceAsyncStub | None = None
        self._renewing: asyncio.Task[Tokens] | None = None

    def attach(self, auth: "AuthServiceAsyncStub") -> None:
        """Say where to log in and renew."""
        self._auth = auth

    async def metadata(self) -> Metadata:
        """See ``Keeper``; raises ``Unauthenticated`` where there is no session, and what a renewal raises."""
        return bearer(self._held.usable() or await self._renewed(""))

    async def renew(self, refused: Metadata) -> bool:
        """See ``Keeper``."""
        token = dict(refused).get("authorization", "").removeprefix("Bearer ")
        if self._held.usable(refused=token) is None:
            await self._renewed(token)
        return True

    async def log_in(self, login: str, password: str) -> auth_service_pb2.LoginResponse:
        """Open a session and keep its tokens."""
        assert self._auth is not None
        response = await self._auth.Login(auth_service_pb2.LoginRequest(login=login, password=password))
        async with self._locked():
            await self._keep(Tokens.read(response.tokens))
        return response

    async def forget(self) -> None:
        """Keep no tokens."""
        async with self._locked():
            await self._keep(None)

    async def close(self) -> None:
        """Wait for a renewal that is under way: its tokens are the session's only ones."""
        if self._renewing is not None:
            await asyncio.wait([self._renewing])

    async def _renewed(self, refused: str) -> Tokens:
        tokens = await self._shared_renewal(refused)
        if tokens.access_token == refused:
            # That one was begun before the server refused what it found.
            tokens = await self._shared_renewal(refused)
        return tokens

    async def _shared_renewal(self, refused: str) -> Tokens:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew(refused), name="renew tokens")
            # Whoever waits for it may be gone when it fails.
            self._renewing.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A call that is cancelled does not cancel the renewal: the refresh token may be used up already.
        return await asyncio.shield(self._renewing)

    async def _renew(self, refused: str) -> Tokens:
        async with self._locked():
            saved = await asyncio.to_thread(self._session.store.load)
            if saved is not None and saved != self._held.tokens:
                # Another process that shares the session has renewed it.
                self._held.put(saved, fresh=False)
                if found := self._held.usable(refused):
                    return found
            try:
                tokens = await self._exchange(saved)
            except Unauthenticated:
                await self._keep(None)
                raise
            except ChatterError:
                if found := self._held.bearable(refused):
                    return found
                raise
            await self._keep(tokens)
            return tokens

    async def _exchange(self, saved: Tokens | None) -> Tokens:
        """Return the next tokens; raises ``ChatterError``."""
        assert self._auth is not None
        if saved is not None:
            request = auth_service_pb2.RefreshRequest(refresh_token=saved.refresh_token)
            for pause in (*RENEWAL_PAUSES, None):
                try:
                    return Tokens.read((await self._auth.Refresh(request)).tokens)
                except ChatterError as error:
                    if error.reason == EXPIRED and self._session.login:
                        break
                    if error.code is not grpc.StatusCode.UNAVAILABLE or pause is None:
                        raise
                await asyncio.sleep(pause)
        if not self._session.login:
            raise not_logged_in()
        login = auth_service_pb2.LoginRequest(login=self._session.login, password=self._session.password)
        return Tokens.read((await self._auth.Login(login)).tokens)

    async def _keep(self, tokens: Tokens | None) -> None:
        self._held.put(tokens, fresh=True)
        await asyncio.to_thread(self._session.store.save, tokens)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the store's lock; raises ``ChatterError`` where another process does not give it back."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + LOCK_SECONDS
        # Another process gives it back, which no event tells.
        while not await asyncio.to_thread(self._session.store.try_lock):
            if loop.time() > give_up_at:
                raise not_unlocked()
            await asyncio.sleep(LOCK_PAUSE_SECONDS)
        try:
            yield
        finally:
            self._session.store.unlock()


def keeper_of(credentials: Credentials | None) -> Keeper:
    """Return what keeps these credentials."""
    if isinstance(credentials, ApiKey):
        return FixedKeeper(credentials.metadata)
    return FixedKeeper(NOBODY) if credentials is None else SessionKeeper(credentials)
