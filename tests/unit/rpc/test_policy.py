"""A server does not start while a method of its contract lacks a part of its policy."""

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from chatter_grpc.rpc.contract import SERVICES
from chatter_grpc.rpc.faults import ContractFault
from chatter_grpc.rpc.policy import Access, MethodPolicy, RateClass, read_policies
from tests.support.protos import compile_proto


def service(policy: str, request: str = "") -> ServiceDescriptor:
    option = f"option (chatter.options.v1.policy) = {{ {policy} }};" if policy else ""
    source = f"""
    message In {{ {request} }}
    service Made {{ rpc Up(In) returns (In) {{ {option} }} }}
    """
    return compile_proto(source).services_by_name["Made"]


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ("", "no policy"),
        ("rate_class: RATE_CLASS_READ cost: 1", "no access"),
        ("access: ACCESS_SCOPED rate_class: RATE_CLASS_READ cost: 1", "no scope is named"),
        ("access: ACCESS_SCOPED scope: 'chat:fly' rate_class: RATE_CLASS_READ cost: 1", "'chat:fly' is not one of"),
        ("access: ACCESS_PUBLIC scope: 'chat:read' rate_class: RATE_CLASS_READ cost: 1", "access is not scoped"),
        ("access: ACCESS_AUTHENTICATED cost: 1", "no rate class"),
        ("access: ACCESS_AUTHENTICATED rate_class: RATE_CLASS_READ", "no cost"),
    ],
)
def test_a_gap_in_a_policy_is_refused(policy: str, fault: str) -> None:
    with pytest.raises(ContractFault, match=f"/made.up.Made/Up: .*{fault}"):
        read_policies([service(policy)])


def test_a_public_method_takes_no_request_id() -> None:
    policy = "access: ACCESS_PUBLIC rate_class: RATE_CLASS_AUTH cost: 1"
    with pytest.raises(ContractFault, match="no owner whose request_id"):
        read_policies([service(policy, "string request_id = 1;")])


def test_all_gaps_are_told_together() -> None:
    with pytest.raises(ContractFault, match=r"no access(.|\n)*no rate class(.|\n)*no cost"):
        read_policies([service("scope: ''")])


def test_a_whole_policy_is_read() -> None:
    policy = "access: ACCESS_SCOPED scope: 'chat:write' rate_class: RATE_CLASS_START cost: 3"
    assert read_policies([service(policy)]) == {
        "/made.up.Made/Up": MethodPolicy(access=Access.SCOPED, scope="chat:write", rate_class=RateClass.START, cost=3)
    }


def test_only_what_makes_a_session_is_public() -> None:
    public = {name for name, policy in read_policies(SERVICES).items() if policy.access is Access.PUBLIC}
    assert public == {f"/chatter.v1.AuthService/{name}" for name in ("Register", "Login", "Refresh")}
