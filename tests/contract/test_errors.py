"""The catalogue of errors and the domain's errors are one, and every RPC says which it answers."""

import json
import re

from google.protobuf.descriptor import EnumValueDescriptor

from chatter_grpc._gen.chatter.v1 import error_reason_pb2
from chatter_grpc.core.errors import ChatterError, reason_of
from chatter_grpc.rpc.errors import CATALOGUE
from tests.support.contract import SERVICES, enum_value_comment, method_comment
from tests.support.errors import EXAMPLES

REASONS: list[EnumValueDescriptor] = list(error_reason_pb2.ErrorReason.DESCRIPTOR.values)[1:]
ERRORS_LINE = re.compile(r"\n Errors: ([A-Z0-9_,\s]+|none of its own)\.\n\Z")
EXAMPLE = re.compile(r"Example of its metadata: `(\{.*?\})`")
# Refused before a method's own code runs, or by a fault of the server: they may come from every method.
EVERYWHERE = {
    "REQUEST_MALFORMED",
    "REQUEST_TOO_LARGE",
    "CREDENTIALS_MISSING",
    "SCOPE_MISSING",
    "SUBJECT_REFUSED",
    "STORAGE_UNAVAILABLE",
    "REVOCATIONS_STALE",
    "INTERNAL",
    "METHOD_UNKNOWN",
}


def test_every_reason_is_a_domain_error_and_every_domain_error_a_reason() -> None:
    assert sorted(CATALOGUE) == sorted(reason_of(each) for each in ChatterError.__subclasses__())
    assert [error.reason for error in EXAMPLES] == [value.name.removeprefix("ERROR_REASON_") for value in REASONS]


def test_every_error_says_in_its_docstring_what_happened() -> None:
    assert not [type(error) for error in EXAMPLES if not error.message.endswith(".")]


def test_the_catalogue_documents_the_metadata_that_is_sent() -> None:
    for error, value in zip(EXAMPLES, REASONS, strict=True):
        comment = enum_value_comment(error_reason_pb2.DESCRIPTOR, "ErrorReason", value.index)
        documented = EXAMPLE.search(" ".join(comment.split()))
        assert documented is not None, value.name
        assert json.loads(documented[1]).keys() == error.metadata.keys(), value.name


def test_every_method_ends_its_comment_with_its_errors_and_each_exists() -> None:
    for service in SERVICES:
        for index, method in enumerate(service.methods):
            comment = method_comment(service, index)
            assert comment.startswith(f" {method.name} "), method.full_name
            line = ERRORS_LINE.search(comment)
            assert line is not None, method.full_name
            if line[1] != "none of its own":
                named = re.split(r",\s+", line[1])
                assert set(named) <= CATALOGUE.keys(), method.full_name
                assert len(named) == len(set(named)), method.full_name


def test_a_method_names_field_invalid_where_its_request_has_rules() -> None:
    for service in SERVICES:
        for index, method in enumerate(service.methods):
            named = "FIELD_INVALID" in method_comment(service, index)
            assert named is bool(method.input_type.fields), method.full_name


def test_no_method_names_what_every_method_may_answer() -> None:
    for service in SERVICES:
        for index, method in enumerate(service.methods):
            line = ERRORS_LINE.search(method_comment(service, index))
            assert line is not None
            assert not EVERYWHERE & set(re.split(r",\s+", line[1])), method.full_name
