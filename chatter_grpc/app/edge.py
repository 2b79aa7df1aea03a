"""Builds the gRPC edge's settings."""

from chatter_grpc import __version__
from chatter_grpc.config import Settings
from chatter_grpc.core.certificates import Certificate
from chatter_grpc.core.limits import Limit
from chatter_grpc.rpc.peers import TrustedProxies
from chatter_grpc.rpc.policy import RateClass
from chatter_grpc.rpc.server import EdgeSettings, TransportSettings
from chatter_grpc.rpc.services.system import ServerFacts


def edge_settings(settings: Settings, certificate: Certificate | None) -> EdgeSettings:
    """Return how the edge serves."""
    return EdgeSettings(
        listen=settings.listen,
        facts=ServerFacts(
            version=__version__,
            registration_open=settings.registration,
            max_request_bytes=settings.max_request_bytes,
        ),
        limits={
            RateClass.AUTH: Limit(amount=settings.auth_calls_per_minute, seconds=60),
            RateClass.READ: Limit(amount=settings.read_calls_per_minute, seconds=60),
            RateClass.WRITE: Limit(amount=settings.write_calls_per_minute, seconds=60),
            RateClass.START: Limit(amount=settings.start_calls_per_minute, seconds=60),
        },
        streams_per_caller=settings.streams_per_caller,
        trusted_proxies=TrustedProxies(settings.trusted_proxies),
        certificate=certificate,
        transport=TransportSettings(
            keepalive=settings.keepalive_seconds,
            keepalive_timeout=settings.keepalive_timeout_seconds,
            shortest_ping=settings.shortest_ping_seconds,
            max_streams=settings.max_streams_per_connection,
            max_age=settings.max_connection_age_seconds,
        ),
        show_requests=settings.log_level == "debug",
    )
