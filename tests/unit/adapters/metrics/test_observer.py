"""What is observed is counted, under labels that have few values."""

from datetime import UTC, datetime

import pytest

from chatter_grpc.adapters.metrics.observer import MetricsObserver
from chatter_grpc.core.runs.run import Run, RunState, WorkflowKind
from chatter_grpc.core.usage import Usage

METHOD = "chatter.v1.ChatService/SendMessage"
# Those that may differ from one server to another are its configuration's: models and providers.
LABELS = {"method", "code", "reason", "kind", "state", "model", "outcome", "direction", "provider", "version", "le"}
OF_PYTHON = {"generation"}


@pytest.fixture
def observer() -> MetricsObserver:
    return MetricsObserver("1.2.3")


def value(observer: MetricsObserver, name: str, **labels: str) -> float | None:
    return observer.metrics.registry.get_sample_value(f"chatter_{name}", labels)


def run() -> Run:
    return Run(
        id="run_1",
        owner_id="planted-owner",
        actor_id="planted-actor",
        conversation_id="conv_1",
        kind=WorkflowKind.PLAIN,
        workflow_id=None,
        state=RunState.RUNNING,
        created_at=datetime.now(UTC),
    )


def test_a_call_is_in_flight_until_it_ends(observer: MetricsObserver) -> None:
    with observer.call(METHOD, "call_1", {}) as call:
        assert value(observer, "rpc_in_flight", method=METHOD) == 1
        call.ended("OK", "")
    assert value(observer, "rpc_in_flight", method=METHOD) == 0
    assert value(observer, "rpc_calls_total", method=METHOD, code="OK") == 1
    assert value(observer, "rpc_duration_seconds_count", method=METHOD) == 1


def test_a_call_that_raises_is_no_longer_in_flight(observer: MetricsObserver) -> None:
    with pytest.raises(KeyError), observer.call(METHOD, "call_1", {}):
        raise KeyError
    assert value(observer, "rpc_in_flight", method=METHOD) == 0


def test_a_refusal_is_counted_by_its_reason(observer: MetricsObserver) -> None:
    with observer.call(METHOD, "call_1", {}) as call:
        call.ended("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert value(observer, "rpc_refusals_total", method=METHOD, reason="RATE_LIMITED") == 1


def test_methods_that_are_not_there_are_one(observer: MetricsObserver) -> None:
    observer.unknown_method()
    observer.unknown_method()
    assert value(observer, "rpc_calls_total", method="unknown", code="UNIMPLEMENTED") == 2


def test_a_run_is_active_until_it_ends(observer: MetricsObserver) -> None:
    with observer.run(run()) as observed:
        assert value(observer, "runs_active") == 1
        observed.ended("failed", "RUN_TIMEOUT", Usage())
    assert value(observer, "runs_active") == 0
    assert value(observer, "runs_started_total", kind="plain") == 1
    assert value(observer, "runs_ended_total", state="failed", reason="RUN_TIMEOUT") == 1
    assert value(observer, "run_duration_seconds_count", state="failed") == 1


@pytest.mark.parametrize(
    ("reason", "outcome", "failures"),
    [("", "answered", None), ("CANCELLED", "cancelled", None), ("PROVIDER_TIMEOUT", "failed", 1)],
)
def test_a_call_of_a_model_is_counted_by_how_it_came_out(
    reason: str, outcome: str, failures: float | None, observer: MetricsObserver
) -> None:
    call = observer.model_call("openai/gpt", "openai")
    call.answering()
    call.ended(reason)
    assert value(observer, "model_first_token_seconds_count", model="openai/gpt") == 1
    assert value(observer, "model_duration_seconds_count", model="openai/gpt") == 1
    assert value(observer, "model_calls_total", model="openai/gpt", outcome=outcome) == 1
    assert value(observer, "provider_failures_total", provider="openai", reason=reason) == failures


def test_tokens_and_what_they_cost_are_summed_by_model(observer: MetricsObserver) -> None:
    observer.tokens_used("openai/gpt", Usage(input_tokens=3, output_tokens=5, cost_micros=1_500_000))
    observer.tokens_used("openai/gpt", Usage(input_tokens=1, output_tokens=1, cost_micros=None))
    assert value(observer, "model_tokens_total", model="openai/gpt", direction="input") == 4
    assert value(observer, "model_tokens_total", model="openai/gpt", direction="output") == 6
    assert value(observer, "model_cost_usd_total", model="openai/gpt") == 1.5


def test_commits_and_lateness_are_distributions(observer: MetricsObserver) -> None:
    observer.committed(2, 40, 0.004)
    observer.loop_lagged(0.2)
    assert value(observer, "commit_events_sum") == 40
    assert value(observer, "commit_duration_seconds_bucket", le="0.005") == 1
    assert value(observer, "loop_lag_seconds_bucket", le="0.1") == 0
    assert value(observer, "loop_lag_seconds_bucket", le="0.25") == 1


def test_runs_that_change_hands_are_counted_on_both_sides(observer: MetricsObserver) -> None:
    observer.run_left(released=True)
    observer.run_left(released=False)
    observer.run_left(released=False)
    observer.run_taken_over()
    assert value(observer, "runs_left_total", how="released") == 1
    assert value(observer, "runs_left_total", how="lost") == 2
    assert value(observer, "runs_taken_over_total") == 1


def test_connections_are_read_when_they_are_asked_for(observer: MetricsObserver) -> None:
    in_use = 0
    observer.read_connections(lambda: in_use, 10)
    in_use = 4
    assert value(observer, "database_connections_in_use") == 4
    assert value(observer, "database_connections_limit") == 10


def test_tasks_and_readers_are_counted_when_they_are_asked_for(observer: MetricsObserver) -> None:
    open_now = {"tasks": 0, "readers": 0}
    observer.read_tasks(lambda: open_now["tasks"])
    observer.read_readers(lambda: open_now["readers"])
    open_now |= {"tasks": 7, "readers": 2}
    assert value(observer, "loop_tasks") == 7
    assert value(observer, "run_readers") == 2


def test_two_servers_in_one_process_count_apart(observer: MetricsObserver) -> None:
    other = MetricsObserver("1.2.3")
    other.unknown_method()
    assert value(observer, "rpc_calls_total", method="unknown", code="UNIMPLEMENTED") is None


def test_no_label_names_a_user(observer: MetricsObserver) -> None:
    with observer.run(run()) as observed:
        observed.ended("completed", "", Usage())
    with observer.call(METHOD, "planted-call", {"traceparent": "planted-trace"}) as call:
        call.ended("OK", "")
    labels = {
        label for metric in observer.metrics.registry.collect() for each in metric.samples for label in each.labels
    }
    assert labels - LABELS <= OF_PYTHON
    assert b"planted" not in observer.exposition()
    assert b"chatter_build_info" in observer.exposition()


def test_the_state_of_redis_is_read_whenever_the_metrics_are(observer: MetricsObserver) -> None:
    assert value(observer, "redis_available") == 0
    answers = [True, False]
    observer.read_redis(lambda: answers.pop(0))
    assert [value(observer, "redis_available") for _ in range(2)] == [1, 0]
