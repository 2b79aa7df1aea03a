"""Builds the gRPC edge's settings."""

from chatter_grpc import __version__
from chatter_grpc.config import Settings
from chatter_grpc.core.limits import Limit
from chatter_grpc.rpc.policy import RateClass
from chatter_grpc.rpc.server import EdgeSettings
from chatter_grpc.rpc.services.system import ServerFacts


def edge_settings(settings: Settings) -> EdgeSettings:
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
        show_requests=settings.log_level == "debug",
    )
