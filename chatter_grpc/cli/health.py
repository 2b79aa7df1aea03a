"""`chatter-grpc health`: whether a running server serves, for containers and scripts."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
import typer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chatter_grpc.adapters.tls.files import CertificateFiles, CertificateRefused
from chatter_grpc.cli.addresses import reachable
from chatter_grpc.cli.faults import EXIT_FAILED, EXIT_MISCONFIGURED, complain, said_plainly
from chatter_grpc.config import Settings, load_settings

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What an encrypted connection takes: ``roots`` vouch for the server, in PEM; ``None`` is plain text.

    ``server_name`` is the name that the server's certificate has to be for, where it is not that of the address.
    ``identity`` is the key and the certificate that the client shows, in PEM, if any.
    """

    roots: bytes | None = None
    server_name: str = ""
    identity: tuple[bytes, bytes] | None = None


def health(
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS", help="Whom to ask; otherwise CHATTER_LISTEN.")
    ] = None,
    service: Annotated[
        str, typer.Option("--service", metavar="NAME", help="Ask for one service, as in chatter.v1.ChatService.")
    ] = "",
    seconds: Annotated[float, typer.Option("--timeout", min=0.1, max=600, help="Seconds to wait.")] = 3.0,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="Authorities that vouch for an encrypted server.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option("--cert", metavar="FILE", help="The certificate to show it, where it asks for one.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="That certificate's key.")] = None,
) -> None:
    """Ask a running server whether it serves.

    Prints the status that `grpc.health.v1` gives and exits with 0 if it is SERVING, with 1 for everything else. The
    connection is encrypted where --ca is given or CHATTER_TLS_CERT_FILE is set: the server that has to show that very
    certificate then, and is shown it, too, where CHATTER_TLS_CLIENT_CA_FILE asks for one.
    """
    with said_plainly():
        settings = load_settings()
        target = reachable(settings.listen if address is None else address)
        try:
            trust = trust_of(settings, ca, cert, key)
        except CertificateRefused as refusal:
            complain(str(refusal), code=EXIT_MISCONFIGURED)
    try:
        status = asyncio.run(ask(target, service, seconds, trust))
    except grpc.aio.AioRpcError as error:
        complain(f"{target} answers {error.code().name}: {error.details() or service}")
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(EXIT_FAILED)


app.command()(health)


def trust_of(settings: Settings, ca: Path | None, cert: Path | None, key: Path | None) -> Trust:
    """Return what the options and settings ask for; raises ``CertificateRefused`` and ``OSError``."""
    if (cert is None) != (key is None):
        complain("--cert and --key go together", code=EXIT_MISCONFIGURED)
    shown = None
    if cert is not None and key is not None:
        given = CertificateFiles(cert_file=cert, key_file=key).read()
        shown = (given.private_key, given.chain)
    if ca is not None:
        return Trust(roots=ca.read_bytes(), identity=shown)
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        if shown is not None:
            complain("--cert needs --ca beside it", code=EXIT_MISCONFIGURED)
        return Trust()
    own = CertificateFiles(cert_file=settings.tls_cert_file, key_file=settings.tls_key_file).read()
    if shown is None and settings.tls_client_ca_file is not None:
        shown = (own.private_key, own.chain)
    return Trust(roots=own.chain, server_name=next(iter(own.names), ""), identity=shown)


async def ask(target: str, service: str, seconds: float, trust: Trust) -> str:
    """Return the status's name; raises ``grpc.aio.AioRpcError`` where none comes within the time."""
    async with open_channel(target, trust) as channel:
        answer = await HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=seconds)
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))


def open_channel(target: str, trust: Trust) -> grpc.aio.Channel:
    """Return a channel, encrypted where there is something to trust."""
    if trust.roots is None:
        return grpc.aio.insecure_channel(target)
    private_key, chain = trust.identity or (None, None)
    credentials = grpc.ssl_channel_credentials(trust.roots, private_key, chain)
    options = (("grpc.ssl_target_name_override", trust.server_name),) if trust.server_name else ()
    return grpc.aio.secure_channel(target, credentials, options=options)
