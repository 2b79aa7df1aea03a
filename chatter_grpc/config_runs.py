"""The settings of runs: how many there may be, how long they may take, and who is at work on them."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from chatter_grpc.config_types import Count, Seconds


class SettingsOfRuns(BaseSettings):
    """Bounds and times of runs."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    run_seconds: Seconds = 300.0
    """How long a run may take, all its attempts together."""

    run_tokens: Annotated[int, Field(ge=0, le=1_000_000_000_000)] = 0
    """Tokens that a run may take, those that are read and those that are written together, whatever its own budget
    says. 0: any number."""

    run_cost_micros: Annotated[int, Field(ge=0, le=1_000_000_000_000)] = 0
    """What a run may cost, in millionths of a US dollar, whatever its own budget says. 0: any amount. With a limit,
    models have to have a price (`CHATTER_MODELS_FILE`): one without is refused with BUDGET_UNPRICED, and passed over
    where it is the fallback of another. The built-in model costs nothing."""

    max_answer_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 2 * 1024 * 1024
    """How long one answer may become, its reasoning included; it is cut off there, and its finish reason is length.
    Stock clients take messages of up to 4 MiB."""

    runs_per_owner: Count = 10
    """Runs of one owner that are at work at a time, on all servers. More are refused; detached ones wait."""

    pending_runs_per_owner: Count = 1_000
    """Detached runs of one owner that may wait at a time; more are refused."""

    detached_runs: Annotated[int, Field(ge=0, le=1_000_000)] = 16
    """Detached runs that one process works on at a time. 0: none; it leaves them to others."""

    lease_seconds: Annotated[float, Field(ge=1, le=3_600)] = 30.0
    """How long a run counts as at work without a sign of life of its process; it is renewed three times as often. Then
    another process takes it over."""

    reaper_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 15.0
    """How often a process looks for runs of processes that are gone. What a server that stops gives back is taken at
    once."""

    cancel_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """How long CancelRun leaves the end of a run to the process that is at work on it, before it ends it itself."""

    commit_milliseconds: Annotated[int, Field(ge=1, le=1_000)] = 50
    """The time between two commits of run events to the database."""
