"""Pages of a list: what is asked for, and what is answered."""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 1000

# A page ends before its texts exceed this, in bytes of UTF-8: stock clients take answers of up to 4 MiB.
MAX_BYTES: Final = 2 * 1024 * 1024

Item = TypeVar("Item", covariant=True)

# The values of the ordering columns of a page's last item; what they are is the store's own affair.
Position = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Asks for at most ``size`` items after ``after``, or for the first ones."""

    size: int = DEFAULT_SIZE
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """Items in order, and the position to go on from, ``None`` on the last page."""

    items: tuple[Item, ...]
    next: Position | None = None
