"""Kinds of values that settings have."""

from typing import Annotated

from pydantic import Field

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
