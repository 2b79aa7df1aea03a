"""The gRPC server: the services, the chain of interceptors that each call passes, health, reflection and the stop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from chatter_grpc._gen.chatter.v1 import (
    auth_service_pb2_grpc,
    chat_service_pb2_grpc,
    run_service_pb2_grpc,
    system_service_pb2_grpc,
    user_service_pb2_grpc,
)
from chatter_grpc.core.api_key_service import ApiKeys
from chatter_grpc.core.auth import Auth
from chatter_grpc.core.authentication import Authenticator
from chatter_grpc.core.certificates import Certificate
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.forking import Forking
from chatter_grpc.core.limits import Limit, RateLimiter, Slots
from chatter_grpc.core.message_changes import MessageChanges
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.models import ModelCatalogue
from chatter_grpc.core.observation import UNOBSERVED, Observer
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.searching import Searches
from chatter_grpc.core.sending import Sending
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.user_service import Users
from chatter_grpc.rpc.contract import SERVICES, methods_of
from chatter_grpc.rpc.credentials import ServedCertificate
from chatter_grpc.rpc.deserialize import GuardedServer
from chatter_grpc.rpc.faults import ContractFault
from chatter_grpc.rpc.health import HealthMonitor
from chatter_grpc.rpc.interceptors.access_log import AccessLogInterceptor
from chatter_grpc.rpc.interceptors.audit import AuditInterceptor
from chatter_grpc.rpc.interceptors.authentication import AuthenticationInterceptor
from chatter_grpc.rpc.interceptors.authorization import AuthorizationInterceptor
from chatter_grpc.rpc.interceptors.call_id import CallIdInterceptor
from chatter_grpc.rpc.interceptors.errors import ErrorsInterceptor
from chatter_grpc.rpc.interceptors.idempotency import IdempotencyInterceptor
from chatter_grpc.rpc.interceptors.layer import Layer
from chatter_grpc.rpc.interceptors.observation import ObservationInterceptor
from chatter_grpc.rpc.interceptors.rate_limit import RateLimitInterceptor
from chatter_grpc.rpc.interceptors.stream_limit import StreamLimitInterceptor
from chatter_grpc.rpc.interceptors.validation import ValidationInterceptor
from chatter_grpc.rpc.listening import listen
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.peers import TrustedProxies
from chatter_grpc.rpc.policy import RateClass, read_policies
from chatter_grpc.rpc.rules import request_rules
from chatter_grpc.rpc.services.auth import AuthService
from chatter_grpc.rpc.services.chat import ChatService
from chatter_grpc.rpc.services.run_stream import RunStreams
from chatter_grpc.rpc.services.runs import RunService
from chatter_grpc.rpc.services.system import ServerFacts, SystemService
from chatter_grpc.rpc.services.users import UserService
from chatter_grpc.rpc.unknown_methods import UnknownMethods

# So much more than allowed is still read, so that a request that is too large can be answered with its reason.
READ_ANYWAY_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the edge calls."""

    auth: Auth
    api_keys: ApiKeys
    users: Users
    conversations: Conversations
    forking: Forking
    messages: Messages
    message_changes: MessageChanges
    searches: Searches
    sending: Sending
    runs: Runs
    streams: RunStreams
    models: ModelCatalogue
    authenticator: Authenticator
    limiter: RateLimiter
    slots: Slots
    storage: Storage
    page_tokens: PageTokenSigner
    observer: Observer = UNOBSERVED


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """How connections are kept; all times are in seconds.

    A silent connection with open calls is pinged after ``keepalive`` and closed where ``keepalive_timeout`` passes
    without an answer. Clients may ping every ``shortest_ping``. ``max_streams`` calls may be open on one connection. A
    connection that is ``max_age`` old takes no further calls; those that are open go on. ``None`` is for ever.
    """

    keepalive: float = 60.0
    keepalive_timeout: float = 20.0
    shortest_ping: float = 10.0
    max_streams: int = 1_000
    max_age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """How the edge serves.

    ``listen`` is ``host:port`` (port 0: any free one) or ``unix:/path``; without a certificate the connection is not
    encrypted. ``limits`` has one for every rate class; ``streams_per_caller`` is 0 for any number. Of calls from
    ``trusted_proxies`` the client is the one that they name. ``show_requests`` logs requests, redacted, at debug level.
    ``share_port`` lets several processes listen on one port.
    """

    listen: str
    facts: ServerFacts
    limits: Mapping[RateClass, Limit]
    streams_per_caller: int = 0
    trusted_proxies: TrustedProxies = field(default_factory=TrustedProxies)
    certificate: Certificate | None = None
    transport: TransportSettings = TransportSettings()
    show_requests: bool = False
    share_port: bool = False


