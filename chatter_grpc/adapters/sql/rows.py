"""What all tables share: how columns and constraints are named, typed and counted."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Mapped

from chatter_grpc.adapters.sql.columns import AnyText, UtcTime
from chatter_grpc.core.usage import Usage


class Stored(DeclarativeBase):
    """The root of all rows; its metadata is what the migrations make."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {str: AnyText(), int: BigInteger(), datetime: UtcTime()}

    @classmethod
    def table(cls) -> Table:
        """Return the table, for statements that have nothing to do with an ORM session."""
        assert isinstance(cls.__table__, Table)
        return cls.__table__


class Used:
    """Columns of a usage; an unknown cost is NULL, so that it stays unknown whatever is added."""

    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cost_micros: Mapped[int | None]
    estimated: Mapped[bool]


def usage_values(usage: Usage) -> dict[str, Any]:
    """Return a usage as values of its columns."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_micros": usage.cost_micros,
        "estimated": usage.estimated,
    }


def usage_of_row(row: Any) -> Usage:
    """Return the usage in a row's columns."""
    return Usage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_micros=row.cost_micros,
        estimated=row.estimated,
    )
