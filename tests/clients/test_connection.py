"""How a server is reached: what is encrypted, and by what rules."""

import datetime as dt
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatter_client import ApiKey, ChatterError, Tls, connect, connect_sync
from chatter_client.connection import OPENINGS, PUBLIC_METHODS, encryption_of
from chatter_client.contract import run_event_pb2, system_service_pb2


@pytest.mark.parametrize(
    "target", ["localhost:50051", "127.0.0.1:1", "[::1]:50051", "unix:/run/chatter.sock", "dns:///localhost:1"]
)
def test_what_stays_on_this_machine_is_not_encrypted(target: str) -> None:
    assert encryption_of(target, None) is None


@pytest.mark.parametrize("target", ["chatter.example.org:443", "10.0.0.1:50051", "dns:///chat:1", "localhost.a.org:1"])
def test_what_leaves_this_machine_is_encrypted(target: str) -> None:
    assert encryption_of(target, None) == Tls()
    assert encryption_of(target, False) is None


def test_public_methods_are_those_of_the_contract() -> None:
    assert "/chatter.v1.AuthService/Login" in PUBLIC_METHODS
    assert "/chatter.v1.UserService/GetMe" not in PUBLIC_METHODS


def test_what_streams_a_run_is_read_from_the_contract() -> None:
    assert OPENINGS["chatter.v1.SendMessageRequest"] == ("ChatService", "SendMessage")
    assert OPENINGS["chatter.v1.WatchRunRequest"] == ("RunService", "WatchRun")


async def test_what_starts_no_run_is_refused() -> None:
    async with connect("localhost:1") as client:
        with pytest.raises(TypeError):
            client.start(run_event_pb2.RunEvent())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A key and its certificate for this machine, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chatter test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
async def encrypted(certificate: tuple[bytes, bytes]) -> AsyncIterator[str]:
    """A server that answers GetServerInfo over TLS, with what the call carried; its address."""

    async def answer(
        request: system_service_pb2.GetServerInfoRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> system_service_pb2.GetServerInfoResponse:
        carried = dict(context.invocation_metadata() or ())
        return system_service_pb2.GetServerInfoResponse(version=str(carried.get("authorization", "")))

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        system_service_pb2.GetServerInfoRequest.FromString,
        system_service_pb2.GetServerInfoResponse.SerializeToString,
    )
    service = "chatter.v1.SystemService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"GetServerInfo": handler}),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate]))
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_server_is_trusted_by_its_certificate(encrypted: str, certificate: tuple[bytes, bytes]) -> None:
    request = system_service_pb2.GetServerInfoRequest()
    async with connect(encrypted, credentials=ApiKey(key="key"), tls=Tls(root_certificates=certificate[1])) as client:
        answer = await client.system.GetServerInfo(request)
    assert answer.version in {"Bearer key", ""}


async def test_a_server_that_nobody_vouches_for_is_sent_nothing(encrypted: str) -> None:
    async with connect(encrypted, tls=True) as client:
        with pytest.raises(ChatterError) as caught:
            await client.system.GetServerInfo(system_service_pb2.GetServerInfoRequest(), timeout=5)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.reason == ""


def test_the_synchronous_client_goes_by_the_same_rules(tmp_path: Path) -> None:
    with connect_sync(f"unix:{tmp_path / 'nobody.sock'}") as client, pytest.raises(ChatterError) as caught:
        client.system.GetServerInfo(system_service_pb2.GetServerInfoRequest(), timeout=2)
    assert caught.value.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
