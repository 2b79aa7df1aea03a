"""Credentials and a subject tell who calls; what was found out once is not found out again at each call."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from chatter_grpc.core.accounts import KeyUnknown
from chatter_grpc.core.api_keys import IssuedApiKey, new_key_text
from chatter_grpc.core.authentication import KEY_TTL, Authenticator
from chatter_grpc.core.callers import SESSION_SCOPES, Caller, Scope
from chatter_grpc.core.errors import AccountDisabled, ApiKeyInvalid, ScopeMissing, StorageUnavailable, SubjectRefused
from chatter_grpc.core.users import UserState
from tests.support.identity import Replica, Site


async def give_key(replica: Replica, *scopes: Scope, seconds: float | None = None) -> IssuedApiKey:
    expires_at = None if seconds is None else replica.clock.now + timedelta(seconds=seconds)
    return await replica.accounts.create_api_key(
        login="robot", name="nightly job", scopes=scopes or (Scope.CHAT_READ,), expires_at=expires_at
    )


@pytest.fixture
async def service_id(replica: Replica) -> str:
    return (await replica.accounts.create_service(username="robot")).id


async def test_a_session_acts_for_its_account_with_all_scopes_but_act_as(replica: Replica) -> None:
    user = await replica.sign_up()
    caller = await replica.authenticator.authenticate((await replica.log_in()).access_token, "")
    assert caller.session_id is not None
    assert caller == Caller(actor_id=user.id, owner_id=user.id, scopes=SESSION_SCOPES, session_id=caller.session_id)
    assert Scope.ACT_AS not in caller.scopes


async def test_a_key_acts_for_its_account_with_its_own_scopes(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica, Scope.CHAT_READ, Scope.RUNS_READ)
    caller = await replica.authenticator.authenticate(issued.text, "")
    assert caller == Caller(
        actor_id=service_id,
        owner_id=service_id,
        scopes=frozenset({"chat:read", "runs:read"}),
        api_key_id=issued.key.id,
    )
    with pytest.raises(ScopeMissing):
        caller.require(Scope.CHAT_WRITE)


async def test_the_text_of_a_key_is_kept_nowhere(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica)
    (kept,) = await replica.accounts.list_api_keys("robot")
    assert kept == issued.key
    secret = issued.text.rpartition("_")[2]
    assert secret not in repr(kept)
    assert secret.encode() not in kept.key_hash


async def test_a_key_that_was_never_given_out_is_refused(replica: Replica) -> None:
    with pytest.raises(ApiKeyInvalid):
        await replica.authenticator.authenticate(new_key_text(), "")


async def test_the_prefix_of_a_key_is_not_enough(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica)
    guess = f"chk_{issued.key.prefix}_{new_key_text().rpartition('_')[2]}"
    with pytest.raises(ApiKeyInvalid):
        await replica.authenticator.authenticate(guess, "")


async def test_a_key_is_refused_once_it_expires(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica, seconds=10)
    await replica.authenticator.authenticate(issued.text, "")
    replica.clock.advance(9)
    await replica.watch.poll()
    await replica.authenticator.authenticate(issued.text, "")
    replica.clock.advance(1)
    for _ in range(2):
        with pytest.raises(ApiKeyInvalid):
            await replica.authenticator.authenticate(issued.text, "")


async def test_a_key_of_a_disabled_account_is_told_so(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica)
    await replica.accounts.disable_user("robot")
    with pytest.raises(AccountDisabled):
        await replica.authenticator.authenticate(issued.text, "")


async def test_a_known_token_needs_no_verification_and_no_database(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.sign_up()
    token = (await replica.log_in()).access_token
    caller = await replica.authenticator.authenticate(token, "")
    monkeypatch.setattr(replica.tokens, "verify", None)
    reads = replica.storage.reads
    for _ in range(3):
        assert await replica.authenticator.authenticate(token, "") is caller
    assert replica.storage.reads == reads


async def test_a_known_key_needs_no_database_for_a_while(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica)
    await replica.authenticator.authenticate(issued.text, "")
    reads = replica.storage.reads
    await replica.authenticator.authenticate(issued.text, "")
    assert replica.storage.reads == reads
    replica.clock.advance(KEY_TTL.total_seconds())
    await replica.watch.poll()
    reads = replica.storage.reads
    await replica.authenticator.authenticate(issued.text, "")
    assert replica.storage.reads == reads + 1


async def test_a_key_that_was_changed_by_hand_is_noticed_after_a_while(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica)
    await replica.authenticator.authenticate(issued.text, "")
    async with replica.storage.write() as tx:
        service = await tx.users.lock(service_id)
        assert service is not None
        await tx.users.replace(replace(service, state=UserState.DISABLED))
    replica.clock.advance(KEY_TTL.total_seconds())
    await replica.watch.poll()
    with pytest.raises(AccountDisabled):
        await replica.authenticator.authenticate(issued.text, "")


async def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(replica: Replica) -> None:
    small = Authenticator(
        storage=replica.storage,
        tokens=replica.tokens,
        key_hasher=replica.accounts._key_hasher,
        watch=replica.watch,
        clock=replica.clock,
        cache_size=2,
    )
    await replica.sign_up()
    tokens = [(await replica.log_in()).access_token for _ in range(3)]
    first = await small.authenticate(tokens[0], "")
    await small.authenticate(tokens[1], "")
    assert await small.authenticate(tokens[0], "") is first
    await small.authenticate(tokens[2], "")
    assert len(small._verified) == 2
    assert await small.authenticate(tokens[0], "") is first


async def test_refused_credentials_are_not_remembered(replica: Replica) -> None:
    for _ in range(3):
        with pytest.raises(ApiKeyInvalid):
            await replica.authenticator.authenticate(new_key_text(), "")
    assert len(replica.authenticator._verified) == 0


async def test_a_subject_has_an_owner_of_its_own_on_every_replica(
    site: Site, replica: Replica, service_id: str
) -> None:
    issued = await give_key(replica, Scope.ACT_AS, Scope.CHAT_READ)
    other = await site.start()
    ann, bea = [await replica.authenticator.authenticate(issued.text, subject) for subject in ("ann", "bea")]
    assert (ann.actor_id, ann.subject, ann.api_key_id) == (service_id, "ann", issued.key.id)
    assert ann.owner_id.startswith("subj_")
    assert len({ann.owner_id, bea.owner_id, service_id}) == 3
    assert await other.authenticator.authenticate(issued.text, "ann") == ann
    assert (await replica.authenticator.authenticate(issued.text, "")).owner_id == service_id


async def test_the_same_subject_of_another_service_is_somebody_else(replica: Replica, service_id: str) -> None:
    first = await give_key(replica, Scope.ACT_AS)
    await replica.accounts.create_service(username="other")
    second = await replica.accounts.create_api_key(login="other", name="k", scopes=[Scope.ACT_AS], expires_at=None)
    owners = {(await replica.authenticator.authenticate(text, "ann")).owner_id for text in (first.text, second.text)}
    assert len(owners) == 2


async def test_a_new_subject_that_is_named_twice_at_once_is_one_owner(
    site: Site, replica: Replica, service_id: str
) -> None:
    issued = await give_key(replica, Scope.ACT_AS)
    other = await site.start()
    callers = await asyncio.gather(
        *(each.authenticator.authenticate(issued.text, "ann") for each in (replica, other) * 3)
    )
    assert len({caller.owner_id for caller in callers}) == 1


async def test_a_known_subject_needs_no_database(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica, Scope.ACT_AS)
    caller = await replica.authenticator.authenticate(issued.text, "ann")
    before = (replica.storage.reads, replica.storage.writes)
    assert await replica.authenticator.authenticate(issued.text, "ann") == caller
    assert (replica.storage.reads, replica.storage.writes) == before


async def test_without_the_scope_act_as_no_subject_is_named(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica, Scope.CHAT_READ, Scope.CHAT_WRITE)
    with pytest.raises(SubjectRefused):
        await replica.authenticator.authenticate(issued.text, "ann")


async def test_a_session_names_no_subject(replica: Replica) -> None:
    await replica.sign_up()
    with pytest.raises(SubjectRefused):
        await replica.authenticator.authenticate((await replica.log_in()).access_token, "ann")


@pytest.mark.parametrize(
    "subject", ["x" * 201, "tab\tin it", "line\n", "\0", "\x7f", "\u202eabc", "\ud800", " ", " ann", "ann "]
)
async def test_a_subject_that_is_too_long_or_not_printable_or_begins_or_ends_with_a_space_is_refused(
    replica: Replica, service_id: str, subject: str
) -> None:
    issued = await give_key(replica, Scope.ACT_AS)
    with pytest.raises(SubjectRefused):
        await replica.authenticator.authenticate(issued.text, subject)


@pytest.mark.parametrize("subject", ["x", "x" * 200, "ann@example.org", "Ada Lovelace", "αβγ", "'; DROP TABLE owners"])
async def test_a_printable_subject_is_taken_as_it_is(replica: Replica, service_id: str, subject: str) -> None:
    issued = await give_key(replica, Scope.ACT_AS)
    assert (await replica.authenticator.authenticate(issued.text, subject)).subject == subject


async def test_without_the_database_new_credentials_are_not_called_invalid(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica, Scope.ACT_AS)
    replica.storage.broken = True
    with pytest.raises(StorageUnavailable):
        await replica.authenticator.authenticate(issued.text, "")


async def test_a_prefix_that_is_unknown_is_not_revoked(replica: Replica) -> None:
    with pytest.raises(KeyUnknown):
        await replica.accounts.revoke_api_key("nothing")


async def test_a_caller_with_a_subject_is_checked_like_one_without(replica: Replica, service_id: str) -> None:
    issued = await give_key(replica, Scope.ACT_AS)
    caller = await replica.authenticator.authenticate(issued.text, "ann")
    errors: list[Exception] = []
    replica.watch.subscribe(caller, errors.append)
    await replica.accounts.revoke_api_key(issued.key.prefix)
    assert [type(error) for error in errors] == [ApiKeyInvalid]
    with pytest.raises(ApiKeyInvalid):
        replica.authenticator.check(replace(caller, subject=""))
