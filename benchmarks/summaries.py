"""What each benchmark on streams comes to: the figures that last, and a table."""

from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.answers import AnswerPlan
from benchmarks.holding import Trial
from benchmarks.report import Finding, combine
from benchmarks.sides import AFTERNOON, BARE, OURS
from benchmarks.streaming import (
    Outcome,
    Shape,
    count_cpu_us,
    describe_figures,
    first_p50,
    late_p99,
    make_table,
)

Outcomes = dict[str, Outcome]


def summarize_flat(plan: AnswerPlan, shape: Shape, outcomes: Outcomes) -> Finding:
    """CPU per token where the provider sends as fast as it can."""
    return conclude("flat", plan, shape, outcomes, {"flat_ratio": compare_cpu(outcomes, OURS, AFTERNOON)})


def summarize_paced(plan: AnswerPlan, shape: Shape, outcomes: Outcomes) -> Finding:
    """CPU per token at the pace at which people read, and how late the tokens are."""
    late = combine(outcomes[OURS].values(late_p99), outcomes[BARE].values(late_p99), lambda ours, bare: ours - bare)
    ratios = {"paced_ratio": compare_cpu(outcomes, OURS, AFTERNOON), "late_p99_over_bare_ms": late}
    return conclude("paced", plan, shape, outcomes, ratios)


def summarize_first(plan: AnswerPlan, shape: Shape, outcomes: Outcomes) -> Finding:
    """How much later than from a bare server one stream's first token comes."""
    ours, bare = outcomes[OURS].values(first_p50), outcomes[BARE].values(first_p50)
    later = combine(ours, bare, lambda a, b: a - b)
    return conclude("first", plan, shape, outcomes, {"first_token_over_bare_ms": later})


def summarize_burst(plan: AnswerPlan, shape: Shape, outcomes: Outcomes) -> Finding:
    """How much later than from a bare server the first tokens of a burst come, over how much later theirs come."""
    bare = outcomes[BARE].values(first_p50)
    ours, theirs = (subtract(outcomes[side].values(first_p50), bare) for side in (OURS, AFTERNOON))
    return conclude("burst", plan, shape, outcomes, {"burst_ratio": combine(ours, theirs, lambda a, b: a / b)})


def summarize_log(name: str, plan: AnswerPlan, shape: Shape, outcomes: Outcomes) -> Finding:
    """CPU of the server process with the durable log over without."""
    key = "log_ratio" if name == "log" else "log_ratio_postgres"
    return conclude(name, plan, shape, outcomes, {key: compare_cpu(outcomes, "log on", "log off")})


def summarize_replica(plan: AnswerPlan, shape: Shape, outcomes: Outcomes) -> Finding:
    """How far behind the provider's schedule a reader is on a server that is not at work on its run."""
    late = [late_p99(report) for outcome in outcomes.values() for report in outcome.complete]
    ratios = {"replica_p99_ms": median(late)} if late else {}
    return conclude("replica", plan, shape, outcomes, ratios)


def summarize_held(plan: AnswerPlan, found: dict[str, list[int]], trials: dict[str, list[Trial]]) -> Finding:
    """How many more streams ours holds."""
    ratio = combine([float(n) for n in found[OURS]], [float(n) for n in found[AFTERNOON]], lambda a, b: a / max(b, 1))
    table = Table("side", "held", "streams tried", "held", "", "cores", title=f"Streams of {plan.model} that are held")
    for side, each in trials.items():
        table.add_row(side, " ".join(map(str, found[side])), "", "", "", "")
        for trial in sorted(each, key=lambda trial: trial.streams):
            cores = ", ".join(f"{process} {share:.2f}" for process, share in trial.cores.items())
            table.add_row("", "", str(trial.streams), "yes" if trial.held else "no", trial.why, cores)
    figures: dict[str, Any] = {
        "model": plan.model,
        "held": found,
        "trials": {
            side: [
                {"streams": trial.streams, "held": trial.held, "why": trial.why, "cores": trial.cores} for trial in each
            ]
            for side, each in trials.items()
        },
    }
    ratios = {"held_ratio": ratio}
    return Finding(name="held", file="streaming", table=table, ratios=ratios, figures=figures, bars=())


def conclude(name: str, plan: AnswerPlan, shape: Shape, outcomes: Outcomes, ratios: dict[str, float]) -> Finding:
    """The finding, its bars left to whoever knows them."""
    title = f"{name}: {shape.streams} streams of {plan.model}"
    figures = describe_figures(plan, shape, outcomes)
    table = make_table(title, outcomes)
    return Finding(name=name, file="streaming", table=table, ratios=ratios, figures=figures, bars=())


def compare_cpu(outcomes: Outcomes, ours: str, theirs: str) -> float:
    """CPU per token of one side over another's, as the median over the repetitions."""
    return combine(outcomes[ours].values(count_cpu_us), outcomes[theirs].values(count_cpu_us), lambda a, b: a / b)


def subtract(values: list[float | None], others: list[float | None]) -> list[float | None]:
    """The differences, where both are known."""
    return [None if a is None or b is None else a - b for a, b in zip(values, others, strict=True)]
