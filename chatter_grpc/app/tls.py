"""Decides whether connections are encrypted, and opens the certificate where they are."""

import asyncio
import ipaddress
from typing import Final

from chatter_grpc.adapters.tls.files import CertificateFiles, CertificateRefused
from chatter_grpc.adapters.tls.watch import CertificateWatch
from chatter_grpc.app.observation import Observed
from chatter_grpc.config import ConfigurationFault, Settings
from chatter_grpc.core.certificates import Certificate
from chatter_grpc.core.clock import utc_now
from chatter_grpc.rpc.server import EdgeServer

UNIX: Final = "unix:"
REACHABLE: Final = """\
CHATTER_LISTEN: {listen} can be reached from other machines, and connections to it would not be encrypted.
Set CHATTER_TLS_CERT_FILE and CHATTER_TLS_KEY_FILE, or listen on 127.0.0.1.
Where a proxy or the network itself encrypts, set CHATTER_INSECURE=true."""


async def open_certificate(settings: Settings) -> Certificate | None:
    """Return the certificate to serve with, or ``None`` where connections are not to be encrypted.

    Raises ``ConfigurationFault`` where the settings contradict one another, where a file cannot be used, and where
    what others can reach would not be encrypted although nothing says so.
    """
    files = certificate_files(settings)
    if files is None:
        if not settings.insecure and not stays_on_this_machine(settings.listen):
            raise ConfigurationFault(REACHABLE.format(listen=settings.listen))
        return None
    if settings.insecure:
        raise ConfigurationFault("CHATTER_INSECURE: connections are encrypted where CHATTER_TLS_CERT_FILE is set")
    try:
        return await asyncio.to_thread(files.read)
    except CertificateRefused as refusal:
        raise ConfigurationFault(f"CHATTER_TLS_{refusal.part.upper()}: {refusal}") from refusal


def certificate_files(settings: Settings) -> CertificateFiles | None:
    """Return where the certificate is, or ``None`` without one; raises ``ConfigurationFault`` for a half of it."""
    cert, key, client_ca = settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file
    if cert is None:
        for name, path in (("KEY", key), ("CLIENT_CA", client_ca)):
            if path is not None:
                raise ConfigurationFault(f"CHATTER_TLS_{name}_FILE: needs CHATTER_TLS_CERT_FILE beside it")
        return None
    if key is None:
        raise ConfigurationFault("CHATTER_TLS_CERT_FILE: needs CHATTER_TLS_KEY_FILE beside it")
    return CertificateFiles(cert_file=cert, key_file=key, client_ca_file=client_ca)


def certificate_watch(settings: Settings, edge: EdgeServer, observed: Observed) -> CertificateWatch | None:
    """Return what has a server show the certificate that its files hold, ``None`` where there are none."""
    files, served = certificate_files(settings), edge.certificate
    if files is None or served is None:
        return None

    def take(certificate: Certificate) -> None:
        served.replace(certificate)
        observed.note_certificate(certificate)

    observed.note_certificate(served.current)
    return CertificateWatch(files, served.current, take, utc_now)


def stays_on_this_machine(listen: str) -> bool:
    """Whether an address, ``host:port`` or ``unix:/path``, is reached from this machine alone."""
    if listen.startswith(UNIX):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
