"""Pages by key: a page begins after the ordering columns' values of the last item before it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Select, Table, bindparam, func, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from chatter_grpc.adapters.sql.columns import UtcTime, micros_of, moment_of
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core import pages
from chatter_grpc.core.pages import Page, PageRequest, Position

Item = TypeVar("Item")
Order = Sequence[InstrumentedAttribute[Any] | ColumnElement[Any]]


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
    ordered = _from_position(query, order, page, descending).order_by(*_directed(order, descending))
    rows = await statements.rows(ordered.limit(page.size + 1))
    shown = rows[: page.size]
    next_position = [getattr(shown[-1], column.key or "") for column in order] if len(rows) > page.size else None
    return Page(items=tuple(make(row) for row in shown), next=_position(next_position))


async def read_bounded_page(
    statements: Statements,
    found: Select[str, int],
    table: Table,
    order: Order,
    page: PageRequest,
    make: Callable[[Row[Any]], Item],
    *,
    descending: bool,
) -> Page[Item]:
    """Return one page of the rows of ``table`` that ``found`` names, cut by the database where they become too many.

    ``found`` selects their ``id`` and their ``size`` in bytes, of as many as there are on a page, and reads nothing
    else of them. The rows of which the sizes sum up to ``pages.MAX_BYTES`` are read then, at least one where there is
    one. It is one statement.
    """
    keys = [column.label(f"key_{number}") for number, column in enumerate(order)]
    head: Select[Any] = _from_position(found.add_columns(*keys), order, page, descending)
    named = head.order_by(*_directed(order, descending)).limit(page.size + 1).cte("named")
    placed = [named.c[key.name] for key in keys]
    in_order = _directed(placed, descending)
    summed = select(
        named,
        func.sum(named.c.size).over(order_by=in_order).label("total"),
        func.row_number().over(order_by=in_order).label("number"),
        func.count().over().label("available"),
    ).cte("summed")
    fits = or_(summed.c.total <= pages.MAX_BYTES, summed.c.number == 1)
    query = (
        select(table, *(summed.c[key.name] for key in keys), summed.c.available)
        .join(summed, summed.c.id == table.c.id)
        .where(fits, summed.c.number <= page.size)
        .order_by(summed.c.number)
    )
    rows = await statements.rows(query)
    more = bool(rows) and rows[-1].available > len(rows)
    return Page(
        items=tuple(make(row) for row in rows),
        next=_position([getattr(rows[-1], key.name) for key in keys] if more else None),
    )


def _from_position(query: Select[Any], order: Order, page: PageRequest, descending: bool) -> Select[Any]:
    if page.after is None:
        return query
    at = tuple_(*(_bound(column, value) for column, value in zip(order, page.after, strict=True)))
    here = tuple_(*order)
    return query.where(here < at if descending else here > at)


def _directed(order: Order, descending: bool) -> list[ColumnElement[Any]]:
    return [column.desc() if descending else column.asc() for column in order]


def _bound(column: InstrumentedAttribute[Any] | ColumnElement[Any], value: str | int) -> Any:
    # Its type says how it is sent; by itself SQLAlchemy would guess it from the value.
    moment_or_value = moment_of(int(value)) if isinstance(column.type, UtcTime) else value
    return bindparam(None, moment_or_value, type_=column.type)


def _position(values: Sequence[Any] | None) -> Position | None:
    if values is None:
        return None
    return tuple(value if isinstance(value, str | int) else micros_of(value) for value in values)
