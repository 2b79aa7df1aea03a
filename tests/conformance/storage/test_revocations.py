"""What a store of revocations guarantees."""

from chatter_grpc.core.revocations import Revocation, RevocationKind
from chatter_grpc.core.storage import Storage


async def test_revocations_come_back_oldest_first(storage: Storage) -> None:
    first = Revocation(kind=RevocationKind.SESSION, target_id="sess_1")
    second = Revocation(kind=RevocationKind.API_KEY, target_id="key_1")
    third = Revocation(kind=RevocationKind.USER, target_id="user_1")
    async with storage.write() as tx:
        await tx.revocations.add((first, second))
    async with storage.write() as tx:
        await tx.revocations.add((third,))
    async with storage.read() as tx:
        assert await tx.revocations.since(60) == (first, second, third)


async def test_only_those_of_the_last_seconds_come_back_by_the_clock_of_the_database(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.revocations.add((Revocation(kind=RevocationKind.SESSION, target_id="sess_1"),))
    async with storage.read() as tx:
        assert len(await tx.revocations.since(3600)) == 1
        # What lies a minute ahead of now is later than all of them.
        assert await tx.revocations.since(-60) == ()


async def test_nothing_to_revoke_is_nothing_to_do(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.revocations.add(())
        assert await tx.revocations.since(60) == ()
