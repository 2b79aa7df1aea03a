"""The fields of requests, as the descriptors say them."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

FieldPath = tuple[str, ...]


def fields_of(message_type: Descriptor, path: FieldPath = ()) -> Iterator[tuple[FieldPath, FieldDescriptor]]:
    """Every field within a message that is no message of the contract itself, with its path.

    A map, a timestamp and a field mask count as one field.
    """
    for field in message_type.fields:
        here = (*path, field.name)
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("chatter.") and not inner.GetOptions().map_entry:
            yield from fields_of(inner, here)
        else:
            yield here, field
