"""A collector of OpenTelemetry traces: OTLP over gRPC, on a thread of its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True)
class Collector(TraceServiceServicer):
    """Where it listens, and all that it was sent."""

    endpoint: str = ""
    received: list[ExportTraceServiceRequest] = field(default_factory=list)

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Keep what was sent."""
        self.received.append(request)
        return ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        """All spans up to now."""
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def text(self) -> str:
        """All that was sent, as text in which a secret would be found."""
        return "".join(str(request) for request in self.received)


def attributes_of(span: Span) -> dict[str, object]:
    """Return a span's attributes as plain values."""
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector while the block lasts."""
    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()