class EdgeServer:
    """One server. Made within a running event loop; ``health.run`` is background work for its owner to run.

    ``certificate`` is what new connections are shown; ``None`` where they are not encrypted.
    """

    def __init__(self, services: Services, settings: EdgeSettings) -> None:
        self._settings = settings
        self.certificate = None if settings.certificate is None else ServedCertificate(settings.certificate)
        self._server = grpc.aio.server(interceptors=interceptors(services, settings), options=options(settings))
        names = [service.full_name for service in SERVICES]
        guarded = GuardedServer(self._server, settings.facts.max_request_bytes)
        register(guarded, services, settings)
        if sorted(guarded.services) != sorted(names):
            raise ContractFault(f"served are {sorted(guarded.services)}, while the contract has {sorted(names)}")
        self.health = HealthMonitor(services.storage, names)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*names, health_name, reflection.SERVICE_NAME), self._server)
        self._server.add_generic_rpc_handlers((UnknownMethods(services.observer),))

    async def start(self) -> int:
        """Listen, and return the port (1 for a unix socket). Raises ``AddressRefused`` where the address is taken."""
        credentials = None if self.certificate is None else self.certificate.credentials()
        port = listen(self._server, self._settings.listen, credentials)
        await self.health.check()
        await self._server.start()
        return port

    async def stop(self, grace_seconds: float) -> None:
        """Say NOT_SERVING, take no further calls, and let those that are open end within the time given."""
        await self.health.stop()
        await self._server.stop(grace_seconds)


def interceptors(services: Services, settings: EdgeSettings) -> Sequence[Layer]:
    """Return the chain that every call passes, outermost first; health and reflection pass by."""
    policies = read_policies(SERVICES)
    requests = {name: method.input_type for name, method in methods_of(SERVICES)}
    streams = [name for name, method in methods_of(SERVICES) if method.server_streaming]
    amount = settings.streams_per_caller
    stream_limit = [StreamLimitInterceptor(streams, services.slots, amount)] if amount else []
    return (
        CallIdInterceptor(policies, settings.trusted_proxies),
        AccessLogInterceptor(policies, show_requests=settings.show_requests),
        ObservationInterceptor(policies, services.observer),
        ErrorsInterceptor(policies),
        AuthenticationInterceptor(policies, services.authenticator),
        AuthorizationInterceptor(policies),
        RateLimitInterceptor(policies, services.limiter, settings.limits, services.auth.session_of),
        *stream_limit,
        ValidationInterceptor(request_rules(SERVICES)),
        IdempotencyInterceptor(requests),
        AuditInterceptor(policies),
    )


def register(server: Any, services: Services, settings: EdgeSettings) -> None:
    """Register every service of the contract."""
    pages = services.page_tokens
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(
        AuthService(services.auth, services.api_keys, pages), server
    )
    user_service_pb2_grpc.add_UserServiceServicer_to_server(UserService(services.users, pages), server)
    chat = ChatService(
        services.conversations,
        services.forking,
        services.messages,
        services.message_changes,
        services.searches,
        services.sending,
        services.runs,
        services.streams,
        pages,
    )
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(chat, server)
    runs = RunService(services.runs, services.sending, services.streams, pages)
    run_service_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(SystemService(settings.facts, services.models), server)


def options(settings: EdgeSettings) -> Sequence[tuple[str, int]]:
    """Return the options of the transport."""
    transport = settings.transport
    age = () if transport.max_age is None else (("grpc.max_connection_age_ms", milliseconds(transport.max_age)),)
    return (
        ("grpc.max_receive_message_length", settings.facts.max_request_bytes + READ_ANYWAY_BYTES),
        ("grpc.keepalive_time_ms", milliseconds(transport.keepalive)),
        ("grpc.keepalive_timeout_ms", milliseconds(transport.keepalive_timeout)),
        # A server answers pings that come faster by closing the connection.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", milliseconds(transport.shortest_ping)),
        ("grpc.max_concurrent_streams", transport.max_streams),
        *age,
        ("grpc.so_reuseport", int(settings.share_port)),
    )


def milliseconds(seconds: float) -> int:
    """Return seconds as gRPC takes them; nothing would be no limit at all."""
    return max(1, round(seconds * 1000))
