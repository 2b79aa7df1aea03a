"""Keeps what calls carry: an API key as it is, a session's access token as long as it holds."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import grpc

from chatter_client._gen.chatter.v1.auth_service_pb2_grpc import AuthServiceStub
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

NOBODY: Final[Metadata] = ()


class Keeper(Protocol):
    """Knows what calls carry. Its methods may be called on any thread."""

    def metadata(self) -> Metadata:
        """Return what a call carries now."""
        ...

    def renew(self, refused: Metadata) -> bool:
        """Make sure that calls carry something else than what was refused as expired; ``False`` if that cannot be."""
        ...


class FixedKeeper:
    """What calls carry never changes: an API key, or nothing."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def metadata(self) -> Metadata:
        """See ``Keeper``."""
        return self._metadata

    def renew(self, refused: Metadata) -> bool:
        """See ``Keeper``."""
        return False


class SessionKeeper:
    """Renews a session's tokens before their time is over and when the server says that it is.

    However many threads find the tokens due, they are renewed once.
    """

    def __init__(self, session: Session, held: Held | None = None) -> None:
        self._session = session
        self._held = held or Held()
        self._auth: AuthServiceStub | None = None
        self._renewing = threading.Lock()

    def attach(self, auth: AuthServiceStub) -> None:
        """Say where to log in and renew."""
        self._auth = auth

    def metadata(self) -> Metadata:
        """See ``Keeper``; raises ``Unauthenticated`` where there is no session, and what a renewal raises."""
        return bearer(self._held.usable() or self._renewed(""))

    def renew(self, refused: Metadata) -> bool:
        """See ``Keeper``."""
        self._renewed(dict(refused).get("authorization", "").removeprefix("Bearer "))
        return True

    def log_in(self, login: str, password: str) -> auth_service_pb2.LoginResponse:
        """Open a session and keep its tokens."""
        assert self._auth is not None
        response = self._auth.Login(auth_service_pb2.LoginRequest(login=login, password=password))
        with self._locked():
            self._keep(Tokens.read(response.tokens))
        return response

    def forget(self) -> None:
        """Keep no tokens."""
        with self._locked():
            self._keep(None)

    def _renewed(self, refused: str) -> Tokens:
        with self._renewing:
            # Another thread may have renewed them meanwhile.
            return self._held.usable(refused) or self._renew(refused)

    def _renew(self, refused: str) -> Tokens:
        with self._locked():
            saved = self._session.store.load()
            if saved is not None and saved != self._held.tokens:
                # Another process that shares the session has renewed it.
                self._held.put(saved, fresh=False)
                if found := self._held.usable(refused):
                    return found
            try:
                tokens = self._exchange(saved)
            except Unauthenticated:
                self._keep(None)
                raise
            except ChatterError:
                if found := self._held.bearable(refused):
                    return found
                raise
            self._keep(tokens)
            return tokens

    def _exchange(self, saved: Tokens | None) -> Tokens:
        """Return the next tokens; raises ``ChatterError``."""
        assert self._auth is not None
        if saved is not None:
            request = auth_service_pb2.RefreshRequest(refresh_token=saved.refresh_token)
            for pause in (*RENEWAL_PAUSES, None):
                try:
                    return Tokens.read(self._auth.Refresh(request).tokens)
                except ChatterError as error:
                    if error.reason == EXPIRED and self._session.login:
                        break
                    if error.code is not grpc.StatusCode.UNAVAILABLE or pause is None:
                        raise
                time.sleep(pause)
        if not self._session.login:
            raise not_logged_in()
        login = auth_service_pb2.LoginRequest(login=self._session.login, password=self._session.password)
        return Tokens.read(self._auth.Login(login).tokens)

    def _keep(self, tokens: Tokens | None) -> None:
        self._held.put(tokens, fresh=True)
        self._session.store.save(tokens)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock; raises ``ChatterError`` where another process does not give it back."""
        give_up_at = time.monotonic() + LOCK_SECONDS
        while not self._session.store.try_lock():
            if time.monotonic() > give_up_at:
                raise not_unlocked()
            time.sleep(LOCK_PAUSE_SECONDS)
        try:
            yield
        finally:
            self._session.store.unlock()


def keeper_of(credentials: Credentials | None) -> Keeper:
    """Return what keeps these credentials."""
    if isinstance(credentials, ApiKey):
        return FixedKeeper(credentials.metadata)
    return FixedKeeper(NOBODY) if credentials is None else SessionKeeper(credentials)
