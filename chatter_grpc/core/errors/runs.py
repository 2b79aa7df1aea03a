"""Errors of runs."""

from chatter_grpc.core.errors.error import ChatterError


class RunNotFound(ChatterError):
    """There is no such run."""

    def __init__(self, *, run_id: str) -> None:
        super().__init__(run_id=run_id)


class TooManyRuns(ChatterError):
    """As many runs are at work for this owner as may be at once; wait for one to end, or use CreateRun."""

    def __init__(self, *, limit: int, retry_after: float = 1.0) -> None:
        super().__init__(retry_after=retry_after, limit=str(limit))


class TooManyPendingRuns(ChatterError):
    """As many runs wait for this owner as may at once; wait for some to begin, or cancel some."""

    def __init__(self, *, limit: int, retry_after: float = 10.0) -> None:
        super().__init__(retry_after=retry_after, limit=str(limit))


class RunAlreadyFinished(ChatterError):
    """The run ended by itself before it could be cancelled."""

    def __init__(self, *, run_id: str, state: str) -> None:
        super().__init__(run_id=run_id, state=state)


class RunTimeout(ChatterError):
    """The run took longer than runs may take."""

    def __init__(self, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=f"{limit_seconds:g}")


class RunInterrupted(ChatterError):
    """The servers that did the work went away, time after time; start the run again under another request id."""

    def __init__(self, *, run_id: str) -> None:
        super().__init__(run_id=run_id)


class BudgetExceeded(ChatterError):
    """The run's budget leaves too little for this call of a model; give the run a larger one, or ask for less."""

    def __init__(self, *, bound: str, limit: int, left: int, needed: int) -> None:
        super().__init__(bound=bound, limit=str(limit), left=str(max(left, 0)), needed=str(needed))


class BudgetUnpriced(ChatterError):
    """The price of this model is not known, so that money cannot bound what it takes; choose another model."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)
