"""Who calls: the actor whose credentials came, the owner of what it reaches, and the scopes it holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from chatter_grpc.core.errors import ScopeMissing
from chatter_grpc.core.users import UserRole

MAX_SUBJECT_LENGTH: Final = 200


class Scope(StrEnum):
    """What credentials allow; the names stand in the contract's policies."""

    CHAT_READ = "chat:read"
    CHAT_WRITE = "chat:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    ACCOUNT_READ = "account:read"
    ACCOUNT_WRITE = "account:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    ACT_AS = "act_as"


# What concerns everybody. None of these opens what others own.
ADMIN_SCOPES: Final = frozenset({Scope.USERS_READ, Scope.USERS_WRITE})
# What a member's login session holds.
SESSION_SCOPES: Final = frozenset(Scope) - ADMIN_SCOPES - {Scope.ACT_AS}
# What the credentials of an account may hold at most. `act_as` is for the API keys of service accounts alone.
SCOPES_OF: Final[Mapping[UserRole, frozenset[Scope]]] = {
    UserRole.MEMBER: SESSION_SCOPES,
    UserRole.SERVICE: SESSION_SCOPES | {Scope.ACT_AS},
    UserRole.ADMIN: SESSION_SCOPES | ADMIN_SCOPES,
}


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
