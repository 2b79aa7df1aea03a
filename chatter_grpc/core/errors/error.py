"""The root of the domain's errors, and how a class becomes its reason and its message."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field that breaks a rule: its path as in ``parts[0].text.text``, and what is wrong with it."""

    field: str
    description: str


class ChatterError(Exception):
    """The root of all errors that a caller may see; never raised itself.

    ``metadata`` are the facts as strings, for the caller's program. ``retry_after`` is in seconds.
    """

    def __init__(self, *, retry_after: float | None = None, **metadata: str) -> None:
        self.metadata = metadata
        self.retry_after = retry_after
        super().__init__(self.message)

    @property
    def reason(self) -> str:
        """The name of the reason in the contract's catalogue, without its prefix."""
        return reason_of(type(self))

    @property
    def message(self) -> str:
        """One sentence for a person, which says what to do next where there is something to do."""
        return " ".join((self.__doc__ or "").split())


def reason_of(error: type[ChatterError]) -> str:
    """Return the reason that belongs to an error class: ``RunNotFound`` is ``RUN_NOT_FOUND``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).upper()
