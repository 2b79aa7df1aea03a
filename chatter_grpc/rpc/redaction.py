"""Shows requests for the log at debug level, without what the contract marks as secret or as content."""

from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

REDACTED: Final = "[redacted]"
# A position in a list can hold a title: a page token is shown no more than the title is.
HIDDEN_NAMES: Final = frozenset({"page_token", "next_page_token"})
SHOWN_ELEMENTS: Final = 20
SHOWN_CHARACTERS: Final = 200


def redacted(message: Message) -> dict[str, Any]:
    """Return the fields of a message that are set, by name; redacted ones show only that they are.

    Long texts and lists are cut. Unknown fields are left out.
    """
    return {field.name: shown(field, value) for field, value in message.ListFields()}


def shown(field: FieldDescriptor, value: Any) -> Any:
    """Return what the log may hold of a field's value."""
    if field.name in HIDDEN_NAMES or field.GetOptions().debug_redact:
        return REDACTED
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {str(key): plain(inner, value[key]) for key in sorted(value)[:SHOWN_ELEMENTS]}
    if field.is_repeated:
        return [plain(field, element) for element in value[:SHOWN_ELEMENTS]]
    return plain(field, value)


def plain(field: FieldDescriptor, value: Any) -> Any:
    """Return a single value as plain Python: enums by name, bytes by size."""
    if field.message_type is not None:
        return redacted(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"{value[:SHOWN_CHARACTERS]}… ({len(value)} characters)"
    return value
