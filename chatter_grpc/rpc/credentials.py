"""The server's side of TLS: the certificate that new connections are shown, which may change while it serves."""

import grpc

from chatter_grpc.core.certificates import Certificate


class ServedCertificate:
    """What new connections are shown, ``current``; those that are open keep what they began with."""

    def __init__(self, certificate: Certificate) -> None:
        self.current = certificate
        self._next: grpc.ServerCertificateConfiguration | None = None

    def replace(self, certificate: Certificate) -> None:
        """Show another certificate from now on. Whether clients need one was settled at the start and stays."""
        self._next = configuration(certificate)
        self.current = certificate

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is opened with."""
        return grpc.dynamic_ssl_server_credentials(
            configuration(self.current),
            self._fetch,  # type: ignore[arg-type] # the stub does not know that None is for no change
            require_client_authentication=self.current.client_roots is not None,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # Called by gRPC's threads before every handshake; only what is new costs it anything.
        waiting, self._next = self._next, None
        return waiting


def configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    """Return a certificate as gRPC takes it."""
    return grpc.ssl_server_certificate_configuration(
        [(certificate.private_key, certificate.chain)], root_certificates=certificate.client_roots
    )
