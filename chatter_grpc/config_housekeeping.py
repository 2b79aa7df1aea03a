"""The settings of housekeeping: how often, and what is kept for how long."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsOfHousekeeping(BaseSettings):
    """Times of what has had its time."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    housekeeping_seconds: Annotated[float, Field(ge=0, le=7 * 24 * 3600)] = 3_600.0
    """How often what has had its time is removed; one process does it for all. 0: this one never begins."""

    compact_after_hours: Annotated[float, Field(ge=0, le=365 * 24)] = 24.0
    """How long after a run's end its log stays as it was written. Then it is compacted to what amounts to the same, and
    its checkpoints go."""

    audit_days: Annotated[int, Field(ge=0, le=36_500)] = 365
    """How long the rows of the audit log are kept. 0: for good."""
