"""Reads lists to their end."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from chatter_grpc.core.pages import Page, PageRequest

MOST: Final = 5000

Item = TypeVar("Item")


async def read_all(read: Callable[[PageRequest], Awaitable[Page[Item]]], size: int) -> list[Item]:
    """Return all items of a list, page by page; each page but the last is full, and none is empty but a lone one."""
    page = await read(PageRequest(size=size))
    items = list(page.items)
    while page.next is not None:
        assert len(page.items) == size
        assert len(items) < MOST, "the list does not come to an end"
        page = await read(PageRequest(size=size, after=page.next))
        assert page.items
        items += page.items
    assert len(page.items) <= size
    return items
