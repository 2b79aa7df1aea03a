"""Keeps what the model calls of runs with a budget reserve, and what they took."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, false, literal_column, select, true, update
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.rows import Stored, Used, usage_of_row, usage_values
from chatter_grpc.adapters.sql.run_rows import RunRow
from chatter_grpc.adapters.sql.statements import Either, Statements
from chatter_grpc.core.budgets import Reservation
from chatter_grpc.core.models import Price
from chatter_grpc.core.runs.run import RunState
from chatter_grpc.core.usage import Usage


class ReservationRow(Used, Stored):
    """What a model call may take, and what it took once it is settled. The fence has seen its run's row.

    The prices are in micro-dollars for a million tokens, both or none.
    """

    __tablename__ = "reservations"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    model: Mapped[str]
    input_price: Mapped[int | None]
    output_price: Mapped[int | None]
    settled: Mapped[bool]


_HOLD: Final = (
    select(RunRow.id)
    .where(
        RunRow.id == bindparam("run"),
        RunRow.owner_id == bindparam("owner"),
        RunRow.attempt == bindparam("mine"),
        RunRow.state == literal_column(f"'{RunState.RUNNING.value}'"),
    )
    # On PostgreSQL; on SQLite one transaction writes at a time.
    .with_for_update(key_share=True)
)
_OF_RUN: Final = ReservationRow.run_id == bindparam("run")
# Ids of messages are in the order of their making.
_READ: Final = select(ReservationRow.table()).where(_OF_RUN).order_by(ReservationRow.message_id)
_KEY: Final = ("run_id", "message_id")
_PUT: Final = Either(
    lambda insert_: (adding := insert_(ReservationRow.table())).on_conflict_do_update(
        index_elements=_KEY, set_={each.name: each for each in adding.excluded if each.name not in _KEY}
    )
)
_SETTLE: Final = (
    update(ReservationRow.table())
    .where(_OF_RUN, ReservationRow.message_id == bindparam("message"), ReservationRow.settled == false())
    .values(
        settled=true(),
        **{name: bindparam(f"new_{name}") for name in usage_values(Usage())},
    )
)
_CLOSE: Final = delete(ReservationRow.table()).where(_OF_RUN)


class SqlLedger:
    """Reservations in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def hold(self, owner_id: str, run_id: str, attempt: int) -> Sequence[Reservation] | None:
        """See ``LedgerStore``."""
        if await self._sql.row(_HOLD, {"owner": owner_id, "run": run_id, "mine": attempt}) is None:
            return None
        # A statement of its own: it is to see what was committed while the run was waited for.
        return await self.read(run_id)

    async def read(self, run_id: str) -> Sequence[Reservation]:
        """See ``LedgerStore``."""
        return [_reservation_of(row) for row in await self._sql.rows(_READ, {"run": run_id})]

    async def put(self, run_id: str, reservation: Reservation) -> None:
        """See ``LedgerStore``."""
        price = reservation.price
        values = {
            **usage_values(reservation.taken),
            "run_id": run_id,
            "message_id": reservation.message_id,
            "attempt": reservation.attempt,
            "model": reservation.model,
            "input_price": None if price is None else price.input_micros,
            "output_price": None if price is None else price.output_micros,
            "settled": reservation.settled is not None,
        }
        await self._sql.run(_PUT, values)

    async def settle(self, run_id: str, usages: Mapping[str, Usage]) -> None:
        """See ``LedgerStore``."""
        for message_id, usage in usages.items():
            changed = {f"new_{name}": value for name, value in usage_values(usage).items()}
            await self._sql.run(_SETTLE, {"run": run_id, "message": message_id, **changed})

    async def close(self, run_id: str) -> None:
        """See ``LedgerStore``."""
        await self._sql.run(_CLOSE, {"run": run_id})


def _reservation_of(row: Row[Any]) -> Reservation:
    price = None
    if row.input_price is not None:
        price = Price(input_micros=row.input_price, output_micros=row.output_price)
    usage = usage_of_row(row)
    return Reservation(
        message_id=row.message_id,
        attempt=row.attempt,
        model=row.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        price=price,
        settled=usage if row.settled else None,
    )
