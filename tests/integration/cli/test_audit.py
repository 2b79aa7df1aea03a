"""`chatter-grpc admin audit` shows who did what, and `rotate-keys` has tokens signed anew."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
import typer
from typer.testing import CliRunner

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.tokens.sealing import Sealer
from chatter_grpc.adapters.tokens.signing_keys import KeyRing
from chatter_grpc.cli.rotation import rotation_command
from tests.integration.cli.test_admin import Admin
from tests.support.databases import SqliteFiles


@pytest.fixture
def admin(sqlite_files: SqliteFiles) -> Iterator[Admin]:
    with sqlite_files.fresh() as url:
        yield Admin(url)


def rows(admin: Admin, *options: str) -> list[dict[str, str]]:
    """The rows of the log, as JSON."""
    result = admin("audit", "--json", *options)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_command_that_changes_something_leaves_a_row(admin: Admin) -> None:
    prefix = admin.key()
    robot = admin.user("robot")
    admin("create-admin", "root", "root@example.org", "--password-stdin", stdin="correct horse battery\n")
    for command in (
        ("revoke-key", prefix),
        ("disable-user", "robot"),
        ("enable-user", "robot"),
        ("list-keys", "robot"),
    ):
        assert admin(*command).exit_code == 0
    done = ["enable-user", "disable-user", "revoke-key", "create-admin", "create-key", "create-service"]
    found = rows(admin)
    assert [row["method"] for row in found] == [f"chatter-grpc admin {command}" for command in done]
    assert {row["outcome"] for row in found} == {"OK"}
    assert {row["actor_id"] for row in found} == {""}
    assert found[0]["resource_id"] == robot.id
    assert [row["resource_kind"] for row in found] == ["user", "user", "api_key", "user", "api_key", "user"]
    assert datetime.fromisoformat(found[0]["at"]) >= datetime.fromisoformat(found[-1]["at"])


def test_what_failed_leaves_no_row(admin: Admin) -> None:
    admin("create-service", "robot")
    assert admin("create-service", "robot").exit_code == 1
    assert len(rows(admin)) == 1


def test_the_log_is_shown_of_one_account(admin: Admin) -> None:
    for name in ("robot", "other"):
        admin("create-service", name)
    (row,) = rows(admin, "--account", "other")
    assert row["resource_id"] == admin.user("other").id
    assert admin("audit", "--account", "nobody").exit_code == 1


def test_pages_join_to_the_whole_log(admin: Admin) -> None:
    for number in range(5):
        admin("create-service", f"robot-{number}")
    whole = rows(admin)
    joined: list[dict[str, str]] = []
    options: tuple[str, ...] = ()
    while True:
        page = admin("audit", "--json", "--limit", "2", *options)
        joined += [json.loads(line) for line in page.stdout.splitlines()]
        if not page.stderr:
            break
        options = ("--after", page.stderr.split()[-1])
    assert joined == whole
    assert len(whole) == 5


@pytest.mark.parametrize("after", ["nonsense", "1.", ".audit_1", "²3.audit_1", f"{'9' * 30}.audit_1"])
def test_a_page_that_goes_on_nowhere_is_refused(admin: Admin, after: str) -> None:
    result = admin("audit", "--after", after)
    assert (result.exit_code, "--after" in result.stderr) == (2, True)


def test_a_person_reads_a_table(admin: Admin) -> None:
    admin("create-service", "robot")
    head, row = admin("audit").stdout.splitlines()
    assert head.split()[:4] == ["TIME", "(UTC)", "METHOD", "ACTOR"]
    for part in ("chatter-grpc admin create-service", f"user {admin.user('robot').id}", "OK"):
        assert part in row


def test_keys_are_rotated_and_that_is_recorded(admin: Admin) -> None:
    @asynccontextmanager
    async def open_keys() -> AsyncIterator[KeyRing]:
        database = Database(admin.url)
        ring = KeyRing(SqlStorage(database), Sealer(bytes(32)))
        await ring.open()
        yield ring
        await database.close()

    app = typer.Typer()
    app.command()(rotation_command(open_keys))
    results = [CliRunner().invoke(app, []) for _ in range(2)]
    newest, middle, first = admin.look(lambda tx: tx.signing_keys.list())
    assert [result.exit_code for result in results] == [0, 0]
    assert [key.kid in result.stderr for key, result in zip((middle, newest), results, strict=True)] == [True, True]
    assert [key.retired_at is None for key in (newest, middle, first)] == [True, False, False]
    assert [row["resource_id"] for row in rows(admin)] == [newest.kid, middle.kid]
    assert {row["method"] for row in rows(admin)} == {"chatter-grpc admin rotate-keys"}
