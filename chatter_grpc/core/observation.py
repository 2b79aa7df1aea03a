"""What can be observed of a server at work: the port by which calls, runs, model calls and commits are told.

Nothing that is told names a user, and nothing is told for each token.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from chatter_grpc.core.runs.run import Run
from chatter_grpc.core.usage import Usage


class CallObservation(Protocol):
    """One RPC that is being served."""

    def ended(self, code: str, reason: str) -> None:
        """Hear how it ended: the name of the status code, and the error's reason, empty where there is none."""
        ...


class RunObservation(Protocol):
    """One attempt at a run that is at work."""

    def ended(self, state: str, reason: str, usage: Usage) -> None:
        """Hear how it ended; told at most once, and not where the attempt lost its run to another."""
        ...


class ModelObservation(Protocol):
    """One call of a model."""

    def answering(self) -> None:
        """Hear that the first piece of the answer is there; told at most once."""
        ...

    def ended(self, reason: str) -> None:
        """Hear that it ended: with the reason of its failure, ``CANCELLED``, or empty where it answered."""
        ...


class Observer(Protocol):
    """Hears of everything. It is called in the event loop: it neither waits nor raises."""

    def call(self, method: str, call_id: str, trace: Mapping[str, str]) -> AbstractContextManager[CallObservation]:
        """Observe an RPC while the block lasts; ``trace`` has the caller's ``traceparent``, if it sent one."""
        ...

    def unknown_method(self) -> None:
        """Hear of a call of a method that is not there."""
        ...

    def run(self, run: Run) -> AbstractContextManager[RunObservation]:
        """Observe an attempt at a run while the block lasts."""
        ...

    def run_taken_over(self) -> None:
        """Hear that a run was taken over from another attempt, to be gone on with or ended."""
        ...

    def run_left(self, *, released: bool) -> None:
        """Hear that an attempt left its run to another: it gave it back, or lost it."""
        ...

    def model_call(self, model: str, provider: str) -> ModelObservation:
        """Observe a call of a model, by its full name."""
        ...

    def tokens_used(self, model: str, usage: Usage) -> None:
        """Hear what a call of a model took; told once for each call."""
        ...

    def committed(self, runs: int, events: int, seconds: float) -> None:
        """Hear that a group of events was committed, of so many runs, and how long that took."""
        ...

    def loop_lagged(self, seconds: float) -> None:
        """Hear how late the event loop was."""
        ...


class Unobserved:
    """Hears of everything and does nothing; what an observer leaves out, it takes from here."""

    @contextmanager
    def call(self, method: str, call_id: str, trace: Mapping[str, str]) -> Iterator[CallObservation]:
        """See ``Observer``."""
        yield _NOTHING

    def unknown_method(self) -> None:
        """See ``Observer``."""

    @contextmanager
    def run(self, run: Run) -> Iterator[RunObservation]:
        """See ``Observer``."""
        yield _NOTHING_OF_RUNS

    def run_taken_over(self) -> None:
        """See ``Observer``."""

    def run_left(self, *, released: bool) -> None:
        """See ``Observer``."""

    def model_call(self, model: str, provider: str) -> ModelObservation:
        """See ``Observer``."""
        return _NOTHING_OF_MODELS

    def tokens_used(self, model: str, usage: Usage) -> None:
        """See ``Observer``."""

    def committed(self, runs: int, events: int, seconds: float) -> None:
        """See ``Observer``."""

    def loop_lagged(self, seconds: float) -> None:
        """See ``Observer``."""


class Observers:
    """Several observers that look like one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    @contextmanager
    def call(self, method: str, call_id: str, trace: Mapping[str, str]) -> Iterator[CallObservation]:
        """See ``Observer``."""
        with ExitStack() as stack:
            yield _Calls([stack.enter_context(each.call(method, call_id, trace)) for each in self._observers])

    def unknown_method(self) -> None:
        """See ``Observer``."""
        for each in self._observers:
            each.unknown_method()

    @contextmanager
    def run(self, run: Run) -> Iterator[RunObservation]:
        """See ``Observer``."""
        with ExitStack() as stack:
            yield _Runs([stack.enter_context(each.run(run)) for each in self._observers])

    def run_taken_over(self) -> None:
        """See ``Observer``."""
        for each in self._observers:
            each.run_taken_over()

    def run_left(self, *, released: bool) -> None:
        """See ``Observer``."""
        for each in self._observers:
            each.run_left(released=released)

    def model_call(self, model: str, provider: str) -> ModelObservation:
        """See ``Observer``."""
        return _ModelCalls([each.model_call(model, provider) for each in self._observers])

    def tokens_used(self, model: str, usage: Usage) -> None:
        """See ``Observer``."""
        for each in self._observers:
            each.tokens_used(model, usage)

    def committed(self, runs: int, events: int, seconds: float) -> None:
        """See ``Observer``."""
        for each in self._observers:
            each.committed(runs, events, seconds)

    def loop_lagged(self, seconds: float) -> None:
        """See ``Observer``."""
        for each in self._observers:
            each.loop_lagged(seconds)


class _Calls:
    def __init__(self, observations: Sequence[CallObservation]) -> None:
        self._observations = observations

    def ended(self, code: str, reason: str) -> None:
        for each in self._observations:
            each.ended(code, reason)


class _Runs:
    def __init__(self, observations: Sequence[RunObservation]) -> None:
        self._observations = observations

    def ended(self, state: str, reason: str, usage: Usage) -> None:
        for each in self._observations:
            each.ended(state, reason, usage)


class _ModelCalls:
    def __init__(self, observations: Sequence[ModelObservation]) -> None:
        self._observations = observations

    def answering(self) -> None:
        for each in self._observations:
            each.answering()

    def ended(self, reason: str) -> None:
        for each in self._observations:
            each.ended(reason)


_NOTHING = _Calls(())
_NOTHING_OF_RUNS = _Runs(())
_NOTHING_OF_MODELS = _ModelCalls(())
UNOBSERVED = Unobserved()
