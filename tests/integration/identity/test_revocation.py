"""What is revoked on one replica ends at once there, within a poll elsewhere, and nothing is trusted without polls."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from chatter_grpc.adapters.sql.revocations import SqlRevocations
from chatter_grpc.core import revocation_watch
from chatter_grpc.core.callers import Caller, Scope
from chatter_grpc.core.errors import (
    AccountDisabled,
    ApiKeyInvalid,
    ChatterError,
    RevocationsStale,
    SessionRevoked,
    StorageUnavailable,
)
from chatter_grpc.core.revocation_watch import RevocationWatch
from chatter_grpc.core.revocations import Revocation, RevocationKind
from tests.support.identity import Replica, Site

pytestmark = pytest.mark.platform("T3")


class Stream:
    """An open stream: holds a caller, and is told when to end."""

    def __init__(self, replica: Replica, caller: Caller) -> None:
        self.errors: list[type[ChatterError]] = []
        self.unsubscribe = replica.watch.subscribe(caller, lambda error: self.errors.append(type(error)))


@pytest.fixture
async def other(site: Site, replica: Replica) -> Replica:
    return await site.start()


async def sign_in(replica: Replica) -> tuple[Caller, str]:
    await replica.sign_up()
    token = (await replica.log_in()).access_token
    return await replica.authenticator.authenticate(token, ""), token


async def key_caller(replica: Replica, *, scopes: tuple[Scope, ...] = (Scope.CHAT_READ,)) -> tuple[Caller, str, str]:
    await replica.accounts.create_service(username="robot")
    issued = await replica.accounts.create_api_key(login="robot", name="k", scopes=scopes, expires_at=None)
    return await replica.authenticator.authenticate(issued.text, ""), issued.text, issued.key.prefix


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[None]:
    task = asyncio.create_task(replica.watch.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_logout_holds_at_once_here_and_after_a_poll_elsewhere(replica: Replica, other: Replica) -> None:
    """T3: with a token that was issued, used and cached before."""
    caller, token = await sign_in(replica)
    await other.authenticator.authenticate(token, "")
    streams = Stream(replica, caller), Stream(other, caller)
    await replica.auth.logout(caller)
    with pytest.raises(SessionRevoked):
        await replica.authenticator.authenticate(token, "")
    with pytest.raises(SessionRevoked):
        replica.authenticator.check(caller)
    assert [stream.errors for stream in streams] == [[SessionRevoked], []]
    await other.watch.poll()
    with pytest.raises(SessionRevoked):
        await other.authenticator.authenticate(token, "")
    with pytest.raises(SessionRevoked):
        other.authenticator.check(caller)
    assert [stream.errors for stream in streams] == [[SessionRevoked], [SessionRevoked]]


async def test_a_revoked_key_is_refused_at_once_here_and_after_a_poll_elsewhere(
    replica: Replica, other: Replica
) -> None:
    """T3: with a key that was used and cached before."""
    caller, text, prefix = await key_caller(replica)
    await other.authenticator.authenticate(text, "")
    streams = Stream(replica, caller), Stream(other, caller)
    await replica.accounts.revoke_api_key(prefix)
    await other.watch.poll()
    for each in (replica, other):
        with pytest.raises(ApiKeyInvalid):
            await each.authenticator.authenticate(text, "")
        with pytest.raises(ApiKeyInvalid):
            each.authenticator.check(caller)
    assert [stream.errors for stream in streams] == [[ApiKeyInvalid], [ApiKeyInvalid]]


async def test_disabling_an_account_ends_its_sessions_and_its_keys(replica: Replica, other: Replica) -> None:
    """T3: sessions, keys and streams, here at once and elsewhere after a poll."""
    session, token = await sign_in(replica)
    issued = await replica.accounts.create_api_key(login="ada", name="k", scopes=[Scope.CHAT_READ], expires_at=None)
    key = await replica.authenticator.authenticate(issued.text, "")
    await other.authenticator.authenticate(token, "")
    await other.authenticator.authenticate(issued.text, "")
    streams = [Stream(each, caller) for each in (replica, other) for caller in (session, key)]
    await replica.accounts.disable_user("ada")
    await other.watch.poll()
    for each in (replica, other):
        with pytest.raises(SessionRevoked):
            await each.authenticator.authenticate(token, "")
        with pytest.raises(AccountDisabled):
            await each.authenticator.authenticate(issued.text, "")
        with pytest.raises(AccountDisabled):
            each.authenticator.check(key)
    assert [stream.errors for stream in streams] == [[SessionRevoked], [AccountDisabled]] * 2


async def test_after_enabling_keys_work_again_and_old_sessions_do_not(replica: Replica, other: Replica) -> None:
    _, token = await sign_in(replica)
    issued = await replica.accounts.create_api_key(login="ada", name="k", scopes=[Scope.CHAT_READ], expires_at=None)
    await replica.accounts.disable_user("ada")
    await other.watch.poll()
    await replica.accounts.enable_user("ada")
    for each in (replica, other):
        caller = await each.authenticator.authenticate(issued.text, "")
        stream = Stream(each, caller)
        each.authenticator.check(caller)
        fresh = await each.authenticator.authenticate((await each.log_in()).access_token, "")
        each.authenticator.check(fresh)
        assert stream.errors == []
        with pytest.raises(SessionRevoked):
            await each.authenticator.authenticate(token, "")


async def test_a_second_disabling_is_noticed_like_the_first(replica: Replica, other: Replica) -> None:
    caller, text, _ = await key_caller(replica)
    for _ in range(2):
        await other.authenticator.authenticate(text, "")
        stream = Stream(other, caller)
        await replica.accounts.disable_user("robot")
        await other.watch.poll()
        assert stream.errors == [AccountDisabled]
        with pytest.raises(AccountDisabled):
            await other.authenticator.authenticate(text, "")
        await replica.accounts.enable_user("robot")


async def test_a_reading_that_began_before_the_account_was_disabled_settles_nothing(replica: Replica) -> None:
    caller, _, _ = await key_caller(replica)
    began = replica.watch.generation
    await replica.accounts.disable_user("robot")
    replica.watch.settle(caller.actor_id, began)
    with pytest.raises(AccountDisabled):
        replica.watch.check(caller)


async def test_a_stream_that_is_opened_too_late_is_refused(replica: Replica) -> None:
    caller, _ = await sign_in(replica)
    await replica.auth.logout(caller)
    with pytest.raises(SessionRevoked):
        replica.watch.subscribe(caller, lambda error: None)


async def test_a_stream_is_called_back_once_and_not_after_it_left(replica: Replica) -> None:
    caller, _ = await sign_in(replica)
    stays, left = Stream(replica, caller), Stream(replica, caller)
    left.unsubscribe()
    left.unsubscribe()
    for _ in range(2):
        await replica.auth.logout(caller)
        await replica.watch.poll()
    stays.unsubscribe()
    assert (stays.errors, left.errors) == ([SessionRevoked], [])
    assert replica.watch._subscriptions == {}


async def test_streams_of_others_go_on(replica: Replica) -> None:
    caller, _ = await sign_in(replica)
    await replica.sign_up("bob")
    neighbour = await replica.authenticator.authenticate((await replica.log_in("bob")).access_token, "")
    stream = Stream(replica, neighbour)
    await replica.auth.logout(caller)
    assert stream.errors == []
    replica.watch.check(neighbour)


async def test_without_polls_nothing_is_trusted_after_five_seconds(replica: Replica) -> None:
    """T3: fail closed when the revocations are over 5 s stale, and recovery with the next poll."""
    caller, token = await sign_in(replica)
    _, key, _ = await key_caller(replica)
    replica.storage.broken = True
    with pytest.raises(StorageUnavailable):
        await replica.watch.poll()
    replica.clock.advance(4.999)
    await replica.authenticator.authenticate(token, "")
    await replica.authenticator.authenticate(key, "")
    replica.clock.advance(0.001)
    assert not replica.watch.fresh
    for credentials in (token, key, "garbage"):
        with pytest.raises(RevocationsStale):
            await replica.authenticator.authenticate(credentials, "")
    with pytest.raises(RevocationsStale):
        replica.authenticator.check(caller)
    with pytest.raises(RevocationsStale):
        replica.watch.subscribe(caller, lambda error: None)
    replica.storage.broken = False
    await replica.watch.poll()
    assert await replica.authenticator.authenticate(token, "") == caller


async def test_a_poll_that_took_long_is_as_old_as_its_beginning(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = SqlRevocations.since

    async def slow(self: SqlRevocations, seconds: float) -> tuple[Revocation, ...]:
        replica.clock.advance(4)
        return await since(self, seconds)

    monkeypatch.setattr(SqlRevocations, "since", slow)
    await replica.watch.poll()
    replica.clock.advance(0.999)
    assert replica.watch.fresh
    replica.clock.advance(0.001)
    assert not replica.watch.fresh


async def test_a_poll_that_hangs_is_given_up(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: SqlRevocations, seconds: float) -> tuple[Revocation, ...]:
        await asyncio.Event().wait()
        return ()

    monkeypatch.setattr(SqlRevocations, "since", hang)
    monkeypatch.setattr(revocation_watch, "POLL_DEADLINE", 0.01)
    with pytest.raises(TimeoutError):
        await replica.watch.poll()


async def test_a_view_that_was_never_read_is_stale(replica: Replica) -> None:
    _, token = await sign_in(replica)
    unread = RevocationWatch(replica.storage, token_lifetime=timedelta(minutes=20))
    assert not unread.fresh
    with pytest.raises(RevocationsStale):
        unread.check(await replica.authenticator.authenticate(token, ""))


async def test_a_replica_that_starts_later_knows_what_was_revoked_before(site: Site, replica: Replica) -> None:
    caller, token = await sign_in(replica)
    await replica.auth.logout(caller)
    started = await site.start()
    with pytest.raises(SessionRevoked):
        await started.authenticator.authenticate(token, "")


async def test_after_an_outage_what_was_revoked_meanwhile_is_found(
    replica: Replica, other: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    since = SqlRevocations.since

    async def spy(self: SqlRevocations, seconds: float) -> tuple[Revocation, ...]:
        asked.append(seconds)
        return await since(self, seconds)

    caller, token = await sign_in(replica)
    await other.authenticator.authenticate(token, "")
    await replica.auth.logout(caller)
    replica.clock.advance(300)
    with pytest.raises(RevocationsStale):
        await other.authenticator.authenticate(token, "")
    monkeypatch.setattr(SqlRevocations, "since", spy)
    await other.watch.poll()
    with pytest.raises(SessionRevoked):
        other.authenticator.check(caller)
    await other.watch.poll()
    replica.clock.advance(86_400)
    await other.watch.poll()
    # Back to the last poll, and the overlap; never beyond the life of a token, a minute and the overlap.
    assert asked == [330, 30, 1290]


async def test_the_running_watch_brings_revocations_from_elsewhere(replica: Replica, other: Replica) -> None:
    """T3: the poll, as the server runs it."""
    caller, _ = await sign_in(replica)
    ended = asyncio.Event()
    other.watch.subscribe(caller, lambda error: ended.set())
    async with running(other):
        await replica.auth.logout(caller)
        async with asyncio.timeout(10):
            await ended.wait()


async def test_the_running_watch_ends_streams_when_it_goes_stale_and_recovers(
    replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    """T3: open streams end when revocations cannot be read, and calls are served again afterwards."""
    caller, token = await sign_in(replica)
    told: asyncio.Queue[ChatterError] = asyncio.Queue()
    replica.watch.subscribe(caller, told.put_nowait)
    with caplog.at_level(logging.WARNING):
        async with running(replica), asyncio.timeout(10):
            replica.storage.broken = True
            await until(lambda: "cannot be read" in caplog.text)
            replica.clock.advance(5)
            assert isinstance(await told.get(), RevocationsStale)
            replica.storage.broken = False
            await until(lambda: replica.watch.fresh)
            await replica.authenticator.authenticate(token, "")
    assert told.empty()
    assert [record.getMessage() for record in caplog.records] == [
        "revocations cannot be read: StorageUnavailable",
        "revocations are read again",
    ]


async def test_revocations_are_forgotten_when_no_token_can_be_left(replica: Replica) -> None:
    for number in range(10):
        kinds = (RevocationKind.SESSION, RevocationKind.API_KEY, RevocationKind.USER)
        replica.watch.apply(Revocation(kind=kind, target_id=f"{kind}_{number}") for kind in kinds)
        replica.clock.advance(60)
    assert len(replica.watch._sessions) == len(replica.watch._keys) == len(replica.watch._users) == 10
    # A token lives 20 minutes; a minute and the overlap are added.
    replica.clock.advance(20 * 60 + 60 + 30 - 5 * 60)
    await replica.watch.poll()
    assert list(replica.watch._sessions) == [f"session_{number}" for number in range(5, 10)]
    assert list(replica.watch._keys) == [f"api_key_{number}" for number in range(5, 10)]
    assert list(replica.watch._users) == [f"user_{number}" for number in range(5, 10)]
