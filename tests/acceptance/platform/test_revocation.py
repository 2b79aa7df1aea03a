"""Credentials that are taken away stop working, on the replica that did it and on the others (T3)."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc._gen.chatter.v1.content_pb2 import FINISH_REASON_CANCELLED
from tests.support.provider import Gate, Provider, eventually
from tests.support.served import Account, Client, Served, Stream, administrator_of, served, signed_in, written

pytestmark = [
    pytest.mark.platform("T3"),
    pytest.mark.parametrize("server", ["postgres"], indirect=True),
]

# What is promised, and what a machine with other work may take once in a while.
PROMISED, TOLERATED = 1.0, 10.0


@pytest.fixture(scope="module")
def second(
    tmp_path_factory: pytest.TempPathFactory, provider_settings: dict[str, str], postgres_url: str
) -> Iterator[Served]:
    """Another server on the same database."""
    with served(tmp_path_factory.mktemp("second"), database_url=postgres_url, **provider_settings) as server:
        yield server


@pytest.fixture
async def elsewhere(second: Served) -> AsyncIterator[Client]:
    """A client of the other server, without credentials."""
    async with second.connect() as client:
        yield client


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run at work on the first server, with a stream of it on each."""

    streams: tuple[Stream, Stream]
    conversation_id: str
    gate: Gate

    @property
    def run_id(self) -> str:
        return self.streams[0].run_id

    async def reasons(self) -> list[str]:
        """Read both streams to their end, and return with what reasons they ended."""
        return [(await stream.to_end()).reason for stream in self.streams]


async def start(client: Client, elsewhere: Client, provider: Provider) -> Watched:
    """Have a run at work, watched with the same credentials on both servers."""
    gate = provider.hold(after=2, text="one two three four")
    conversation = await client.conversation()
    sent = await client.send(conversation.id, "Hello").until(written(2))
    watched = elsewhere.open("WatchRun", run_id=sent.run_id)
    await watched.until(written(2))
    return Watched(streams=(sent, watched), conversation_id=conversation.id, gate=gate)


async def refused(client: Client) -> str:
    """Return the reason as soon as a client is refused."""
    give_up_at = time.monotonic() + TOLERATED
    while not (reason := await client.reason("GetMe")):
        assert time.monotonic() < give_up_at, "never refused"
        await asyncio.sleep(0.01)
    return reason


async def test_a_logout_counts_at_once_here_and_within_a_second_elsewhere(anyone: Client, elsewhere: Client) -> None:
    """T3: no call later here; the time elsewhere is the median of several, since this machine may have other work."""
    took = []
    for _ in range(5):
        client = (await signed_in(anyone)).client
        there = elsewhere.trusting(client.metadata[0][1].removeprefix("Bearer "))
        assert (await there.reason("GetMe"), await client.reason("Logout")) == ("", "")
        began = time.monotonic()
        assert await client.reason("GetMe") == "SESSION_REVOKED"
        assert await refused(there) == "SESSION_REVOKED"
        took.append(time.monotonic() - began)
    assert statistics.median(took) < PROMISED


async def test_a_logout_ends_open_streams_and_leaves_the_run(
    anyone: Client, elsewhere: Client, provider: Provider
) -> None:
    """T3: the streams of that session end with the reason, on both servers; other sessions' and the run go on."""
    ada = await signed_in(anyone)
    again = (await anyone.ok("Login", login=ada.user.username, password=ada.password)).tokens.access_token
    there = elsewhere.trusting(ada.tokens.access_token)
    run = await start(ada.client, there, provider)
    other = anyone.trusting(again).open("WatchRun", run_id=run.run_id)
    await other.until(written(2))
    await ada.client.ok("Logout")
    assert await run.reasons() == ["SESSION_REVOKED", "SESSION_REVOKED"]
    assert await anyone.reason("Refresh", refresh_token=ada.tokens.refresh_token) == "SESSION_REVOKED"
    run.gate.open()
    assert (await other.to_end()).reason == ""
    assert (other.fold.end, other.text) == ("completed", "one two three four")


async def test_a_revoked_api_key_is_refused_and_its_streams_end(
    server: Served, anyone: Client, elsewhere: Client, ada: Account, provider: Provider
) -> None:
    """T3: revoked from a third process; another key of the same account keeps working."""
    key, other = [await server.api_key(ada.user.username, "chat:read", "chat:write", "runs:read") for _ in range(2)]
    here, there = anyone.trusting(key), elsewhere.trusting(key)
    run = await start(here, there, provider)
    async with server.accounts() as accounts:
        await accounts.revoke_api_key(key.split("_")[1])
    assert set(await asyncio.gather(refused(here), refused(there))) == {"API_KEY_INVALID"}
    assert await run.reasons() == ["API_KEY_INVALID", "API_KEY_INVALID"]
    assert await anyone.trusting(other).reason("GetMe") == ""
    run.gate.open()


