"""Turns what is observed into spans, and sends them to a collector from a thread of its own.

A span says what took how long and how it ended. It holds ids of calls and runs, names of methods and models, codes,
reasons and numbers; never what was said, and never who said it.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from chatter_grpc.core.observation import Unobserved
from chatter_grpc.core.runs.run import Run
from chatter_grpc.core.usage import Usage

# How long one sending may take; a stop waits for the last one.
EXPORT_SECONDS: Final = 3.0
# How long spans are gathered before they are sent.
GATHER_MILLISECONDS: Final = 1000
# Spans that wait; more are dropped, so that a collector that is away costs bounded memory and nothing else.
WAITING: Final = 2048
# The codes that are a server's fault, as OpenTelemetry's conventions for RPC have it.
FAULTS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """Where spans go (``http://host:port``, or ``https://``), which share of them, and who sends them."""

    endpoint: str
    ratio: float
    version: str


class TracingObserver(Unobserved):
    """The ``Observer`` that traces calls, runs and calls of models.

    A run outlives the call that started it, and others may watch it: it has a trace of its own, linked to the call's.
    """

    def __init__(self, settings: TraceSettings) -> None:
        resource = Resource.create({"service.name": "chatter", "service.version": settings.version})
        sampler = ParentBased(TraceIdRatioBased(settings.ratio))
        self._provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(
            endpoint=settings.endpoint, insecure=settings.endpoint.startswith("http:"), timeout=EXPORT_SECONDS
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=WAITING, schedule_delay_millis=GATHER_MILLISECONDS)
        )
        self._tracer = self._provider.get_tracer("chatter", settings.version)
        self._propagator = TraceContextTextMapPropagator()

    async def close(self) -> None:
        """Send what waits, as far as the collector takes it in time."""
        await asyncio.to_thread(self._provider.shutdown)

    @contextmanager
    def call(self, method: str, call_id: str, trace: Mapping[str, str]) -> "Iterator[_Call]":
        """See ``Observer``; the span goes on the caller's trace."""
        service, _, name = method.partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "chatter.call_id": call_id}
        context = self._propagator.extract(trace, context=Context())
        with self._tracer.start_as_current_span(
            method, context, SpanKind.SERVER, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            yield _Call(span)

    @contextmanager
    def run(self, run: Run) -> "Iterator[_Run]":
        """See ``Observer``."""
        kind = run.kind.value if run.kind else "stored"
        attributes: Attributes = {"chatter.run_id": run.id, "chatter.attempt": run.attempt, "chatter.kind": kind}
        caller = trace.get_current_span().get_span_context()
        with self._tracer.start_as_current_span(
            f"run {kind}",
            Context(),
            SpanKind.INTERNAL,
            attributes,
            links=[Link(caller)] if caller.is_valid else [],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _Run(span)

    def model_call(self, model: str, provider: str) -> "_ModelCall":
        """See ``Observer``; the span is within that of the run."""
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        return _ModelCall(self._tracer.start_span(f"chat {model}", None, SpanKind.CLIENT, attributes))


class _Call:
    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(self, code: str, reason: str) -> None:
        self._span.set_attribute("rpc.grpc.status_code", code)
        _tell(self._span, reason, fault=code in FAULTS)


class _Run:
    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(self, state: str, reason: str, usage: Usage) -> None:
        self._span.set_attribute("chatter.state", state)
        self._span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
        self._span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
        _tell(self._span, reason, fault=bool(reason))


class _ModelCall:
    def __init__(self, span: Span) -> None:
        self._span = span

    def answering(self) -> None:
        self._span.add_event("first token")

    def ended(self, reason: str) -> None:
        _tell(self._span, reason, fault=reason not in {"", "CANCELLED"})
        self._span.end()


def _tell(span: Span, reason: str, *, fault: bool) -> None:
    if reason:
        span.set_attribute("error.type", reason)
    if fault:
        span.set_status(Status(StatusCode.ERROR))
