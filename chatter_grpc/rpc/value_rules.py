"""Compiles the rules that single values keep: length, range, pattern, defined enum."""

import math
from collections.abc import Callable, Iterator, Sized
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from chatter_grpc._gen.chatter.options.v1 import rules_pb2
from chatter_grpc.rpc.faults import ContractFault
from chatter_grpc.rpc.regex import compile_shared

# Says what is wrong with a value, or ``None``.
Test = Callable[[Any], str | None]

TEXTS: Final = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})
FLOATS: Final = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
NO_NUMBERS: Final = TEXTS | {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_GROUP,
}


def value_tests(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> tuple[Test, ...]:
    """Return the tests of a field's value, of each element where it is repeated.

    Raises ``ContractFault`` on a rule that makes no sense on such a value.
    """
    try:
        return tuple(tests_of(field, rules))
    except ValueError as error:
        raise ContractFault(f"{field.full_name}: {error}") from error


def tests_of(field: FieldDescriptor, rules: rules_pb2.FieldRules) -> Iterator[Test]:
    """Yield the tests of a value of the field's type; raises ``ValueError`` on a rule that does not fit."""
    if field.type == FieldDescriptor.TYPE_STRING:
        yield no_nul
    if rules.HasField("length"):
        if field.type not in TEXTS:
            raise ValueError("length is for strings and bytes")
        yield within_length(rules.length.min, rules.length.max, of_bytes=field.type == FieldDescriptor.TYPE_BYTES)
    if rules.HasField("range"):
        if field.type in NO_NUMBERS:
            raise ValueError("range is for numbers")
        low = rules.range.min if rules.range.HasField("min") else -math.inf
        high = rules.range.max if rules.range.HasField("max") else math.inf
        yield within_range(low, high)
    if rules.pattern:
        if field.type != FieldDescriptor.TYPE_STRING:
            raise ValueError("pattern is for strings")
        yield matching(rules.pattern)
    if rules.defined_enum:
        if field.enum_type is None:
            raise ValueError("defined_enum is for enums")
        yield defined_in(field.enum_type)


def no_nul(value: str) -> str | None:
    """Refuse the one character that PostgreSQL cannot store in a text."""
    return "must not hold the character U+0000" if "\0" in value else None


def within_length(low: int, high: int, *, of_bytes: bool) -> Test:
    """Bound a length; a maximum of 0 is none."""
    if high and low > high:
        raise ValueError("length.min is greater than length.max")
    unit = "bytes" if of_bytes else "characters"

    def test(value: str | bytes) -> str | None:
        size = len(value)
        if size < low:
            return f"must have at least {low} {unit}"
        return f"must have at most {high} {unit}" if size > high > 0 else None

    return test


def within_range(low: float, high: float) -> Test:
    """Bound a number; NaN lies in no range."""
    if low > high:
        raise ValueError("range.min is greater than range.max")

    def test(value: float) -> str | None:
        if low <= value <= high:
            return None
        if math.isnan(value):
            return "must be a number"
        return f"must be at least {low:.15g}" if value < low else f"must be at most {high:.15g}"

    return test


def matching(pattern: str) -> Test:
    """Match a whole text that is not empty."""
    match = compile_shared(pattern).fullmatch
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in pattern)

    def test(value: str) -> str | None:
        return None if not value or match(value) else f"must match {shown}"

    return test


def defined_in(enum: EnumDescriptor) -> Test:
    """Refuse numbers that the enum does not define."""
    known = frozenset(enum.values_by_number)

    def test(value: int) -> str | None:
        return None if value in known else f"must be a defined value of {enum.full_name}"

    return test


def within_items(low: int, high: int) -> Test:
    """Bound the number of elements of a list or map that is not empty."""

    def test(value: Sized) -> str | None:
        size = len(value)
        if size > high:
            return f"must have at most {high} elements"
        return f"must have at least {low} elements" if size < low else None

    return test
