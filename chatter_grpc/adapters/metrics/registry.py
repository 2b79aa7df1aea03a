"""Every metric of a server: names, meanings, labels and buckets.

Labels have few values, all of this server's making: methods, codes, reasons, states, and the models and providers that
are configured. No label names a user or anything of one.
"""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CALLS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ANSWERS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
PASSES: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
SIZES: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of one server, in a registry of its own."""

    registry: CollectorRegistry
    build: Gauge
    calls: Counter
    call_seconds: Histogram
    calls_in_flight: Gauge
    refusals: Counter
    runs_started: Counter
    runs_ended: Counter
    runs_taken_over: Counter
    runs_left: Counter
    run_seconds: Histogram
    runs_active: Gauge
    model_calls: Counter
    first_token_seconds: Histogram
    model_seconds: Histogram
    tokens: Counter
    cost: Counter
    provider_failures: Counter
    commit_seconds: Histogram
    commit_events: Histogram
    loop_lag: Histogram
    tasks: Gauge
    readers: Gauge
    connections: Gauge
    connections_limit: Gauge
    redis_available: Gauge
    certificate_end: Gauge
    housekeeping_rows: Counter
    housekeeping_log_bytes: Counter
    housekeeping_seconds: Histogram
    housekeeping_completed: Gauge
    database_bytes: Gauge
    table_rows: Gauge
    table_bytes: Gauge

    def described(self) -> list[Metric]:
        """Return every metric with its name, kind and meaning, without its values, in the order of their names."""
        found = {metric.name: metric for metric in self.registry.collect()}
        return [found[name] for name in sorted(found)]


def make_metrics() -> Metrics:
    """Make the metrics, all at zero, beside those of the process and of Python's garbage collector."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)

    def counter(name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"chatter_{name}", meaning, labels, registry=registry)

    def gauge(name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"chatter_{name}", meaning, labels, registry=registry)

    def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"chatter_{name}", meaning, labels, buckets=buckets, registry=registry)

    return Metrics(
        registry,
        gauge("build_info", "Always 1; the label is what runs.", "version"),
        counter("rpc_calls", "Calls that have ended, by the status they ended with.", "method", "code"),
        histogram("rpc_duration_seconds", "From a call's arrival to its end.", CALLS, "method"),
        gauge("rpc_in_flight", "Calls that are open; those of streaming methods are streams.", "method"),
        counter("rpc_refusals", "Calls that ended with an error, by its reason in the catalogue.", "method", "reason"),
        counter("runs_started", "Attempts at runs that began in this process.", "kind"),
        counter("runs_ended", "Attempts that ended their run here; `reason` is why one failed.", "state", "reason"),
        counter("runs_taken_over", "Runs that this process took over from another attempt, to go on with or to end."),
        counter("runs_left", "Attempts that left their run to another; `how` is released or lost.", "how"),
        histogram("run_duration_seconds", "From an attempt's beginning to its run's end.", ANSWERS, "state"),
        gauge("runs_active", "Runs that are at work in this process."),
        counter("model_calls", "Calls of models; `outcome` is answered, cancelled or failed.", "model", "outcome"),
        histogram("model_first_token_seconds", "From a model's call to its answer's first piece.", ANSWERS, "model"),
        histogram("model_duration_seconds", "From a model's call to the end of its answer.", ANSWERS, "model"),
        counter("model_tokens", "Tokens that models took, `input`, and gave, `output`.", "model", "direction"),
        counter("model_cost_usd", "What models cost in US dollars, where their price is known.", "model"),
        counter("provider_failures", "Calls of models that failed, by the error's reason.", "provider", "reason"),
        histogram("commit_duration_seconds", "How long a group of run events took to be committed.", FAST),
        histogram("commit_events", "Run events that were committed together.", SIZES),
        histogram("loop_lag_seconds", "How late the event loop came to what was due.", FAST),
        gauge("loop_tasks", "Tasks of the event loop; a process that has nothing to do always has as many."),
        gauge("run_readers", "Readers of runs that are open in this process: streams, and calls that wait for events."),
        gauge("database_connections_in_use", "Connections to the database that are in use."),
        gauge("database_connections_limit", "Connections that the process holds at most (CHATTER_DATABASE_POOL_SIZE)."),
        gauge("redis_available", "1 while Redis answers; 0 while it does not, or where none is configured."),
        gauge("certificate_end_timestamp_seconds", "When the TLS certificate ends, in Unix time; 0 without one."),
        counter("housekeeping_removed_rows", "Rows that housekeeping removed in this process.", "table"),
        counter("housekeeping_log_bytes", "Bytes by which this process made the logs of ended runs smaller."),
        histogram("housekeeping_duration_seconds", "How long passes of housekeeping took in this process.", PASSES),
        gauge("housekeeping_completed_timestamp_seconds", "When any process last kept house, in Unix time; 0: never."),
        gauge("database_bytes", "Size of the database, its indexes and what is free in it included."),
        gauge("table_rows", "About how many rows the large tables have.", "table"),
        gauge("table_bytes", "Size of the large tables with their indexes; on SQLite of the log, about.", "table"),
    )
