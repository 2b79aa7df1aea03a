"""New connections are held to the certificate and the authorities that are there when they are made."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import pytest
from grpc_health.v1.health import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from chatter_grpc.core.certificates import Certificate
from chatter_grpc.rpc.credentials import ServedCertificate
from chatter_grpc.rpc.listening import listen
from tests.support.certificates import Pair, issue

SECONDS = 20.0
CA, OTHER_CA = issue("authority"), issue("another authority")
FIRST, SECOND = issue("first.example", issuer=CA), issue("second.example", issuer=CA)
CLIENT, OTHER_CLIENT = issue("client", issuer=CA), issue("client", issuer=OTHER_CA)


def certificate(pair: Pair, client_roots: Pair | None = None) -> Certificate:
    return Certificate(
        chain=pair.cert_pem,
        private_key=pair.key_pem(),
        client_roots=None if client_roots is None else client_roots.cert_pem,
        names=(),
        begins_at=datetime.now(UTC),
        ends_at=datetime.now(UTC),
    )


class Site:
    """A server with a certificate, and clients that open a connection for each call."""

    def __init__(self, served: ServedCertificate) -> None:
        self.served = served
        self.server = grpc.aio.server()
        add_HealthServicer_to_server(aio.HealthServicer(), self.server)
        self.port = listen(self.server, "127.0.0.1:0", served.credentials())

    async def call(self, name: str, client: Pair | None = None) -> grpc.StatusCode:
        key, chain = (None, None) if client is None else (client.key_pem(), client.cert_pem)
        credentials = grpc.ssl_channel_credentials(CA.cert_pem, key, chain)
        options = (("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options) as channel:
            try:
                await HealthStub(channel).Check(HealthCheckRequest(), timeout=SECONDS)
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK


@pytest.fixture
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    site = Site(ServedCertificate(request.param))
    await site.server.start()
    yield site
    await site.server.stop(None)


@pytest.mark.parametrize("site", [certificate(FIRST)], indirect=True, ids=["tls"])
async def test_another_certificate_takes_the_place_of_the_first(site: Site) -> None:
    assert await site.call("first.example") is grpc.StatusCode.OK
    site.served.replace(certificate(SECOND))
    assert await site.call("second.example") is grpc.StatusCode.OK
    assert await site.call("first.example") is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("site", [certificate(FIRST, CA)], indirect=True, ids=["mutual"])
async def test_other_authorities_take_the_place_of_the_first(site: Site) -> None:
    assert await site.call("first.example", CLIENT) is grpc.StatusCode.OK
    assert await site.call("first.example", OTHER_CLIENT) is grpc.StatusCode.UNAVAILABLE
    site.served.replace(certificate(FIRST, OTHER_CA))
    assert await site.call("first.example", OTHER_CLIENT) is grpc.StatusCode.OK
    assert await site.call("first.example", CLIENT) is grpc.StatusCode.UNAVAILABLE
    assert await site.call("first.example") is grpc.StatusCode.UNAVAILABLE
