"""Pages by key: a page begins after the ordering columns' values of the last item before it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Row, Select, bindparam, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from chatter_grpc.adapters.sql.columns import UtcTime, micros_of, moment_of
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.pages import Page, PageRequest, Position

Item = TypeVar("Item")
Order = Sequence[InstrumentedAttribute[Any]]


async def read_page(
    statements: Statements,
    query: Select[Any],
    order: Order,
    page: PageRequest,
    make: Callable[[Row[Any]], Item],
    *,
    descending: bool,
) -> Page[Item]:
    """Return one page of a query in one statement, ordered by columns that no two rows have all in common."""
    if page.after is not None:
        at = tuple_(*(_bound(column, value) for column, value in zip(order, page.after, strict=True)))
        here = tuple_(*order)
        query = query.where(here < at if descending else here > at)
    ordered = query.order_by(*(column.desc() if descending else column.asc() for column in order))
    rows = await statements.rows(ordered.limit(page.size + 1))
    shown = rows[: page.size]
    return Page(
        items=tuple(make(row) for row in shown),
        next=_position(shown[-1], order) if len(rows) > page.size else None,
    )


def _bound(column: InstrumentedAttribute[Any], value: str | int) -> Any:
    # Its type says how it is sent; by itself SQLAlchemy would guess it from the value.
    moment_or_value = moment_of(int(value)) if isinstance(column.type, UtcTime) else value
    return bindparam(None, moment_or_value, type_=column.type)


def _position(row: Row[Any], order: Order) -> Position:
    values = (getattr(row, column.key) for column in order)
    return tuple(micros_of(value) if not isinstance(value, str | int) else value for value in values)
