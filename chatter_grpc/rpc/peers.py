"""Where a call comes from: the address of its peer, or of the client that a trusted proxy names."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

FORWARDED_FOR: Final = "x-forwarded-for"
# Stands in the list of trusted proxies for whoever may open the server's unix socket.
UNIX: Final = "unix"
# More proxies than any call passes.
MAX_HOPS: Final = 32
# An address as proxies write it, with or without a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
_WITH_PORT: Final = re.compile(r"(?P<v4>[0-9.]+):\d{1,5}|\[(?P<v6>[^]]+)\](:\d{1,5})?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The proxies whose word on their client is taken: addresses, networks, and ``unix``. Raises ``ValueError``."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        named = tuple(trusted)
        self._unix = UNIX in named
        self._networks = tuple(ipaddress.ip_network(each, strict=False) for each in named if each != UNIX)

    def client_of(self, peer: str, metadata: Any) -> str:
        """Return the address of a call's client, without its port; empty where it has none.

        ``peer`` is gRPC's, such as ``ipv4:10.0.0.1:4711``. Where it is a trusted proxy, the client is the last address
        in ``x-forwarded-for`` that is not one; what was written before that, anyone may have written. An entry that is
        no address ends the search: the client is then the proxy that passed it on.
        """
        address = address_of(peer)
        if not (self._trusts(address) if address else self._unix):
            return address
        values = [value for key, value in metadata if key == FORWARDED_FOR and isinstance(value, str)]
        hops = [hop.strip() for value in values for hop in value.split(",")]
        for hop in reversed(hops[-MAX_HOPS:]):
            found = parse_address(hop)
            if found is None:
                break
            address = str(found)
            if not self._trusts(address):
                break
        return address

    def _trusts(self, address: str) -> bool:
        found = parse_address(address)
        return found is not None and any(found in network for network in self._networks)


def address_of(peer: str) -> str:
    """Return the address of a peer such as ``ipv4:10.0.0.1:4711`` or ``ipv6:%5B::1%5D:4711``; empty for a socket."""
    family, _, rest = peer.partition(":")
    if family not in {"ipv4", "ipv6"}:
        return ""
    return unquote(rest).rpartition(":")[0].strip("[]")


def parse_address(text: str) -> Address | None:
    """Return an address with or without a port, an IPv4 one that is written as IPv6 as what it is, or ``None``."""
    found = _WITH_PORT.fullmatch(text)
    bare = text if found is None else found["v4"] or found["v6"]
    try:
        parsed = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
