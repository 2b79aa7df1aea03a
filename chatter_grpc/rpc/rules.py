"""Checks requests against the field rules of the contract, compiled once from the descriptors."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

from chatter_grpc._gen.chatter.options.v1 import rules_pb2
from chatter_grpc.core.errors import FieldViolation
from chatter_grpc.rpc.contract import methods_of
from chatter_grpc.rpc.faults import ContractFault
from chatter_grpc.rpc.value_rules import TEXTS, Test, value_tests, within_items

# Looks at one field of a message that lies at a path such as ``parts[0].``, and appends what it finds.
Check = Callable[[Any, str, list[FieldViolation]], None]

REQUIRED: Final = "must be set"
# What `required` can see on a field without presence.
CAN_BE_EMPTY: Final = TEXTS | {FieldDescriptor.TYPE_ENUM}
SHOWN_KEY: Final = 40


class MessageRules:
    """The rules of one message type and of those nested in it."""

    __slots__ = ("checks",)

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def violations(self, message: Any) -> list[FieldViolation]:
        """Return everything that breaks a rule, with paths as in ``parts[0].text.text``."""
        found: list[FieldViolation] = []
        for check in self.checks:
            check(message, "", found)
        return found


class RuleCompiler:
    """Compiles message types, each once, so that they may nest one another in a circle."""

    def __init__(self) -> None:
        self._known: dict[str, MessageRules] = {}

    def compile(self, descriptor: Descriptor) -> MessageRules:
        """Return the rules of a type. Raises ``ContractFault`` on a rule that makes no sense where it stands."""
        known = self._known.get(descriptor.full_name)
        if known is None:
            known = self._known[descriptor.full_name] = MessageRules()
            if not descriptor.full_name.startswith("google.protobuf."):
                known.checks += filter(None, [self._check_of(field) for field in descriptor.fields])
        return known

    def _check_of(self, field: FieldDescriptor) -> Check | None:
        rules = field.GetOptions().Extensions[rules_pb2.rules]
        if field.is_repeated:
            return self._collection_check_of(field, rules)
        if rules.HasField("items"):
            raise ContractFault(f"{field.full_name}: items is for lists and maps")
        tests = value_tests(field, rules)
        # One of several alternatives need not be set, whatever its rules: they hold for the one that is.
        missing = rules.required and not in_oneof(field)
        if field.message_type is not None:
            return message_check(field.name, self.compile(field.message_type), required=missing)
        can_be_empty = field.type in CAN_BE_EMPTY
        if field.has_presence:
            return presence_check(field.name, tests, required=missing, filled=rules.required and can_be_empty)
        if rules.required and not can_be_empty:
            raise ContractFault(f"{field.full_name}: required cannot tell 0 from unset; make the field optional")
        return plain_check(field.name, tests, required=rules.required, skip_empty=can_be_empty)

    def _collection_check_of(self, field: FieldDescriptor, rules: rules_pb2.FieldRules) -> Check:
        if not 0 < rules.items.max >= rules.items.min:
            raise ContractFault(f"{field.full_name}: a list or map in a request needs items.max, not below items.min")
        keys: tuple[Test, ...] = ()
        values, value_rules = field, rules
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            keys = value_tests(field.message_type.fields_by_name["key"], rules)
            values = field.message_type.fields_by_name["value"]
            value_rules = rules_pb2.FieldRules(length=rules.length if rules.HasField("length") else None)
        nested = None if values.message_type is None else self.compile(values.message_type)
        size = within_items(rules.items.min, rules.items.max)
        return collection_check(
            field.name, size, keys, value_tests(values, value_rules), nested, required=rules.required
        )


def request_rules(services: Iterable[ServiceDescriptor]) -> dict[str, MessageRules]:
    """Return the rules of each method's request, by the method's full name; raises ``ContractFault``."""
    compiler = RuleCompiler()
    rules = {}
    for name, method in methods_of(services):
        if method.client_streaming:
            raise ContractFault(f"{name}: validation knows no streams of requests")
        rules[name] = compiler.compile(method.input_type)
    return rules


def in_oneof(field: FieldDescriptor) -> bool:
    """Whether a field is one of several alternatives. To descriptors, what makes a field optional is a oneof too."""
    return field.containing_oneof is not None and field.containing_oneof.name != f"_{field.name}"


def report(tests: Iterable[Test], value: Any, path: str, found: list[FieldViolation]) -> None:
    """Append what the tests say about a value."""
    for test in tests:
        wrong = test(value)
        if wrong is not None:
            found.append(FieldViolation(field=path, description=wrong))


def plain_check(name: str, tests: tuple[Test, ...], *, required: bool, skip_empty: bool) -> Check:
    """Check a field without presence: what can be empty and is stands for unset."""

    def check(message: Any, at: str, found: list[FieldViolation]) -> None:
        value = getattr(message, name)
        if value or not skip_empty:
            report(tests, value, at + name, found)
        elif required:
            found.append(FieldViolation(field=at + name, description=REQUIRED))

    return check


def presence_check(name: str, tests: tuple[Test, ...], *, required: bool, filled: bool) -> Check:
    """Check a scalar that can be unset: one that is set is tested, even where it is empty."""

    def check(message: Any, at: str, found: list[FieldViolation]) -> None:
        if message.HasField(name):
            value = getattr(message, name)
            if value or not filled:
                report(tests, value, at + name, found)
                return
        elif not required:
            return
        found.append(FieldViolation(field=at + name, description=REQUIRED))

    return check


def message_check(name: str, nested: MessageRules, *, required: bool) -> Check:
    """Check a nested message where it is set."""

    def check(message: Any, at: str, found: list[FieldViolation]) -> None:
        if message.HasField(name):
            inner, path = getattr(message, name), f"{at}{name}."
            for each in nested.checks:
                each(inner, path, found)
        elif required:
            found.append(FieldViolation(field=at + name, description=REQUIRED))

    return check


def collection_check(
    name: str,
    size: Test,
    key_tests: tuple[Test, ...],
    tests: tuple[Test, ...],
    nested: MessageRules | None,
    *,
    required: bool,
) -> Check:
    """Check a list or a map and what is in it; of one with too many elements, their number alone."""
    checks = [] if nested is None else nested.checks

    def check(message: Any, at: str, found: list[FieldViolation]) -> None:
        values = getattr(message, name)
        if not values:
            if required:
                found.append(FieldViolation(field=at + name, description=REQUIRED))
            return
        wrong = size(values)
        if wrong is not None:
            found.append(FieldViolation(field=at + name, description=wrong))
            return
        for label, key, value in elements(values):
            path = at + name + label
            report(key_tests, key, path, found)
            report(tests, value, path, found)
            for each in checks:
                each(value, path + ".", found)

    return check


def elements(values: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield each element of a list or map as its part of a path, its index or key, and its value."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield f'["{str(key)[:SHOWN_KEY]}"]', key, value
    else:
        for index, value in enumerate(values):
            yield f"[{index}]", index, value
