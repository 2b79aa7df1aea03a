"""A refresh token works once; a retry is answered alike; a theft ends the session for both."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from chatter_grpc.core.errors import (
    AccountDisabled,
    ChatterError,
    RefreshTokenReused,
    SessionRequired,
    SessionRevoked,
    TokenExpired,
    TokenInvalid,
)
from chatter_grpc.core.tokens import Claims, TokenKind, TokenPair
from chatter_grpc.core.users import UserState
from tests.support.identity import Replica, Site


@pytest.fixture
async def first(replica: Replica) -> TokenPair:
    await replica.sign_up()
    return await replica.log_in()


async def is_refused(replica: Replica, token: str) -> type[ChatterError] | None:
    try:
        await replica.authenticator.authenticate(token, "")
    except ChatterError as error:
        return type(error)
    return None


async def test_refresh_gives_the_next_pair_of_the_same_session(replica: Replica, first: TokenPair) -> None:
    replica.clock.advance(600)
    await replica.watch.poll()
    second = await replica.auth.refresh(first.refresh_token)
    assert second.access_token != first.access_token
    assert second.refresh_token != first.refresh_token
    assert second.access_expires_at == first.access_expires_at + timedelta(seconds=600)
    assert second.refresh_expires_at == first.refresh_expires_at + timedelta(seconds=600)
    before = await replica.authenticator.authenticate(first.access_token, "")
    after = await replica.authenticator.authenticate(second.access_token, "")
    assert before == after


async def test_a_chain_of_refreshes_goes_on_beyond_the_first_expiry(replica: Replica, first: TokenPair) -> None:
    pair = first
    for _ in range(4):
        replica.clock.advance(timedelta(days=6).total_seconds())
        await replica.watch.poll()
        pair = await replica.auth.refresh(pair.refresh_token)
    assert await is_refused(replica, pair.access_token) is None


async def test_a_retry_gets_the_same_bytes_again(replica: Replica, first: TokenPair) -> None:
    answered = await replica.auth.refresh(first.refresh_token)
    replica.clock.advance(29.5)
    assert await replica.auth.refresh(first.refresh_token) == answered
    assert await replica.auth.refresh(first.refresh_token) == answered
    await replica.auth.refresh(answered.refresh_token)


async def test_a_retry_on_another_replica_gets_the_same_bytes(site: Site, replica: Replica, first: TokenPair) -> None:
    other = await site.start()
    answered = await replica.auth.refresh(first.refresh_token)
    site.clock.advance(10)
    assert await other.auth.refresh(first.refresh_token) == answered


async def test_two_refreshes_at_once_get_the_same_pair(site: Site, replica: Replica, first: TokenPair) -> None:
    other = await site.start()
    pairs = await asyncio.gather(*(each.auth.refresh(first.refresh_token) for each in (replica, other, replica, other)))
    assert len({pair.refresh_token for pair in pairs}) == 1
    assert len({pair.access_token for pair in pairs}) == 1
    await other.auth.refresh(pairs[0].refresh_token)


async def test_a_token_that_comes_back_too_late_ends_the_session(replica: Replica, first: TokenPair) -> None:
    second = await replica.auth.refresh(first.refresh_token)
    replica.clock.advance(30.5)
    await replica.watch.poll()
    with pytest.raises(RefreshTokenReused):
        await replica.auth.refresh(first.refresh_token)
    with pytest.raises(SessionRevoked):
        await replica.auth.refresh(second.refresh_token)
    assert await is_refused(replica, first.access_token) is SessionRevoked
    assert await is_refused(replica, second.access_token) is SessionRevoked


async def test_a_token_that_comes_back_after_its_successor_was_used_ends_the_session(
    replica: Replica, first: TokenPair
) -> None:
    second = await replica.auth.refresh(first.refresh_token)
    third = await replica.auth.refresh(second.refresh_token)
    with pytest.raises(RefreshTokenReused):
        await replica.auth.refresh(first.refresh_token)
    assert await is_refused(replica, third.access_token) is SessionRevoked


@pytest.mark.platform("T3")
async def test_a_detected_theft_reaches_the_other_replicas(site: Site, replica: Replica, first: TokenPair) -> None:
    """T3: the revocation is committed although the call failed."""
    other = await site.start()
    second = await replica.auth.refresh(first.refresh_token)
    await replica.auth.refresh(second.refresh_token)
    with pytest.raises(RefreshTokenReused):
        await replica.auth.refresh(first.refresh_token)
    await other.watch.poll()
    assert await is_refused(other, second.access_token) is SessionRevoked


async def test_a_theft_does_not_touch_the_accounts_other_sessions(replica: Replica, first: TokenPair) -> None:
    elsewhere = await replica.log_in()
    second = await replica.auth.refresh(first.refresh_token)
    await replica.auth.refresh(second.refresh_token)
    with pytest.raises(RefreshTokenReused):
        await replica.auth.refresh(first.refresh_token)
    assert await is_refused(replica, elsewhere.access_token) is None
    await replica.auth.refresh(elsewhere.refresh_token)


async def test_an_expired_refresh_token_is_refused(replica: Replica, first: TokenPair) -> None:
    replica.clock.advance(timedelta(days=7, seconds=10).total_seconds())
    with pytest.raises(TokenExpired) as refused:
        await replica.auth.refresh(first.refresh_token)
    assert refused.value.metadata == {"expired_at": first.refresh_expires_at.isoformat()}


async def test_a_session_that_was_logged_out_is_not_refreshed(replica: Replica, first: TokenPair) -> None:
    await replica.auth.logout(await replica.authenticator.authenticate(first.access_token, ""))
    with pytest.raises(SessionRevoked):
        await replica.auth.refresh(first.refresh_token)


async def test_a_retry_after_logout_is_refused(replica: Replica, first: TokenPair) -> None:
    second = await replica.auth.refresh(first.refresh_token)
    await replica.auth.logout(await replica.authenticator.authenticate(second.access_token, ""))
    with pytest.raises(SessionRevoked):
        await replica.auth.refresh(first.refresh_token)


async def test_an_account_that_was_disabled_behind_its_sessions_is_not_refreshed(
    replica: Replica, first: TokenPair
) -> None:
    caller = await replica.authenticator.authenticate(first.access_token, "")
    async with replica.storage.write() as tx:
        user = await tx.users.lock(caller.actor_id)
        assert user is not None
        await tx.users.replace(replace(user, state=UserState.DISABLED))
    with pytest.raises(AccountDisabled):
        await replica.auth.refresh(first.refresh_token)


@pytest.mark.parametrize("changed", ["token_id", "session_id", "user_id"])
async def test_a_signed_token_without_its_row_is_refused(replica: Replica, first: TokenPair, changed: str) -> None:
    """Such a token is signed with the right key, as one from a database that was restored to an earlier day is."""
    claims = await replica.tokens.verify(first.refresh_token, TokenKind.REFRESH)
    strange: Claims = replace(claims, **{changed: "other"})  # type: ignore[arg-type]
    with pytest.raises(TokenInvalid):
        await replica.auth.refresh(await replica.tokens.sign(strange, replica.tokens.kid))
    await replica.auth.refresh(first.refresh_token)


async def test_logout_needs_a_session(replica: Replica, first: TokenPair) -> None:
    caller = await replica.authenticator.authenticate(first.access_token, "")
    with pytest.raises(SessionRequired):
        await replica.auth.logout(replace(caller, session_id=None, api_key_id="key_1"))


async def test_logging_out_twice_does_no_harm(replica: Replica, first: TokenPair) -> None:
    caller = await replica.authenticator.authenticate(first.access_token, "")
    await replica.auth.logout(caller)
    await replica.auth.logout(caller)
