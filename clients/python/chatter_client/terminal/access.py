"""Who the person is: an API key, a session that is kept, or a name and a password that are asked for."""

import asyncio
import getpass
import os
import sys
from typing import Final

from chatter_client.aio import Client
from chatter_client.contract import auth_service_pb2
from chatter_client.credentials import ApiKey, Credentials, Session
from chatter_client.errors import ChatterError
from chatter_client.terminal.files import session_file
from chatter_client.terminal.screen import Screen
from chatter_client.tokens import FileStore

KEY: Final = "CHATTER_API_KEY"
SUBJECT: Final = "CHATTER_SUBJECT"
LOGIN: Final = "CHATTER_LOGIN"
PASSWORD: Final = "CHATTER_PASSWORD"
# What another answer may mend.
CORRIGIBLE: Final = frozenset({"EMAIL_TAKEN", "FIELD_INVALID", "LOGIN_FAILED", "USERNAME_TAKEN"})


class NoAccess(Exception):
    """There are no credentials, and nobody to ask for them; the message says what to do."""


def credentials_for(target: str) -> Credentials:
    """Return the credentials of the environment, or the session that is kept for the server; raises ``NoAccess``."""
    if key := os.environ.get(KEY):
        try:
            return ApiKey(key=key, subject=os.environ.get(SUBJECT, ""))
        except ValueError as refused:
            raise NoAccess(f"{KEY} or {SUBJECT}: {refused}") from None
    if login := os.environ.get(LOGIN):
        # Nothing is kept: the session in the file may be another account's.
        return Session(login=login, password=os.environ.get(PASSWORD, ""))
    return kept_session(target)


def kept_session(target: str) -> Session:
    """Return the session that is kept for a server, which may be none yet."""
    return Session(store=FileStore(session_file(target)))


def is_known(credentials: Credentials) -> bool:
    """Whether nobody has to be asked."""
    return isinstance(credentials, ApiKey) or bool(credentials.login) or credentials.store.load() is not None


def sign_in(runner: asyncio.Runner, client: Client, screen: Screen, *, register: bool) -> None:
    """Ask for a name and a password, and open a session; raises ``NoAccess`` and ``ChatterError``."""
    if not sys.stdin.isatty():
        raise NoAccess(f"not logged in: use `chatter login`, or set {KEY}, or {LOGIN} and {PASSWORD}")
    while True:
        login = input("Username: " if register else "Username or email: ").strip()
        email = input("Email: ").strip() if register else ""
        password = getpass.getpass("Password: ")
        try:
            if register:
                runner.run(_register(client, login, email, password))
                register = False
            runner.run(client.log_in(login, password))
        except ChatterError as error:
            if error.reason not in CORRIGIBLE:
                raise
            screen.complain(str(error))
        else:
            return


async def _register(client: Client, login: str, email: str, password: str) -> None:
    await client.auth.Register(auth_service_pb2.RegisterRequest(username=login, email=email, password=password))
