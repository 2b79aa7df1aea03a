"""`chatter-grpc admin` does what an operator needs, and shows a key on stdout, once, and nothing else there."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest
from typer.testing import CliRunner, Result

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.tokens.api_keys import KeyedHasher
from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.cli.admin import admin_commands
from chatter_grpc.core.accounts import Accounts
from chatter_grpc.core.storage import Transaction
from chatter_grpc.core.users import User, UserRole, UserState
from tests.support.databases import SqliteFiles

PASSWORD = "correct horse battery"
KEY = re.compile(r"chk_([0-9a-z]{12})_[0-9A-Za-z]{43}\n")

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Admin:
    """The command line on a database of the test's own."""

    url: str

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(admin_commands(self.open_accounts), arguments, input=stdin)

    @asynccontextmanager
    async def open_accounts(self) -> AsyncIterator[Accounts]:
        database = Database(self.url)
        passwords = Argon2Hasher()
        try:
            yield Accounts(
                storage=SqlStorage(database),
                passwords=passwords,
                key_hasher=KeyedHasher(bytes(32)),
                announce=lambda _: None,
            )
        finally:
            await passwords.close()
            await database.close()

    def look(self, at: Callable[[Transaction], Awaitable[Found]]) -> Found:
        async def look() -> Found:
            database = Database(self.url)
            try:
                async with SqlStorage(database).read() as tx:
                    return await at(tx)
            finally:
                await database.close()

        return asyncio.run(look())

    def user(self, login: str) -> User:
        user = self.look(lambda tx: tx.users.find(login))
        assert user is not None
        return user

    def key(self, *more: str) -> str:
        """Make a service with a key; return the key's prefix."""
        assert self("create-service", "robot").exit_code == 0
        result = self("create-key", "robot", "--name", "nightly job", "--scope", "chat:read", *more)
        assert result.exit_code == 0, result.output
        match = KEY.fullmatch(result.stdout)
        assert match is not None
        return match[1]


@pytest.fixture
def admin(sqlite_files: SqliteFiles) -> Iterator[Admin]:
    with sqlite_files.fresh() as url:
        yield Admin(url)


def test_the_first_administrator_is_made_with_a_password_from_stdin(admin: Admin) -> None:
    result = admin("create-admin", "root", "root@example.org", "--password-stdin", stdin=f"{PASSWORD}\n")
    user = admin.user("root")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == f"Administrator root ({user.id}) created.\n"
    assert (user.role, user.email) == (UserRole.ADMIN, "root@example.org")


def test_without_stdin_the_password_is_asked_for_twice_and_not_shown(admin: Admin) -> None:
    result = admin("create-admin", "root", "root@example.org", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    differing = admin("create-admin", "eve", "eve@example.org", stdin=f"{PASSWORD}\nanother one\n")
    assert differing.exit_code == 1


def test_every_rule_that_is_broken_is_said_and_nothing_is_made(admin: Admin) -> None:
    result = admin("create-admin", "x", "nowhere", "--password-stdin", stdin="\n")
    assert result.exit_code == 1
    assert [line.split()[1] for line in result.stderr.splitlines()] == ["username", "email", "password"]
    assert admin.look(lambda tx: tx.users.find("x")) is None


def test_a_taken_name_is_said_in_one_line(admin: Admin) -> None:
    admin("create-service", "robot")
    result = admin("create-service", "Robot")
    assert result.exit_code == 1
    assert result.stderr == "chatter-grpc: Another account has this username; choose another one.\n"


def test_a_key_stands_on_stdout_alone_so_that_a_script_can_take_it(admin: Admin) -> None:
    admin("create-service", "robot")
    result = admin("create-key", "robot", "--name", "[bold]job", "--scope", "chat:read", "--scope", "act_as")
    match = KEY.fullmatch(result.stdout)
    assert match is not None
    assert result.stdout.strip() not in result.stderr
    key = admin.look(lambda tx: tx.api_keys.find(match[1]))
    assert key is not None
    assert (key.name, key.scopes) == ("[bold]job", frozenset({"chat:read", "act_as"}))
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).days in {364, 365}


def test_a_key_of_zero_days_does_not_expire(admin: Admin) -> None:
    prefix = admin.key("--days", "0")
    key = admin.look(lambda tx: tx.api_keys.find(prefix))
    assert key is not None
    assert key.expires_at is None
    assert "does not expire" in admin("list-keys", "robot").stdout


def test_an_unknown_scope_is_refused_with_those_that_there_are(admin: Admin) -> None:
    admin("create-service", "robot")
    result = admin("create-key", "robot", "--name", "k", "--scope", "everything")
    assert result.exit_code == 2
    assert "chat:write" in result.stderr


def test_listed_keys_show_everything_but_the_secret(admin: Admin) -> None:
    prefix = admin.key()
    listed = admin("list-keys", "robot")
    assert listed.exit_code == 0
    for part in (prefix, "nightly job", "chat:read", "expires on"):
        assert part in listed.stdout
    assert "chk_" not in listed.stdout


@pytest.mark.parametrize("form", ["{}", "chk_{}"])
def test_a_revoked_key_is_listed_as_such(admin: Admin, form: str) -> None:
    prefix = admin.key()
    assert admin("revoke-key", form.format(prefix)).stderr == f"Key {prefix} is revoked.\n"
    assert "revoked on" in admin("list-keys", "robot").stdout
    assert admin("revoke-key", prefix).exit_code == 0


def test_an_account_is_disabled_and_enabled(admin: Admin) -> None:
    admin("create-service", "robot")
    assert admin("disable-user", "robot").exit_code == 0
    assert admin.user("robot").state is UserState.DISABLED
    assert admin("enable-user", "robot").exit_code == 0
    assert admin.user("robot").state is UserState.ACTIVE


@pytest.mark.parametrize(
    "command",
    [
        ("list-keys", "nobody"),
        ("disable-user", "nobody"),
        ("enable-user", "nobody"),
        ("create-key", "nobody", "--name", "k", "--scope", "chat:read"),
        ("revoke-key", "nobody"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(admin: Admin, command: tuple[str, ...]) -> None:
    result = admin(*command)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"chatter-grpc: No (account|API key) has the .* nobody\.\n", result.stderr)
