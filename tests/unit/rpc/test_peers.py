"""Behind a proxy, the client is who the last trusted proxy says; nobody else is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.rpc.peers import MAX_HOPS, TrustedProxies, parse_address

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.1", "2001:db8:ffff::/48"])
PROXY = "ipv4:10.0.0.1:4711"


def forwarded(*values: str) -> list[tuple[str, str | bytes]]:
    return [("user-agent", "x"), *(("x-forwarded-for", value) for value in values)]


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        # Nobody is trusted who is not named.
        ("ipv4:198.51.100.9:1", ["203.0.113.5"], "198.51.100.9"),
        ("unix:/run/x", ["203.0.113.5"], ""),
        # The last one that is no proxy; what stands before it, the client may have written itself.
        (PROXY, ["203.0.113.5"], "203.0.113.5"),
        (PROXY, ["1.1.1.1, 203.0.113.5"], "203.0.113.5"),
        (PROXY, ["1.1.1.1,203.0.113.5, 10.2.2.2 ,192.0.2.1"], "203.0.113.5"),
        (PROXY, ["1.1.1.1", "203.0.113.5", "10.2.2.2"], "203.0.113.5"),
        ("ipv6:[2001:db8:ffff::1]:4711", ["2001:db8::7"], "2001:db8::7"),
        # Within the proxies' own network, the first of them.
        (PROXY, ["10.9.9.9, 10.8.8.8"], "10.9.9.9"),
        # Other ways to write an address.
        (PROXY, ["203.0.113.5:4711"], "203.0.113.5"),
        (PROXY, ["[2001:db8::7]:4711"], "2001:db8::7"),
        (PROXY, ["[2001:db8::7]"], "2001:db8::7"),
        (PROXY, ["::ffff:203.0.113.5"], "203.0.113.5"),
        (PROXY, ["203.0.113.5, ::ffff:10.1.1.1"], "203.0.113.5"),
        # What is no address is no client: it counts as whoever passed it on.
        (PROXY, [], "10.0.0.1"),
        (PROXY, [""], "10.0.0.1"),
        (PROXY, ["unknown"], "10.0.0.1"),
        (PROXY, ["203.0.113.5, evil\n"], "10.0.0.1"),
        (PROXY, ["203.0.113.5, _hidden, 10.2.2.2"], "10.2.2.2"),
        (PROXY, ["999.1.1.1"], "10.0.0.1"),
        (PROXY, ["203.0.113.5, "], "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_one_that_is_no_proxy(peer: str, values: list[str], client: str) -> None:
    assert PROXIES.client_of(peer, forwarded(*values)) == client


def test_whoever_may_open_the_socket_is_trusted_where_that_is_said() -> None:
    proxies = TrustedProxies(["unix"])
    assert proxies.client_of("unix:/run/x", forwarded("203.0.113.5")) == "203.0.113.5"
    assert proxies.client_of("unix:/run/x", forwarded("a")) == ""
    assert proxies.client_of("ipv4:10.0.0.1:1", forwarded("203.0.113.5")) == "10.0.0.1"


def test_a_long_list_is_not_followed_for_ever() -> None:
    hops = ["203.0.113.5", *["10.1.1.1"] * MAX_HOPS]
    assert PROXIES.client_of(PROXY, forwarded(", ".join(hops))) == "10.1.1.1"


def test_bytes_are_no_address() -> None:
    assert PROXIES.client_of(PROXY, [("x-forwarded-for", b"203.0.113.5")]) == "10.0.0.1"


@pytest.mark.parametrize("named", ["proxy.example.org", "10.0.0.0/33", ""])
def test_a_proxy_that_is_no_address_is_refused(named: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        TrustedProxies([named])


@given(st.lists(st.text(max_size=40), max_size=5))
def test_whatever_is_written_the_client_is_an_address(values: list[str]) -> None:
    assert parse_address(PROXIES.client_of(PROXY, forwarded(*values))) is not None
