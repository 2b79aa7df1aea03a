"""Turns what is observed into metrics."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import generate_latest

from chatter_grpc.adapters.metrics.registry import Metrics, make_metrics
from chatter_grpc.core.runs.run import Run
from chatter_grpc.core.usage import Usage

MICROS: Final = 1_000_000
CANCELLED: Final = "CANCELLED"
# All methods that are not there share this name, whatever they were called.
UNKNOWN: Final = "unknown"
UNIMPLEMENTED: Final = "UNIMPLEMENTED"


class MetricsObserver:
    """The ``Observer`` that counts; ``exposition`` is what Prometheus reads."""

    def __init__(self, version: str) -> None:
        self.metrics: Metrics = make_metrics()
        self.metrics.build.labels(version).set(1)

    def read_tasks(self, tasks: Callable[[], int]) -> None:
        """Have the event loop's tasks counted whenever the metrics are read, which is in another thread."""
        self.metrics.tasks.set_function(tasks)

    def read_readers(self, readers: Callable[[], int]) -> None:
        """Have the open readers of runs counted whenever the metrics are read."""
        self.metrics.readers.set_function(readers)

    def read_connections(self, in_use: Callable[[], int], limit: int) -> None:
        """Have the database's connections read whenever the metrics are."""
        self.metrics.connections.set_function(in_use)
        self.metrics.connections_limit.set(limit)

    def read_redis(self, available: Callable[[], bool]) -> None:
        """Have the state of Redis read whenever the metrics are."""
        self.metrics.redis_available.set_function(available)

    def certificate_ends(self, timestamp: float) -> None:
        """Note when the certificate ends, in Unix time."""
        self.metrics.certificate_end.set(timestamp)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format. Blocks: reads the process's figures."""
        return generate_latest(self.metrics.registry)

    @contextmanager
    def call(self, method: str, call_id: str, trace: Mapping[str, str]) -> "Iterator[_Call]":
        """See ``Observer``."""
        in_flight = self.metrics.calls_in_flight.labels(method)
        in_flight.inc()
        try:
            yield _Call(self.metrics, method)
        finally:
            in_flight.dec()

    def unknown_method(self) -> None:
        """See ``Observer``."""
        self.metrics.calls.labels(UNKNOWN, UNIMPLEMENTED).inc()

    @contextmanager
    def run(self, run: Run) -> "Iterator[_Run]":
        """See ``Observer``."""
        self.metrics.runs_started.labels(run.kind.value if run.kind else "stored").inc()
        self.metrics.runs_active.inc()
        try:
            yield _Run(self.metrics)
        finally:
            self.metrics.runs_active.dec()

    def run_taken_over(self) -> None:
        """See ``Observer``."""
        self.metrics.runs_taken_over.inc()

    def run_left(self, *, released: bool) -> None:
        """See ``Observer``."""
        self.metrics.runs_left.labels("released" if released else "lost").inc()

    def model_call(self, model: str, provider: str) -> "_ModelCall":
        """See ``Observer``."""
        return _ModelCall(self.metrics, model, provider)

    def tokens_used(self, model: str, usage: Usage) -> None:
        """See ``Observer``."""
        self.metrics.tokens.labels(model, "input").inc(usage.input_tokens)
        self.metrics.tokens.labels(model, "output").inc(usage.output_tokens)
        if usage.cost_micros is not None:
            self.metrics.cost.labels(model).inc(usage.cost_micros / MICROS)

    def committed(self, runs: int, events: int, seconds: float) -> None:
        """See ``Observer``."""
        self.metrics.commit_seconds.observe(seconds)
        self.metrics.commit_events.observe(events)

    def loop_lagged(self, seconds: float) -> None:
        """See ``Observer``."""
        self.metrics.loop_lag.observe(seconds)


class _Call:
    def __init__(self, metrics: Metrics, method: str) -> None:
        self._metrics = metrics
        self._method = method
        self._began = time.perf_counter()

    def ended(self, code: str, reason: str) -> None:
        self._metrics.calls.labels(self._method, code).inc()
        self._metrics.call_seconds.labels(self._method).observe(time.perf_counter() - self._began)
        if reason:
            self._metrics.refusals.labels(self._method, reason).inc()


class _Run:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._began = time.perf_counter()

    def ended(self, state: str, reason: str, usage: Usage) -> None:
        self._metrics.runs_ended.labels(state, reason).inc()
        self._metrics.run_seconds.labels(state).observe(time.perf_counter() - self._began)


class _ModelCall:
    def __init__(self, metrics: Metrics, model: str, provider: str) -> None:
        self._metrics = metrics
        self._model = model
        self._provider = provider
        self._began = time.perf_counter()

    def answering(self) -> None:
        self._metrics.first_token_seconds.labels(self._model).observe(time.perf_counter() - self._began)

    def ended(self, reason: str) -> None:
        outcome = {"": "answered", CANCELLED: "cancelled"}.get(reason, "failed")
        self._metrics.model_calls.labels(self._model, outcome).inc()
        self._metrics.model_seconds.labels(self._model).observe(time.perf_counter() - self._began)
        if outcome == "failed":
            self._metrics.provider_failures.labels(self._provider, reason).inc()
