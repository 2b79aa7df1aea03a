"""The purse of an attempt: what its model calls reserve in the ledger before they are made, and settle afterwards."""

import asyncio
from dataclasses import replace

from chatter_grpc.core.budgets import Grant, ModelCall, check_price, reserve
from chatter_grpc.core.errors import RunInterrupted
from chatter_grpc.core.models import ModelInfo
from chatter_grpc.core.runs.patience import PATIENT, Patience
from chatter_grpc.core.runs.run import Run
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage


class Purse:
    """Gives the model calls of one attempt what the run's budget leaves them. A run without one has no purse.

    A reservation is committed before its call is made, in a transaction that holds the run: no two calls get the same
    tokens, and none is made for an attempt that has lost its run. What calls took is kept here as their usage becomes
    part of the log, and is written to the ledger with the next reservation; where the attempt is lost before, the next
    one has it from the log. While the database is away, a reservation is tried again for as long as ``patience`` lasts.
    """

    def __init__(self, storage: Storage, run: Run, *, patience: Patience = PATIENT) -> None:
        self._storage = storage
        self._run = run
        self._patience = patience
        self._settled: dict[str, Usage] = {}
        self._news = asyncio.Event()

    def check(self, info: ModelInfo) -> None:
        """Raise ``BudgetUnpriced`` where a model must not be called for want of a price."""
        check_price(self._run.budget, info.name, info.price)

    async def reserve(self, call: ModelCall) -> Grant:
        """Reserve what a call may take and return it.

        Where other calls of the attempt hold what this one asks for, it waits until they are settled. Raises
        ``BudgetExceeded``, ``BudgetUnpriced``, ``StorageUnavailable``, and ``RunInterrupted`` where the run is lost.
        """
        try:
            return await self._reserve(call)
        except BaseException:
            # The call is not made. Whether it is in the ledger is not known where this was cancelled on the way.
            self.settle(call.message_id, Usage())
            raise

    def settle(self, message_id: str, usage: Usage) -> None:
        """Note what a call took; what was noted first stays."""
        if message_id not in self._settled:
            self._settled[message_id] = usage
            self._news.set()
            self._news = asyncio.Event()

    async def _reserve(self, call: ModelCall) -> Grant:
        while True:
            # What is settled from here on is news to the transaction below.
            news = self._news
            granted = await self._patience.insist(lambda _again: self._try_to_reserve(call))
            if granted is not None:
                return granted
            # Whatever holds tokens is settled when its call ends; the run's time bounds that.
            await news.wait()

    async def _try_to_reserve(self, call: ModelCall) -> Grant | None:
        run = self._run
        async with self._storage.write() as tx:
            held = await tx.ledger.hold(run.owner_id, run.id, run.attempt)
            if held is None:
                raise RunInterrupted(run_id=run.id)
            # A commit whose answer was lost has reserved this already: then it is decided again, and is the same.
            others = [each for each in held if each.message_id != call.message_id]
            settled = {
                each.message_id: self._settled[each.message_id]
                for each in others
                if each.settled is None and each.message_id in self._settled
            }
            await tx.ledger.settle(run.id, settled)
            taken = [replace(each, settled=settled.get(each.message_id, each.settled)) for each in others]
            grant = reserve(run.budget, taken, call, run.attempt)
            if grant is not None:
                await tx.ledger.put(run.id, grant.reservation)
            return grant
