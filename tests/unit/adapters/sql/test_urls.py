"""Database URLs as users write them."""

import pytest

from chatter_grpc.adapters.sql.urls import parse_url


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("sqlite:///chatter.sqlite3", "sqlite+aiosqlite:///chatter.sqlite3"),
        ("sqlite:////var/lib/chatter.sqlite3", "sqlite+aiosqlite:////var/lib/chatter.sqlite3"),
        ("sqlite+aiosqlite:///x", "sqlite+aiosqlite:///x"),
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u@h:5433/d", "postgresql+asyncpg://u@h:5433/d"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@/d?host=/run/pg", "postgresql+asyncpg://u@/d?host=%2Frun%2Fpg"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
    ],
)
def test_a_url_gets_the_driver_that_is_used(text: str, parsed: str) -> None:
    assert parse_url(text).render_as_string(hide_password=False) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "chatter.sqlite3", "mysql://u@h/d", "postgresql+psycopg://u@h/d", "sqlite://", "sqlite:///:memory:", "://"],
    ids=lambda text: text or "empty",
)
def test_what_is_no_url_of_a_database_that_is_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///path"):
        parse_url(text)


@pytest.mark.platform("T7")
@pytest.mark.parametrize("text", ["mysql://u:planted@h/d", "postgresql://u:planted@h:port/d", "planted"])
def test_a_refusal_shows_no_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(?!.*planted)") as raised:
        parse_url(text)
    assert "planted" not in repr(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
