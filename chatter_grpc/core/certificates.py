"""What a server shows of itself on encrypted connections."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A TLS certificate with its chain and its private key, in PEM.

    ``client_roots`` are the authorities, in PEM, one of which has to vouch for each client; ``None`` takes clients
    without a certificate. ``names`` are the host names that the certificate is for, in its order. It holds from
    ``begins_at`` until ``ends_at``.
    """

    chain: bytes
    private_key: bytes = field(repr=False)
    client_roots: bytes | None
    names: tuple[str, ...]
    begins_at: datetime
    ends_at: datetime
