"""The commands: `chatter chat`, `chatter login` and `chatter logout`."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from chatter_client.aio import Client, connect
from chatter_client.connection import Tls
from chatter_client.credentials import Credentials
from chatter_client.errors import ClientError
from chatter_client.terminal.access import NoAccess, credentials_for, is_known, kept_session, sign_in
from chatter_client.terminal.chat import Chat, Left
from chatter_client.terminal.prompt import Prompt
from chatter_client.terminal.screen import Screen, typed

DEFAULT_TARGET: Final = "127.0.0.1:50051"
# What a shell reports for a process that Ctrl-C ended.
INTERRUPTED: Final = 130

Target = Annotated[str, typer.Option("--server", envvar="CHATTER_SERVER", help="Where the server is, as host:port.")]
Plaintext = Annotated[bool, typer.Option("--plaintext", help="Do not encrypt what leaves this machine.")]
Authority = Annotated[
    Path | None, typer.Option("--ca", exists=True, dir_okay=False, help="Trust these certificates (PEM) and no others.")
]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def about() -> None:
    """Talk to a Chatter server."""


@app.command()
def chat(
    target: Target = DEFAULT_TARGET,
    model: Annotated[str, typer.Option("--model", help="The model that answers.")] = "",
    conversation: Annotated[str, typer.Option("--conversation", help="The id of the one to go on with.")] = "",
    plaintext: Plaintext = False,
    ca: Authority = None,
) -> None:
    """Chat; what is piped in is one message.

    CHATTER_API_KEY, or CHATTER_LOGIN and CHATTER_PASSWORD, go before the session that is kept.
    """

    def run(runner: asyncio.Runner, client: Client, screen: Screen, credentials: Credentials) -> None:
        talk = Chat(client, screen, conversation_id=conversation, model=model)
        if not is_known(credentials):
            sign_in(runner, client, screen, register=_wants_to_register())
        if sys.stdin.isatty():
            Prompt(talk, screen, runner).run()
        elif (text := typed(sys.stdin.read())) and not runner.run(talk.say(text)):
            raise typer.Exit(1)

    _with_client(run, target, credentials_for, plaintext=plaintext, ca=ca)


@app.command()
def login(
    target: Target = DEFAULT_TARGET,
    register: Annotated[bool, typer.Option("--register", help="Make an account first.")] = False,
    plaintext: Plaintext = False,
    ca: Authority = None,
) -> None:
    """Open a session with a server, and keep it for `chatter chat`."""

    def run(runner: asyncio.Runner, client: Client, screen: Screen, credentials: Credentials) -> None:
        sign_in(runner, client, screen, register=register)

    _with_client(run, target, kept_session, plaintext=plaintext, ca=ca)


@app.command()
def logout(target: Target = DEFAULT_TARGET, plaintext: Plaintext = False, ca: Authority = None) -> None:
    """End the session with a server."""

    def run(runner: asyncio.Runner, client: Client, screen: Screen, credentials: Credentials) -> None:
        runner.run(client.log_out())

    _with_client(run, target, kept_session, plaintext=plaintext, ca=ca)


def _with_client(
    run: Callable[[asyncio.Runner, Client, Screen, Credentials], None],
    target: str,
    find: Callable[[str], Credentials],
    *,
    plaintext: bool,
    ca: Path | None,
) -> None:
    """Run with a client that has the credentials that are found for the target, and exit as its errors ask for."""
    screen = Screen()
    if plaintext and ca:
        raise typer.BadParameter("an authority is for a connection that is encrypted", param_hint="--plaintext / --ca")
    try:
        credentials = find(target)
    except (NoAccess, OSError) as error:
        screen.complain(str(error))
        raise typer.Exit(1) from None
    tls: Tls | bool | None = Tls(root_certificates=ca.read_bytes()) if ca else False if plaintext else None

    async def made() -> Client:
        return connect(target, credentials=credentials, tls=tls, listener=screen.interrupted)

    with asyncio.Runner() as runner:
        client = runner.run(made())
        try:
            run(runner, client, screen, credentials)
        except BrokenPipeError:
            # Whoever read the answer has gone: click ends quietly.
            raise
        except (NoAccess, ClientError, OSError) as error:
            screen.complain(str(error))
            raise typer.Exit(1) from None
        except (Left, KeyboardInterrupt, EOFError):
            raise typer.Exit(INTERRUPTED) from None
        finally:
            runner.run(client.close())


def _wants_to_register() -> bool:
    return sys.stdin.isatty() and input("No session yet. Log in, or register? [L/r] ").strip().lower().startswith("r")
