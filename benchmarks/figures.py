"""The few statistics that the benchmarks report."""

from collections.abc import Sequence


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99, each the smallest value that at least that share of all values does not exceed."""
    ordered = sorted(values)
    return pick_percentile(ordered, 50), pick_percentile(ordered, 99)


def pick_percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of sorted values. Raises ValueError where there are none."""
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]
