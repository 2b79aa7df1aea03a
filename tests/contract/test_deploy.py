"""What is there to deploy with names only settings, metrics, labels and ports that exist."""

import json
import re
from typing import Any

from chatter_grpc.adapters.metrics.registry import make_metrics
from chatter_grpc.config import PREFIX, Settings
from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
SUFFIXES = ("", "_total", "_bucket", "_sum", "_count")
NAME = re.compile(r"\b(?:chatter|process|python)_[a-z_]+\b")
# Of Prometheus itself, which adds it to whatever it scrapes.
OF_PROMETHEUS = {"instance", "le"}


def expressions() -> list[str]:
    dashboard: dict[str, Any] = json.loads((DEPLOY / "grafana" / "chatter.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def metrics() -> dict[str, set[str]]:
    """Every name that can be asked for, with its labels."""
    made = make_metrics()
    labels = {each: set(getattr(made, each)._labelnames) for each in made.__slots__ if each != "registry"}
    by_name = {getattr(made, each)._name: labels[each] for each in labels}
    of_others = {metric.name: set[str]() for metric in made.registry.collect() if metric.name not in by_name}
    return {f"{name}{suffix}": found for name, found in {**by_name, **of_others}.items() for suffix in SUFFIXES}


def test_the_dashboard_asks_for_metrics_and_labels_that_exist() -> None:
    known = metrics()
    assert len(expressions()) >= 15
    for expression in expressions():
        names = set(NAME.findall(expression))
        assert names, expression
        assert names <= known.keys(), expression
        used = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        used |= set(re.findall(r"([a-z_]+)[!=]~?=?\"", expression))
        assert used - OF_PROMETHEUS <= set[str]().union(*(known[name] for name in names)), expression


def test_a_metric_that_is_not_there_would_be_found() -> None:
    assert "chatter_rpc_calls_total" in metrics()
    assert "chatter_rpc_call_total" not in metrics()


def test_every_metric_of_chatter_is_on_the_dashboard_or_is_named_here() -> None:
    shown = set(NAME.findall(" ".join(expressions())))
    made = {
        name.removesuffix("_total") for name in metrics() if name.startswith("chatter_") and name.endswith("_total")
    }
    missing = {name for name in made if not {f"{name}{suffix}" for suffix in SUFFIXES} & shown}
    assert missing == {
        "chatter_runs_started",
        "chatter_run_duration_seconds",
        "chatter_model_calls",
        "chatter_model_duration_seconds",
        "chatter_redis_available",
        "chatter_loop_tasks",
    }


def test_the_settings_of_the_samples_exist() -> None:
    named = set(re.findall(r"\bCHATTER_[A-Z_]+\b", COMPOSE + (DEPLOY / "prometheus.yaml").read_text()))
    assert named
    assert named <= SETTINGS


def test_prometheus_asks_where_the_metrics_are() -> None:
    listen = re.search(r"CHATTER_METRICS_LISTEN: 0\.0\.0\.0:(\d+)", COMPOSE)
    assert listen is not None
    assert f"port: {listen[1]}\n" in (DEPLOY / "prometheus.yaml").read_text()


def test_the_image_of_the_samples_is_told_that_a_proxy_encrypts() -> None:
    assert 'CHATTER_INSECURE: "true"' in COMPOSE
    assert 'ports: ["127.0.0.1:' in COMPOSE
