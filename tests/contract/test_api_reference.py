"""The API reference is what the protos say: all of it, as they say it now."""

import re

from chatter_grpc._gen.chatter.v1 import error_reason_pb2
from chatter_grpc.rpc.contract import SERVICES, methods_of
from tests.support.processes import ROOT
from tools.api_reference import REASON_PREFIX, reference
from tools.commented_protos import read_contract

PAGE = (ROOT / "docs" / "api.md").read_text()


def test_it_is_current() -> None:
    """Make it anew with `make derive`."""
    assert reference() == PAGE


def test_every_method_and_reason_is_on_it() -> None:
    for name, method in methods_of(SERVICES):
        assert f"\n### {method.name}\n" in PAGE, name
    for reason in error_reason_pb2.ErrorReason.keys():  # noqa: SIM118 - an enum is no mapping
        assert f"`{reason.removeprefix(REASON_PREFIX)}`" in PAGE


def test_everything_in_the_contract_has_a_comment() -> None:
    contract = read_contract()
    parts = [*contract.services, *contract.messages, *contract.enums]
    # An optional field is a oneof of its own, whose name begins so.
    silent = [
        f"{part.proto.name}.{each.proto.name}"
        for part in parts
        for each in part.inner
        if not each.comment and not each.proto.name.startswith("_")
    ]
    assert not silent
    assert not [part.proto.name for part in parts if not part.comment]


def test_every_link_leads_somewhere() -> None:
    headings = {heading.lower() for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    places = headings | set(re.findall(r'<a id="([^"]+)">', PAGE))
    assert not set(re.findall(r"\(#([^)]+)\)", PAGE)) - places


def test_every_reason_has_a_status_and_an_example() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith('| <a id="')]
    assert len(rows) == len(error_reason_pb2.ErrorReason.keys())
    assert not [row[0] for row in rows[1:] if not row[2].strip() or row[4].strip(" |") == ""]
