"""Reads a certificate with its key from files, and refuses what a server could not use."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from chatter_grpc.core.certificates import Certificate


class CertificateRefused(Exception):
    """A file cannot be used; ``part`` is the field of ``CertificateFiles`` that names it, the message says why."""

    def __init__(self, part: str, message: str) -> None:
        self.part = part
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """Where a certificate is: PEM files with its chain (its own first), its key, and the authorities of clients."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None

    def read(self) -> Certificate:
        """Read and check the files; raises ``CertificateRefused``. Blocks."""
        chain = _bytes_of("cert_file", self.cert_file)
        own = _certificates("cert_file", self.cert_file, chain)[0]
        private_key = _bytes_of("key_file", self.key_file)
        if _public_part(_key(self.key_file, private_key)) != _public_part(own):
            raise CertificateRefused(
                "key_file", f"{self.key_file} is not the key of the certificate in {self.cert_file}"
            )
        client_roots = None
        if self.client_ca_file is not None:
            client_roots = _bytes_of("client_ca_file", self.client_ca_file)
            _certificates("client_ca_file", self.client_ca_file, client_roots)
        return Certificate(
            chain=chain,
            private_key=private_key,
            client_roots=client_roots,
            names=_names(own),
            begins_at=own.not_valid_before_utc,
            ends_at=own.not_valid_after_utc,
        )


def _bytes_of(part: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateRefused(part, f"{path}: {(error.strerror or str(error)).lower()}") from error


def _certificates(part: str, path: Path, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise CertificateRefused(part, f"{path} holds no certificate in PEM") from error


def _key(path: Path, data: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, password=None)
    except TypeError as error:
        raise CertificateRefused("key_file", f"{path} is encrypted with a password: store it without one") from error
    except ValueError as error:
        raise CertificateRefused("key_file", f"{path} holds no private key in PEM") from error


def _public_part(holder: PrivateKeyTypes | x509.Certificate) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)
