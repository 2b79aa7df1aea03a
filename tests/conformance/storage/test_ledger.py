"""What a ledger guarantees: whose reservations count, and that nothing is reserved or settled twice."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chatter_grpc.core.budgets import Budget, ModelCall, Reservation
from chatter_grpc.core.errors import BudgetExceeded, RunInterrupted
from chatter_grpc.core.models import Price
from chatter_grpc.core.runs.purse import Purse
from chatter_grpc.core.runs.run import Run
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.records import PROCESS, finish_run, start_run, store_conversation, store_user
from tests.support.waiting import soon, until

BUDGET = Budget(max_tokens=100, max_cost_micros=1_000, max_milliseconds=60_000)
PRICE = Price(input_micros=2_000_000, output_micros=8_000_000)
USAGE = Usage(input_tokens=1, output_tokens=2, cost_micros=3)


def a_reservation(message_id: str = "msg_1", **changes: object) -> Reservation:
    reservation = Reservation(
        message_id=message_id, attempt=1, model="p/m", input_tokens=10, output_tokens=20, price=PRICE
    )
    return replace(reservation, **changes)  # type: ignore[arg-type]


def a_call(message_id: str, **changes: object) -> ModelCall:
    call = ModelCall(message_id=message_id, model="p/m", input_tokens=10, max_tokens=20, price=PRICE)
    return replace(call, **changes)  # type: ignore[arg-type]


async def limited_run(storage: Storage, budget: Budget = BUDGET) -> Run:
    return await start_run(storage, await store_conversation(storage), budget=budget)


async def reservations(storage: Storage, run: Run) -> Sequence[Reservation]:
    async with storage.read() as tx:
        return await tx.ledger.read(run.id)


async def put(storage: Storage, run: Run, *rows: Reservation) -> None:
    async with storage.write() as tx:
        for row in rows:
            await tx.ledger.put(run.id, row)


async def test_a_run_comes_back_with_its_budget(storage: Storage) -> None:
    for budget in (BUDGET, Budget(), Budget(max_milliseconds=1)):
        run = await limited_run(storage, budget)
        async with storage.read() as tx:
            assert (await tx.runs.get(run.owner_id, run.id)).budget == budget


async def test_reservations_come_back_as_they_were_made_in_the_order_of_their_messages(storage: Storage) -> None:
    run, other = await limited_run(storage), await limited_run(storage)
    second, first = a_reservation("msg_2", price=None, attempt=2), a_reservation()
    await put(storage, run, second, first)
    assert await reservations(storage, run) == [first, second]
    assert await reservations(storage, other) == []


async def test_a_reservation_that_is_made_again_is_there_once(storage: Storage) -> None:
    run = await limited_run(storage)
    await put(storage, run, a_reservation(output_tokens=5), a_reservation())
    assert await reservations(storage, run) == [a_reservation()]


async def test_the_current_attempt_of_a_run_at_work_holds_its_reservations_and_nobody_else(storage: Storage) -> None:
    run = await limited_run(storage)
    stranger = await store_user(storage)
    await put(storage, run, a_reservation())
    async with storage.write() as tx:
        assert await tx.ledger.hold(run.owner_id, run.id, run.attempt) == [a_reservation()]
        assert await tx.ledger.hold(run.owner_id, run.id, run.attempt + 1) is None
        assert await tx.ledger.hold(stranger.id, run.id, run.attempt) is None
        assert await tx.ledger.hold(run.owner_id, "run_none", 1) is None
    assert await finish_run(storage, run)
    async with storage.write() as tx:
        assert await tx.ledger.hold(run.owner_id, run.id, run.attempt) is None


async def test_an_attempt_that_lost_its_run_reserves_nothing(storage: Storage) -> None:
    run = await start_run(storage, await store_conversation(storage), lease=0, budget=BUDGET)
    async with storage.write() as tx:
        (taken,) = await tx.runs.take_lost(PROCESS, 60.0, 10)
    assert await refusal(Purse(storage, run), a_call("msg_1")) == "RUN_INTERRUPTED"
    assert await reservations(storage, run) == []
    assert (await Purse(storage, taken.run).reserve(a_call("msg_1"))).reservation.attempt == 2


async def refusal(purse: Purse, call: ModelCall) -> str:
    try:
        await purse.reserve(call)
    except (BudgetExceeded, RunInterrupted) as error:
        return error.reason
    return ""


async def test_a_reservation_is_settled_once(storage: Storage) -> None:
    run = await limited_run(storage)
    await put(storage, run, a_reservation(), a_reservation("msg_2"))
    async with storage.write() as tx:
        await tx.ledger.settle(run.id, {"msg_1": USAGE, "msg_none": USAGE})
        await tx.ledger.settle(run.id, {"msg_1": Usage(input_tokens=9, cost_micros=None)})
    assert await reservations(storage, run) == [
        a_reservation(settled=USAGE, input_tokens=1, output_tokens=2),
        a_reservation("msg_2"),
    ]


async def test_what_is_closed_is_forgotten_and_nothing_else(storage: Storage) -> None:
    run, other = await limited_run(storage), await limited_run(storage)
    for each in (run, other):
        await put(storage, each, a_reservation())
    async with storage.write() as tx:
        await tx.ledger.close(run.id)
    assert (await reservations(storage, run), await reservations(storage, other)) == ([], [a_reservation()])


async def test_branches_at_once_are_given_the_same_tokens_once(storage: Storage) -> None:
    """100 tokens: three calls of 30 fit beside each other, whoever is first, and the others wait for one to end."""
    run = await limited_run(storage, Budget(max_tokens=100))
    purse = Purse(storage, run)
    calls = [asyncio.create_task(purse.reserve(a_call(f"msg_{number}"))) for number in range(5)]
    await until(lambda: sum(call.done() for call in calls) == 3)
    _, waiting = await asyncio.wait(calls, timeout=0.05)
    assert len(waiting) == 2
    held = await reservations(storage, run)
    assert sum(row.input_tokens + row.output_tokens for row in held) == 90
    purse.settle(held[0].message_id, Usage(input_tokens=10, output_tokens=0))
    (fourth,) = (await soon(asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)))[0]
    assert fourth.result().reservation.output_tokens == 20
    # What is left is too little for the fifth, which learns it once nobody holds anything any more.
    for row in await reservations(storage, run):
        purse.settle(row.message_id, Usage(input_tokens=10, output_tokens=18))
    (fifth,) = [call for call in calls if not call.done()]
    with pytest.raises(BudgetExceeded) as caught:
        await soon(fifth)
    assert caught.value.metadata == {"bound": "max_tokens", "limit": "100", "left": "6", "needed": "11"}
    assert [row.settled is not None for row in await reservations(storage, run)] == [True, False, False, False]


async def test_processes_at_once_are_given_the_same_tokens_once(storage: Storage) -> None:
    """The database decides, not what a process remembers."""
    run = await limited_run(storage, Budget(max_tokens=30))
    calls = [Purse(storage, run).reserve(a_call(f"msg_{number}", max_tokens=None)) for number in range(4)]
    tasks = [asyncio.create_task(call) for call in calls]
    await until(lambda: any(task.done() for task in tasks))
    _, waiting = await asyncio.wait(tasks, timeout=0.05)
    assert len(waiting) == 3
    for task in waiting:
        task.cancel()
    await asyncio.wait(tasks)
    assert [row.output_tokens for row in await reservations(storage, run)] == [20]


async def test_a_call_that_was_given_up_holds_nothing(storage: Storage) -> None:
    run = await limited_run(storage, Budget(max_tokens=30))
    purse = Purse(storage, run)
    first = await purse.reserve(a_call("msg_1"))
    waiting = asyncio.create_task(purse.reserve(a_call("msg_2")))
    await asyncio.wait([waiting], timeout=0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    purse.settle(first.reservation.message_id, Usage())
    assert (await soon(purse.reserve(a_call("msg_3")))).reservation.output_tokens == 20
