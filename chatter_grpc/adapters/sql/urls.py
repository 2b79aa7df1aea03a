"""Reads database URLs as users write them."""

from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}


def parse_url(text: str) -> URL:
    """Return a URL with the driver that Chatter uses for it.

    Takes ``sqlite:///relative/path``, ``sqlite:////absolute/path``, ``postgresql://…`` and ``postgres://…``. Raises
    ``ValueError``, whose message does not repeat the URL: it may hold a password.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("not a database URL: expected sqlite:///path or postgresql://user@host/name") from None
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None or url.drivername not in {url.get_backend_name(), driver}:
        raise ValueError(f"no such database: {url.drivername}; expected sqlite:///path or postgresql://user@host/name")
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ValueError("SQLite needs a file: sqlite:///path")
    if "sslmode" in url.query:
        # libpq's name for what asyncpg calls `ssl`, with the same values.
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})
    return url.set(drivername=driver)
