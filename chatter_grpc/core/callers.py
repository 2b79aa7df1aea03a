"""Who calls: the actor whose credentials came, the owner of what it reaches, and the scopes it holds."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from chatter_grpc.core.errors import ScopeMissing

MAX_SUBJECT_LENGTH: Final = 200


class Scope(StrEnum):
    """What credentials allow; the names stand in the contract's policies."""

    CHAT_READ = "chat:read"
    CHAT_WRITE = "chat:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    ACT_AS = "act_as"


# What a login session holds. `act_as` is given to the API keys of service accounts alone.
SESSION_SCOPES: Final = frozenset(Scope) - {Scope.ACT_AS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The one who calls.

    ``actor_id`` is the account of the credentials. ``owner_id`` owns what the call makes and reaches: the account
    itself, or the subject that a service names. Exactly one of ``session_id`` and ``api_key_id`` is set.
    """

    actor_id: str
    owner_id: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    subject: str = ""
    session_id: str | None = None
    api_key_id: str | None = None

    def require(self, scope: str) -> None:
        """Raise ``ScopeMissing`` unless the caller holds ``scope``."""
        if scope not in self.scopes:
            raise ScopeMissing(scope=scope)
