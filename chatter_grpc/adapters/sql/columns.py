"""Column types and expressions that mean the same on SQLite and PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import msgspec
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    Integer,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# SQLite numbers rows by itself only in a column of exactly its type INTEGER.
SERIAL: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")


def micros_of(moment: datetime) -> int:
    """Return a moment as microseconds since the epoch."""
    return (moment - EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """Return the moment that lies so many microseconds after the epoch, in UTC."""
    return EPOCH + timedelta(microseconds=micros)


class AnyText(TypeDecorator[str]):
    """A text of any characters but lone surrogates.

    PostgreSQL refuses U+0000, and to SQLite's functions it is the end of the text. So it is written as U+0001 U+0001,
    and U+0001 as U+0001 U+0002, which keeps the order of texts.
    """

    # Collation "C" orders by code point and lowers ASCII letters alone, as SQLite does, and is the fastest there is.
    impl = Text().with_variant(Text(collation="C"), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Write what needs it in another way."""
        if value is not None and ("\x00" in value or "\x01" in value):
            return value.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
        return value

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Read what was written in another way."""
        if value is not None and "\x01" in value:
            return value.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01")
        return value


class UtcTime(TypeDecorator[datetime]):
    """A moment to the microsecond: microseconds since the epoch on SQLite, ``timestamptz`` on PostgreSQL."""

    impl = BigInteger().with_variant(DateTime(timezone=True), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse a moment without a zone, which would mean another moment on each machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value if dialect.name == "postgresql" else micros_of(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give back an aware moment in UTC."""
        if value is None:
            return None
        return moment_of(value) if isinstance(value, int) else cast(datetime, value)


class Document(TypeDecorator[Any]):
    """A value of the core as JSON, checked against its type ``shape`` when it is read.

    It is ``json`` on PostgreSQL and not ``jsonb``, which refuses U+0000; a text may well hold one. The engine has to
    pass JSON on as text.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(shape)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Encode to text."""
        return msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Decode from text."""
        return self._decoder.decode(value)


_ANY_TEXT: Final = AnyText()


class _TextList(TypeDecorator[Sequence[str]]):
    """Several texts in one parameter, so that the statement is the same however many there are."""

    impl = Text().with_variant(ARRAY(Text()), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        """Encode as what ``json_each`` or ``ANY`` takes."""
        texts = [_ANY_TEXT.process_bind_param(text, dialect) for text in value or ()]
        return texts if dialect.name == "postgresql" else msgspec.json.encode(texts).decode()


class DatabaseTime(FunctionElement[datetime]):
    """The moment by the database's clock, moved by as many seconds as the parameter ``seconds`` says.

    SQLite's clock counts milliseconds.
    """

    name = "database_time"
    inherit_cache = True
    type = UtcTime()

    def __init__(self, seconds: str | None = None) -> None:
        moved: ColumnElement[float] = bindparam("no_seconds", 0.0, Double(), unique=True)
        super().__init__(moved if seconds is None else bindparam(seconds, type_=Double()))


@compiles(DatabaseTime, "sqlite")
def _time_on_sqlite(element: DatabaseTime, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(CAST((julianday('now') - 2440587.5) * 86400000 + {seconds} * 1000 AS INTEGER) * 1000)"


@compiles(DatabaseTime, "postgresql")
def _time_on_postgres(element: DatabaseTime, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


class Among(FunctionElement[bool]):
    """Whether a column's text is one of those in the parameter ``name``, which takes a sequence."""

    name = "among"
    inherit_cache = True
    type = Boolean()

    def __init__(self, column: Any, name: str) -> None:
        super().__init__(column, bindparam(name, type_=_TextList()))

    def self_group(self, against: Any = None) -> "Among":
        """Stay as it is: what is compared with true, as SQLAlchemy would, SQLite does not look for in an index."""
        return self


@compiles(Among, "sqlite")
def _among_on_sqlite(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 - made from compiled clauses


@compiles(Among, "postgresql")
def _among_on_postgres(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY({texts})"
