"""JSON Schemas that answers have to keep, and the port to what checks them."""

from typing import Final, Protocol

from chatter_grpc.core.errors import FieldInvalid, FieldViolation

FIELD: Final = "response_schema"


class SchemaRefused(Exception):
    """A schema cannot be used; the message says why, in words for the one who wrote it."""


class AnswerSchemas(Protocol):
    """Checks schemas and answers against JSON Schema draft 2020-12, beside the event loop and in bounded time.

    Owners take turns: what one of them has asked for does not wait for all that another one asked for before.
    """

    async def check(self, schema: str, *, owner_id: str = "") -> None:
        """Raise ``SchemaRefused`` unless the text is a schema that can be used.

        It has to be one JSON object that is a valid schema, whose references lie within it.
        """
        ...

    async def fault_of(self, schema: str, answer: str, *, owner_id: str = "") -> str | None:
        """Return what keeps an answer from being JSON that keeps a schema; ``None`` where it does.

        An answer that cannot be checked in time does not keep it.
        """
        ...


async def check_schema(schemas: AnswerSchemas, schema: str, owner_id: str) -> None:
    """Raise ``FieldInvalid`` where a request's schema cannot be used; an empty one asks for nothing."""
    if not schema:
        return
    try:
        await schemas.check(schema, owner_id=owner_id)
    except SchemaRefused as refused:
        raise FieldInvalid([FieldViolation(field=FIELD, description=str(refused))]) from None
