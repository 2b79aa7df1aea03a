"""What the load process is asked to do, and what it answers."""

from dataclasses import dataclass

from benchmarks.answers import AnswerPlan
from benchmarks.load.calls import CallSpec
from benchmarks.load.folding import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server to load."""

    port: int
    """On 127.0.0.1."""
    watch: tuple[tuple[str, int], ...]
    """Names and process ids of those whose CPU time is taken around the load, such as server and provider."""
    connections: int = 1
    http: bool = False
    """Whether it is called over HTTP/1.1, each call on a connection of its own, and not by gRPC."""
    deadline: float = 300.0
    """Seconds after which the load gives up, with TimeoutError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamJob:
    """Streams that are read to their ends."""

    target: Target
    calls: tuple[CallSpec, ...]
    wire: Wire
    plan: AnswerPlan
    spread: float = 0.0
    """Seconds from the first start to the last, evenly; 0 is all at once."""
    skipped: float = 0.0
    """Seconds after a stream's start whose tokens' lateness does not count: those that it came too late for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryJob:
    """One call, made again and again."""

    target: Target
    call: CallSpec
    count: int
    concurrency: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a window took."""

    wall: float
    """Seconds."""
    cpu: dict[str, float]
    """CPU seconds by process: those that were watched, and `load`, the load client itself."""

    def share(self, process: str) -> float:
        """CPU seconds per second of the window: 1 is one core."""
        return self.cpu[process] / self.wall


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """Streams that were all complete."""

    effort: Effort
    streams: int
    tokens: int
    messages: int
    wire_bytes: int
    first_token_ms: tuple[float, float]
    """p50 and p99 from the call to its first token."""
    late_ms: tuple[float, float] | None
    """p50 and p99 of all tokens' lateness behind the provider's schedule; None for a flat answer, which has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryReport:
    """Calls that all ended with OK."""

    effort: Effort
    calls: int
    latency_us: tuple[float, float]
    """p50 and p99."""