async def test_a_disabled_account_is_locked_out_and_its_runs_are_cancelled(
    server: Served, anyone: Client, elsewhere: Client, ada: Account, provider: Provider
) -> None:
    """T3: disabled from a third process, with a run at work on each of two servers; enabled, it can log in again."""
    key = await server.api_key(ada.user.username, "chat:read")
    there = elsewhere.trusting(ada.tokens.access_token)
    runs = [await start(ada.client, there, provider), await start(there, ada.client, provider)]
    assert await elsewhere.trusting(key).reason("GetMe") == ""
    async with server.accounts() as accounts:
        await accounts.disable_user(ada.user.username)
    keys = (anyone.trusting(key), elsewhere.trusting(key))
    assert set(await asyncio.gather(*map(refused, (ada.client, there)))) == {"SESSION_REVOKED"}
    assert set(await asyncio.gather(*map(refused, keys))) == {"ACCOUNT_DISABLED"}
    for run, call in zip(runs, list(provider.calls), strict=True):
        # A stream ends with its caller or with its run, whichever a server hears of first.
        for stream, reason in zip(run.streams, await run.reasons(), strict=True):
            assert (reason, stream.fold.end) in {("SESSION_REVOKED", ""), ("", "cancelled")}
        await provider.closed(call)
        assert not call.complete
    login = await anyone.call("Login", login=ada.user.username, password=ada.password)
    assert (login.code, login.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCOUNT_DISABLED")
    assert await anyone.reason("Refresh", refresh_token=ada.tokens.refresh_token) == "SESSION_REVOKED"
    async with server.accounts() as accounts:
        await accounts.enable_user(ada.user.username)
    assert await ada.client.reason("GetMe") == "SESSION_REVOKED"
    tokens = (await anyone.ok("Login", login=ada.user.username, password=ada.password)).tokens
    back = anyone.trusting(tokens.access_token)
    for run in runs:

        async def is_cancelled(run_id: str = run.run_id) -> bool:
            return bool((await back.run(run_id)).state == run_pb2.RUN_STATE_CANCELLED)

        await eventually(is_cancelled)
        _, answer = await back.messages(run.conversation_id)
        assert (answer.parts[0].text.text, answer.finish_reason) == ("one two", FINISH_REASON_CANCELLED)


async def log_in(anyone: Client, account: Account, password: str = "") -> Client:
    """Open another session of an account."""
    login = {"login": account.user.username, "password": password or account.password}
    return anyone.trusting((await anyone.ok("Login", **login)).tokens.access_token)


async def test_logging_out_everywhere_ends_every_session_and_stream_and_no_key(
    anyone: Client, elsewhere: Client, ada: Account, provider: Provider
) -> None:
    """T3: at once on the server that was called, soon on the other; the run goes on."""
    other = await log_in(anyone, ada)
    there = elsewhere.trusting(other.metadata[0][1].removeprefix("Bearer "))
    key = (await ada.client.ok("CreateApiKey", name="k", scopes=["runs:read"])).secret
    run = await start(other, there, provider)
    watched = anyone.trusting(key).open("WatchRun", run_id=run.run_id)
    await watched.until(written(2))
    assert (await ada.client.ok("LogoutEverywhere")).session_count == 2
    assert [await client.reason("GetMe") for client in (ada.client, other)] == ["SESSION_REVOKED"] * 2
    assert await refused(there) == "SESSION_REVOKED"
    assert await run.reasons() == ["SESSION_REVOKED", "SESSION_REVOKED"]
    assert await anyone.reason("Refresh", refresh_token=ada.tokens.refresh_token) == "SESSION_REVOKED"
    run.gate.open()
    assert (await watched.to_end()).reason == ""
    assert watched.fold.end == "completed"


async def test_a_changed_password_ends_the_other_sessions_and_their_streams(
    anyone: Client, elsewhere: Client, ada: Account, provider: Provider
) -> None:
    """T3: the session that changed it stays, with its stream; the old password opens nothing."""
    other = await log_in(anyone, ada)
    there = elsewhere.trusting(other.metadata[0][1].removeprefix("Bearer "))
    run = await start(other, there, provider)
    own = ada.client.open("WatchRun", run_id=run.run_id)
    await own.until(written(2))
    given = {"current_password": ada.password, "new_password": "another horse altogether"}
    assert (await ada.client.ok("ChangePassword", **given)).ended_session_count == 1
    assert [await client.reason("GetMe") for client in (ada.client, other)] == ["", "SESSION_REVOKED"]
    assert await refused(there) == "SESSION_REVOKED"
    assert await run.reasons() == ["SESSION_REVOKED", "SESSION_REVOKED"]
    login = {"login": ada.user.username, "password": ada.password}
    assert [await each.reason("Login", **login) for each in (anyone, elsewhere)] == ["LOGIN_FAILED"] * 2
    assert await (await log_in(elsewhere, ada, given["new_password"])).reason("GetMe") == ""
    run.gate.open()
    assert (await own.to_end()).reason == ""


async def test_a_key_that_its_account_revokes_is_refused_at_once_and_its_streams_end(
    anyone: Client, elsewhere: Client, ada: Account, provider: Provider
) -> None:
    """T3: no call later here, soon on the other server."""
    made = await ada.client.ok("CreateApiKey", name="k", scopes=["chat:read", "chat:write", "runs:read"])
    here, there = anyone.trusting(made.secret), elsewhere.trusting(made.secret)
    run = await start(here, there, provider)
    await ada.client.ok("RevokeApiKey", api_key_id=made.api_key.id)
    assert await here.reason("GetMe") == "API_KEY_INVALID"
    assert await refused(there) == "API_KEY_INVALID"
    assert await run.reasons() == ["API_KEY_INVALID", "API_KEY_INVALID"]
    run.gate.open()


async def test_an_account_that_an_administrator_disables_is_locked_out_at_once(
    server: Served, anyone: Client, elsewhere: Client, ada: Account, provider: Provider
) -> None:
    """T3: with its key, its streams and its runs, on the server that was called and on the other."""
    root = await administrator_of(server, anyone)
    made = await ada.client.ok("CreateApiKey", name="k", scopes=["chat:read", "runs:read"])
    there = elsewhere.trusting(ada.tokens.access_token)
    keys = (anyone.trusting(made.secret), elsewhere.trusting(made.secret))
    assert [await key.reason("GetMe") for key in keys] == ["", ""]
    runs = [await start(ada.client, there, provider), await start(there, ada.client, provider)]
    watched = keys[0].open("WatchRun", run_id=runs[0].run_id)
    await watched.until(written(2))
    await root.ok("UpdateUser", user={"id": ada.user.id, "state": 2}, update_mask={"paths": ["state"]})
    assert await ada.client.reason("GetMe") == "SESSION_REVOKED"
    assert await keys[0].reason("GetMe") == "ACCOUNT_DISABLED"
    assert (await refused(there), await refused(keys[1])) == ("SESSION_REVOKED", "ACCOUNT_DISABLED")
    assert (await watched.to_end()).reason in {"ACCOUNT_DISABLED", ""}
    for run, call in zip(runs, list(provider.calls), strict=True):
        for stream, reason in zip(run.streams, await run.reasons(), strict=True):
            assert (reason, stream.fold.end) in {("SESSION_REVOKED", ""), ("", "cancelled")}
        await provider.closed(call)
        assert not call.complete
    assert await anyone.reason("Login", login=ada.user.username, password=ada.password) == "ACCOUNT_DISABLED"


async def test_an_administrator_who_is_none_any_more_administers_nothing(
    server: Served, anyone: Client, elsewhere: Client, ada: Account
) -> None:
    """T3, T6: a role that was taken away counts at once, in sessions and in keys."""
    root, other = [await administrator_of(server, anyone) for _ in range(2)]
    there = elsewhere.trusting(other.metadata[0][1].removeprefix("Bearer "))
    key = (await other.ok("CreateApiKey", name="k", scopes=["users:read", "users:write"])).secret
    keys = (anyone.trusting(key), elsewhere.trusting(key))
    assert [await client.reason("ListUsers") for client in (other, there, *keys)] == [""] * 4
    other_id = (await other.ok("GetMe")).user.id
    await root.ok("UpdateUser", user={"id": other_id, "role": 1}, update_mask={"paths": ["role"]})
    assert [await client.reason("ListUsers") for client in (other, keys[0])] == ["SESSION_REVOKED", "SCOPE_MISSING"]
    off = {"user": {"id": ada.user.id, "state": 2}, "update_mask": {"paths": ["state"]}}
    assert await keys[1].reason("UpdateUser", **off) == "SCOPE_MISSING"
    assert await refused(there) == "SESSION_REVOKED"
    assert await ada.client.reason("GetMe") == ""


async def test_a_refresh_token_that_is_used_twice_ends_its_session_everywhere(
    anyone: Client, elsewhere: Client, ada: Account
) -> None:
    """T3: whoever holds either copy is locked out."""
    second_pair = (await anyone.ok("Refresh", refresh_token=ada.tokens.refresh_token)).tokens
    third_pair = (await anyone.ok("Refresh", refresh_token=second_pair.refresh_token)).tokens
    there = elsewhere.trusting(third_pair.access_token)
    assert await there.reason("GetMe") == ""
    assert await elsewhere.reason("Refresh", refresh_token=ada.tokens.refresh_token) == "REFRESH_TOKEN_REUSED"
    assert await refused(there) == "SESSION_REVOKED"
    assert await refused(anyone.trusting(third_pair.access_token)) == "SESSION_REVOKED"
