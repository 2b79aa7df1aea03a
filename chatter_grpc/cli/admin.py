"""`chatter-grpc admin`: makes and disables accounts, gives out and revokes their API keys, shows the audit log."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatter_grpc.cli.audit import print_entries, read_position, shown_position
from chatter_grpc.cli.faults import complain
from chatter_grpc.core.accounts import Accounts, AccountUnknown, KeyUnknown
from chatter_grpc.core.api_keys import MARK, ApiKey
from chatter_grpc.core.audit import Action, acting
from chatter_grpc.core.callers import Scope
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.errors import ChatterError, FieldInvalid
from chatter_grpc.core.pages import DEFAULT_SIZE, MAX_SIZE, PageRequest
from chatter_grpc.core.users import User

OpenAccounts = Callable[[], AbstractAsyncContextManager[Accounts]]
Result = TypeVar("Result")

DEFAULT_DAYS: Final = 365

LoginArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its username or email address.")]
UsernameArgument = Annotated[str, typer.Argument(metavar="USERNAME", help="3 to 50 of a-z, A-Z, 0-9, _ and -.")]
DisplayNameOption = Annotated[str, typer.Option("--display-name", help="A name for people to read.")]


def admin_commands(open_accounts: OpenAccounts) -> typer.Typer:
    """Return the sub-commands, which reach the database through ``open_accounts``."""
    commands = AdminCommands(open_accounts)
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, help="Accounts, API keys, the audit log and signing keys."
    )
    app.command("create-admin")(commands.create_admin)
    app.command("create-service")(commands.create_service)
    app.command("create-key")(commands.create_key)
    app.command("list-keys")(commands.list_keys)
    app.command("revoke-key")(commands.revoke_key)
    app.command("disable-user")(commands.disable_user)
    app.command("enable-user")(commands.enable_user)
    app.command("audit")(commands.audit)
    return app


class AdminCommands:
    """The sub-commands. What people read goes to stderr, so that a new key stands on stdout alone."""

    def __init__(self, open_accounts: OpenAccounts) -> None:
        self._open_accounts = open_accounts

    def create_admin(
        self,
        username: UsernameArgument,
        email: Annotated[str, typer.Argument(metavar="EMAIL", help="Its email address.")],
        display_name: DisplayNameOption = "",
        password_stdin: Annotated[
            bool, typer.Option("--password-stdin", help="Read the password from a line of stdin.")
        ] = False,
    ) -> None:
        """Make an administrator's account; the password is asked for."""
        password = _read_password(from_stdin=password_stdin)
        user = self._do(
            "create-admin",
            lambda accounts: accounts.create_admin(
                username=username, email=email, password=password, display_name=display_name
            ),
        )
        _show(_account("Administrator", user, "created"))

    def create_service(self, username: UsernameArgument, display_name: DisplayNameOption = "") -> None:
        """Make an account for a program that calls with API keys, for itself or for its own users (act_as)."""
        user = self._do(
            "create-service", lambda accounts: accounts.create_service(username=username, display_name=display_name)
        )
        _show(_account("Service", user, "created"))

    def create_key(
        self,
        account: LoginArgument,
        name: Annotated[str, typer.Option("--name", help="What the key is for.")],
        scope: Annotated[list[Scope], typer.Option("--scope", help="What it allows; repeat for several.")],
        days: Annotated[int, typer.Option("--days", min=0, help="Days until it expires; 0: it does not.")] = (
            DEFAULT_DAYS
        ),
    ) -> None:
        """Give an account an API key. It is printed on stdout, this once, and kept nowhere."""
        expires_at = utc_now() + timedelta(days=days) if days else None
        issued = self._do(
            "create-key",
            lambda accounts: accounts.create_api_key(login=account, name=name, scopes=scope, expires_at=expires_at),
        )
        _show(f"Key {issued.key.prefix} created, {_expiry(issued.key)}. Keep it now: it cannot be shown again.")
        typer.echo(issued.text)

    def list_keys(self, account: LoginArgument) -> None:
        """List an account's API keys, without their secrets."""
        keys = self._do("list-keys", lambda accounts: accounts.list_api_keys(account))
        table = Table("PREFIX", "NAME", "SCOPES", "CREATED", "STATE")
        now = utc_now()
        for key in keys:
            scopes = ", ".join(sorted(key.scopes))
            table.add_row(key.prefix, Text(key.name), scopes, _day(key.created_at), _state(key, now))
        Console().print(table)

    def revoke_key(
        self, prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="The key's prefix, as list-keys shows it.")]
    ) -> None:
        """Revoke an API key: it is refused from now on, and its open streams end."""
        key = self._do("revoke-key", lambda accounts: accounts.revoke_api_key(prefix.removeprefix(MARK)))
        _show(f"Key {key.prefix} is revoked.")

    def disable_user(self, account: LoginArgument) -> None:
        """Disable an account: its sessions and streams end, its keys are refused, its runs are cancelled."""
        user = self._do("disable-user", lambda accounts: accounts.disable_user(account))
        _show(_account("Account", user, "is disabled"))

    def enable_user(self, account: LoginArgument) -> None:
        """Enable an account that was disabled. It logs in again; its keys work as before."""
        user = self._do("enable-user", lambda accounts: accounts.enable_user(account))
        _show(_account("Account", user, "is enabled"))

    def audit(
        self,
        account: Annotated[
            str, typer.Option("--account", metavar="ACCOUNT", help="What this account did, and what was done to it.")
        ] = "",
        limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_SIZE, help="How many rows.")] = DEFAULT_SIZE,
        after: Annotated[str, typer.Option("--after", help="Go on where the page before ended.")] = "",
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    ) -> None:
        """Show who changed what, the newest first: logins, failed ones too, keys, accounts, deletions."""
        asked = PageRequest(size=limit, after=read_position(after))
        page = self._do("audit", lambda accounts: accounts.audit_log(account, asked))
        print_entries(page.items, as_json=as_json)
        if page.next is not None:
            _show(f"There are more: --after {shown_position(page.next)}")

    def _do(self, command: str, work: Callable[[Accounts], Awaitable[Result]]) -> Result:
        async def do() -> Result:
            async with self._open_accounts() as accounts:
                return await work(accounts)

        try:
            with acting(Action(method=f"chatter-grpc admin {command}")):
                return asyncio.run(do())
        except FieldInvalid as error:
            complain("\n".join(f"{violation.field} {violation.description}" for violation in error.violations))
        except AccountUnknown as error:
            complain(f"No account has the username or email address {error}.")
        except KeyUnknown as error:
            complain(f"No API key has the prefix {error}.")
        except ChatterError as error:
            complain(error.message)


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _show(text: str) -> None:
    # Names are not markup, whatever brackets they hold.
    Console(stderr=True, soft_wrap=True).print(Text(text))


def _account(kind: str, user: User, done: str) -> str:
    return f"{kind} {user.username} ({user.id}) {done}."


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked on {_day(key.revoked_at)}"
    if not key.valid_at(now):
        assert key.expires_at is not None
        return f"expired on {_day(key.expires_at)}"
    return _expiry(key)


def _expiry(key: ApiKey) -> str:
    return "does not expire" if key.expires_at is None else f"expires on {_day(key.expires_at)}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
