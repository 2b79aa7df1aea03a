"""What a store of users guarantees."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chatter_grpc.core.errors import EmailTaken, UsernameTaken
from chatter_grpc.core.ids import SUBJECT, new_id
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.users import User, UserFilter, UserLimits, UserRole, UserState
from tests.support.records import NOW, a_conversation, a_user, store_user


async def test_an_account_comes_back_as_it_was_stored(storage: Storage) -> None:
    limits = UserLimits(messages_per_day=0, messages_per_month=10**9)
    user = a_user(role=UserRole.ADMIN, last_login_at=NOW, limits=limits, version=7)
    service = a_user(role=UserRole.SERVICE, password_hash=None, state=UserState.DISABLED, email="")
    async with storage.write() as tx:
        await tx.users.add(user)
        await tx.users.add(service)
    async with storage.read() as tx:
        assert await tx.users.get(user.id) == user
        assert await tx.users.get(service.id) == service


async def test_there_is_no_account_where_there_is_none(storage: Storage) -> None:
    await store_user(storage, email="")
    async with storage.read() as tx:
        assert await tx.users.get("user_none") is None
        assert await tx.users.find("nobody") is None
        assert await tx.users.find("") is None
        assert await tx.users.find("\x00") is None


@pytest.mark.parametrize("change", [str, str.upper, str.lower, str.title])
async def test_an_account_is_found_by_username_and_email_whatever_their_case(storage: Storage, change: type) -> None:
    user = await store_user(storage, username="Ada-1", email="Ädá@Example.org")
    async with storage.read() as tx:
        assert await tx.users.find(change("Ada-1")) == user
        assert await tx.users.find(change("Ädá@Example.org")) == user


async def test_a_username_wins_over_the_same_email_of_another_account(storage: Storage) -> None:
    await store_user(storage, email="both@example.org")
    named = await store_user(storage, username="both@example.org")
    async with storage.read() as tx:
        assert await tx.users.find("both@example.org") == named


@pytest.mark.parametrize("username", ["Ada", "ADA"])
async def test_a_username_is_taken_once_without_regard_to_case(storage: Storage, username: str) -> None:
    await store_user(storage, username="Ada")
    with pytest.raises(UsernameTaken):
        await store_user(storage, username=username)


@pytest.mark.parametrize("email", ["ada@example.org", "ADA@Example.ORG"])
async def test_an_email_is_taken_once_without_regard_to_case(storage: Storage, email: str) -> None:
    await store_user(storage, email="ada@example.org")
    with pytest.raises(EmailTaken):
        await store_user(storage, email=email)


async def test_a_transaction_goes_on_after_a_name_was_taken(storage: Storage) -> None:
    first = await store_user(storage)
    other = a_user()
    async with storage.write() as tx:
        with pytest.raises(UsernameTaken):
            await tx.users.add(replace(a_user(), username=first.username))
        await tx.users.add(other)
    async with storage.read() as tx:
        assert await tx.users.get(other.id) == other


async def test_of_two_accounts_that_take_one_username_at_once_one_gets_it(storage: Storage) -> None:
    async def add(user: User) -> bool:
        try:
            async with storage.write() as tx:
                await tx.users.add(user)
        except UsernameTaken:
            return False
        return True

    assert sorted(await asyncio.gather(*(add(a_user(username="ada")) for _ in range(4)))) == [False, False, False, True]


async def test_accounts_without_email_do_not_get_into_each_others_way(storage: Storage) -> None:
    await store_user(storage, email="")
    await store_user(storage, email="")


async def test_an_account_is_an_owner_by_itself(storage: Storage) -> None:
    user = await store_user(storage)
    async with storage.write() as tx:
        assert await tx.users.owners_of(user.id) == (user.id,)
        await tx.conversations.add(a_conversation(user.id))


async def test_a_login_is_recorded_and_leaves_the_hash_alone(storage: Storage) -> None:
    user = await store_user(storage)
    at = NOW + timedelta(days=1)
    async with storage.write() as tx:
        await tx.users.note_login(user.id, at)
        assert await tx.users.get(user.id) == replace(user, last_login_at=at)


async def test_a_password_is_set_only_instead_of_the_one_that_is_known(storage: Storage) -> None:
    user, other = await store_user(storage), await store_user(storage)
    without = await store_user(storage, password_hash=None)
    async with storage.write() as tx:
        assert await tx.users.set_password(user.id, "new", instead_of="hash")
        assert not await tx.users.set_password(user.id, "newer", instead_of="hash")
        assert not await tx.users.set_password(without.id, "new", instead_of="hash")
        assert not await tx.users.set_password("user_none", "new", instead_of="hash")
        assert await tx.users.get(user.id) == replace(user, password_hash="new")
        assert await tx.users.get(other.id) == other


async def test_replacing_an_account_sets_all_that_it_shows_of_itself(storage: Storage) -> None:
    user, other = await store_user(storage), await store_user(storage)
    changed = replace(
        user,
        email="Neu@Example.org",
        display_name="",
        role=UserRole.ADMIN,
        state=UserState.DISABLED,
        limits=UserLimits(messages_per_day=1, messages_per_month=2),
        version=2,
    )
    async with storage.write() as tx:
        await tx.users.replace(changed)
        assert await tx.users.get(user.id) == changed
        assert await tx.users.find("neu@example.ORG") == changed
        assert await tx.users.find(user.email) is None
        assert await tx.users.get(other.id) == other
        await tx.users.replace(replace(changed, limits=UserLimits(), email=""))
        assert await tx.users.get(user.id) == replace(changed, limits=UserLimits(), email="")


async def test_an_email_that_another_has_cannot_be_set(storage: Storage) -> None:
    user, other = await store_user(storage), await store_user(storage)
    with pytest.raises(EmailTaken):
        async with storage.write() as tx:
            await tx.users.replace(replace(user, email=other.email.upper()))
    async with storage.read() as tx:
        assert await tx.users.get(user.id) == user


async def test_a_locked_account_waits_for_the_one_who_holds_it(storage: Storage) -> None:
    user_id = (await store_user(storage, version=1)).id
    seen = list[int]()

    async def change() -> None:
        async with storage.write() as tx:
            user = await tx.users.lock(user_id)
            assert user is not None
            seen.append(user.version)
            await asyncio.sleep(0.01)
            await tx.users.replace(replace(user, version=user.version + 1))

    await asyncio.gather(*(change() for _ in range(3)))
    assert seen == [1, 2, 3]


async def test_only_active_administrators_are_locked_as_such(storage: Storage) -> None:
    admins = [await store_user(storage, role=UserRole.ADMIN) for _ in range(2)]
    await store_user(storage, role=UserRole.ADMIN, state=UserState.DISABLED)
    await store_user(storage)
    async with storage.write() as tx:
        assert await tx.users.lock_administrators() == tuple(sorted(admin.id for admin in admins))


async def test_of_two_that_take_the_last_administrators_away_at_once_one_sees_the_other(storage: Storage) -> None:
    admins = [await store_user(storage, role=UserRole.ADMIN) for _ in range(2)]
    seen = list[int]()

    async def demote(admin: User) -> None:
        async with storage.write() as tx:
            seen.append(len(await tx.users.lock_administrators()))
            await asyncio.sleep(0.02)
            await tx.users.replace(replace(admin, role=UserRole.MEMBER))

    await asyncio.gather(*map(demote, admins))
    assert seen == [2, 1]


async def listed(storage: Storage, **wanted: Any) -> list[str]:
    async with storage.read() as tx:
        page = await tx.users.list(UserFilter(**wanted), PageRequest())
    return [user.username for user in page.items]


async def test_accounts_are_listed_latest_first_and_by_what_is_wanted(storage: Storage) -> None:
    later = [NOW + timedelta(seconds=number) for number in range(4)]
    await store_user(storage, username="ada", email="x@Example.org", display_name="", created_at=later[0])
    await store_user(storage, username="root", role=UserRole.ADMIN, email="r@r", display_name="", created_at=later[1])
    off = {"state": UserState.DISABLED, "role": UserRole.ADMIN}
    await store_user(storage, username="off", **off, email="", display_name="100% A_da", created_at=later[2])
    assert await listed(storage) == ["off", "root", "ada"]
    assert await listed(storage, role=UserRole.ADMIN) == ["off", "root"]
    assert await listed(storage, role=UserRole.ADMIN, state=UserState.ACTIVE) == ["root"]
    assert await listed(storage, state=UserState.DISABLED) == ["off"]
    assert await listed(storage, text="DA") == ["off", "ada"]
    assert await listed(storage, text="example.ORG") == ["ada"]
    assert [await listed(storage, text=text) for text in ("0%", "a_d", "%", "_")] == [["off"]] * 4
    assert await listed(storage, text="nobody") == []


async def test_a_list_of_accounts_goes_on_where_the_page_ended(storage: Storage) -> None:
    made = [await store_user(storage, created_at=NOW + timedelta(seconds=number // 2)) for number in range(5)]
    found = list[str]()
    page: Page[User] | None = None
    async with storage.read() as tx:
        while page is None or page.next is not None:
            after = None if page is None else page.next
            page = await tx.users.list(UserFilter(), PageRequest(size=2, after=after))
            found += [user.id for user in page.items]
    assert found == [user.id for user in reversed(made)]


async def test_a_subject_has_one_owner_made_on_first_use(storage: Storage) -> None:
    service, other = await store_user(storage), await store_user(storage)
    made = new_id(SUBJECT)
    async with storage.write() as tx:
        assert await tx.users.subject_owner(service.id, "ann", made, NOW) == made
        assert await tx.users.subject_owner(service.id, "ann", new_id(SUBJECT), NOW) == made
        another, elsewhere = new_id(SUBJECT), new_id(SUBJECT)
        assert await tx.users.subject_owner(service.id, "Ann", another, NOW) == another
        assert await tx.users.subject_owner(other.id, "ann", elsewhere, NOW) == elsewhere
        assert set(await tx.users.owners_of(service.id)) == {service.id, made, another}
        await tx.conversations.add(a_conversation(made))


async def test_transactions_that_name_a_new_subject_at_once_get_the_same_owner(storage: Storage) -> None:
    service = await store_user(storage)

    async def ask() -> str:
        async with storage.write() as tx:
            owner_id = await tx.users.subject_owner(service.id, "ann", new_id(SUBJECT), NOW)
            await asyncio.sleep(0.01)
            return owner_id

    owners = await asyncio.gather(*(ask() for _ in range(4)))
    assert len(set(owners)) == 1
    async with storage.read() as tx:
        assert set(await tx.users.owners_of(service.id)) == {service.id, owners[0]}


async def test_holding_an_account_tells_whether_it_is_active(storage: Storage) -> None:
    user = await store_user(storage, limits=UserLimits(messages_per_day=3))
    async with storage.write() as tx:
        assert await tx.users.hold_active(user.id) == user
        assert await tx.users.hold_active("user_none") is None
        await tx.users.replace(replace(user, state=UserState.DISABLED))
        assert await tx.users.hold_active(user.id) is None


async def test_who_disables_an_account_waits_for_what_holds_it_active(storage: Storage) -> None:
    user = await store_user(storage)
    held, order = asyncio.Event(), list[str]()

    async def start_something() -> None:
        async with storage.write() as tx:
            assert await tx.users.hold_active(user.id)
            held.set()
            await asyncio.sleep(0.05)
            order.append("started")

    async def disable() -> None:
        await held.wait()
        async with storage.write() as tx:
            await tx.users.lock(user.id)
            order.append("disabled")

    await asyncio.gather(start_something(), disable())
    assert order == ["started", "disabled"]
