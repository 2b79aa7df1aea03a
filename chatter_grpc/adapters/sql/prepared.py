"""Statements that are compiled once for each database and set of names, and afterwards only filled in."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Dialect, Executable
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Values = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Processor = Callable[[Any], Any] | None


class Either:
    """A statement that SQLAlchemy builds from another class on each database: an insert that minds conflicts."""

    def __init__(self, build: Callable[[Any], Executable]) -> None:
        self.on: Mapping[str, Executable] = {
            "sqlite": build(sqlite.insert),
            "postgresql": build(postgresql.insert),
        }


class Prepared:
    """A statement of the ways that every run takes. Its text and its conversions are kept with it."""

    def __init__(self, statement: Executable | Either) -> None:
        self._statement = statement
        self._written: dict[tuple[str, tuple[str, ...]], Written] = {}

    def on(self, dialect: str) -> Executable:
        """Return the statement as SQLAlchemy executes it."""
        return self._statement.on[dialect] if isinstance(self._statement, Either) else self._statement

    def write(self, dialect: Dialect, values: Values) -> "Written":
        """Return the statement for values of such names, compiled where none like them came before."""
        one = values if isinstance(values, Mapping) else values[0]
        key = (dialect.name, tuple(one))
        found = self._written.get(key)
        if found is None:
            found = self._written[key] = Written(self.on(dialect.name), dialect, key[1])
        return found


class Written:
    """A compiled statement with positional parameters: its text, and how values and rows are converted."""

    def __init__(self, statement: Executable, dialect: Dialect, names: Sequence[str]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(names))  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        # Texts that change with the values are none that could be kept.
        assert not compiled.literal_execute_params
        assert not compiled.post_compile_params
        self.sql: Final = compiled.string
        self._places: Final = [_place(compiled, name, dialect, names) for name in compiled.positiontup or ()]
        columns: ReadOnlyColumnCollection[Any, Any] | None = getattr(statement, "exported_columns", None)
        self._readers: Final = [(place, read) for place, read in enumerate(_readers(columns, dialect)) if read]
        self._row: Final[Any] = None if not columns else namedtuple("Row", columns.keys(), rename=True)  # noqa: PYI024

    def parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """Return values as the driver takes them, in their order."""
        return [
            fixed if name is None else values[name] if convert is None else convert(values[name])
            for name, convert, fixed in self._places
        ]

    def rows(self, found: Sequence[Sequence[Any]]) -> Sequence[Any]:
        """Return rows of the driver with their values converted, each with the names of its columns."""
        return [self._row._make(self._read(row)) for row in found]

    def _read(self, row: Sequence[Any]) -> Sequence[Any]:
        if not self._readers:
            return row
        values = list(row)
        for place, read in self._readers:
            values[place] = read(values[place])
        return values


def _place(
    compiled: SQLCompiler, name: str, dialect: Dialect, names: Sequence[str]
) -> tuple[str | None, Processor, Any]:
    """Return the name of the value at a place and its conversion, or else what always stands there."""
    parameter = compiled.binds[name]
    kind: TypeEngine[Any] = parameter.type
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    for known in (parameter.key, name):
        if known in names:
            return known, convert, None
    if parameter.required:
        raise KeyError(name)
    fixed = parameter.effective_value
    return None, None, fixed if convert is None else convert(fixed)


def _readers(columns: ReadOnlyColumnCollection[Any, Any] | None, dialect: Dialect) -> list[Processor]:
    kinds: list[TypeEngine[Any]] = [] if columns is None else [column.type for column in columns.values()]
    # What a driver says of a column's type is None on SQLite.
    return [kind.dialect_impl(dialect).result_processor(dialect, None) for kind in kinds]
