"""Removes rows that hang on nothing and that nothing hangs on, and credentials, some at a time."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Delete, Select, bindparam, delete, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute

from chatter_grpc.adapters.sql.audit import AuditRow
from chatter_grpc.adapters.sql.claims import OwnerTurnRow
from chatter_grpc.adapters.sql.columns import Among
from chatter_grpc.adapters.sql.message_counts import MessageCountRow
from chatter_grpc.adapters.sql.requests import RequestRow
from chatter_grpc.adapters.sql.revocations import RevocationRow
from chatter_grpc.adapters.sql.sessions import RefreshTokenRow, SessionRow
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.housekeeping.duties import Cutoffs, Duty


class _Sweep(NamedTuple):
    """Which rows of a table go, by the moment ``cutoff``; ``find`` returns up to ``most`` keys, the oldest first."""

    table: str
    find: Select[Any]
    remove: Delete


def _sweep(since: InstrumentedAttribute[Any], *keys: InstrumentedAttribute[Any], inclusive: bool = True) -> _Sweep:
    cutoff: BindParameter[Any] = bindparam("cutoff")
    over: ColumnElement[bool] = since <= cutoff if inclusive else since < cutoff
    find: Select[Any] = select(*keys).where(over).order_by(since).limit(bindparam("most"))
    key = tuple_(*keys) if len(keys) > 1 else keys[0]
    # Asked once more on the row itself: one that was found may have been renewed in between.
    return _Sweep(since.table.name, find, delete(since.table).where(key.in_(find), over))


_SWEEPS: Final[Mapping[Duty, _Sweep]] = {
    Duty.REQUESTS: _sweep(RequestRow.expires_at, RequestRow.owner_id, RequestRow.method, RequestRow.request_id),
    Duty.REVOCATIONS: _sweep(RevocationRow.at, RevocationRow.id),
    Duty.AUDIT: _sweep(AuditRow.at, AuditRow.id),
    Duty.MESSAGE_COUNTS: _sweep(MessageCountRow.day, MessageCountRow.user_id, MessageCountRow.day, inclusive=False),
    Duty.OWNER_TURNS: _sweep(OwnerTurnRow.claimed_at, OwnerTurnRow.owner_id),
}


def _over(since: InstrumentedAttribute[Any], key: InstrumentedAttribute[str]) -> Select[Any]:
    return select(key).where(since <= bindparam("cutoff")).order_by(since).limit(bindparam("most"))


_OLD_TOKENS: Final = _over(RefreshTokenRow.expires_at, RefreshTokenRow.id)
_FORGET_SUCCESSOR: Final = (
    update(RefreshTokenRow.table()).where(Among(RefreshTokenRow.successor_id, "ids")).values(successor_id=None)
)
_DELETE_TOKENS: Final = delete(RefreshTokenRow.table()).where(Among(RefreshTokenRow.id, "ids"))
_OLD_SESSIONS: Final = (
    _over(SessionRow.expires_at, SessionRow.id),
    _over(SessionRow.revoked_at, SessionRow.id),
)
_DELETE_TOKENS_OF: Final = delete(RefreshTokenRow.table()).where(Among(RefreshTokenRow.session_id, "ids"))
_DELETE_SESSIONS: Final = delete(SessionRow.table()).where(Among(SessionRow.id, "ids"))


def cutoff_of(duty: Duty, cutoffs: Cutoffs) -> datetime | str | None:
    """Return up to when such rows go, ``None`` where they stay."""
    return {
        Duty.REQUESTS: cutoffs.now,
        Duty.REVOCATIONS: cutoffs.credentials,
        Duty.REFRESH_TOKENS: cutoffs.credentials,
        Duty.SESSIONS: cutoffs.credentials,
        Duty.AUDIT: cutoffs.audit,
        Duty.MESSAGE_COUNTS: cutoffs.day,
        Duty.OWNER_TURNS: cutoffs.turns,
    }[duty]


async def any_to_sweep(statements: Statements, duty: Duty, cutoffs: Cutoffs) -> bool:
    """Whether there is anything of a kind to remove."""
    values = {"cutoff": cutoff_of(duty, cutoffs), "most": 1}
    if values["cutoff"] is None:
        return False
    finds = {Duty.REFRESH_TOKENS: (_OLD_TOKENS,), Duty.SESSIONS: _OLD_SESSIONS}.get(duty)
    for find in finds or (_SWEEPS[duty].find,):
        if await statements.rows(find, values):
            return True
    return False


async def sweep(statements: Statements, duty: Duty, cutoffs: Cutoffs, limit: int) -> Counter[str]:
    """Remove up to ``limit`` rows of a kind; of sessions, all tokens of these with them."""
    values = {"cutoff": cutoff_of(duty, cutoffs), "most": limit}
    if values["cutoff"] is None:
        return Counter()
    match duty:
        case Duty.REFRESH_TOKENS:
            return await _sweep_tokens(statements, values)
        case Duty.SESSIONS:
            return await _sweep_sessions(statements, values)
        case _:
            swept = _SWEEPS[duty]
            return Counter({swept.table: await statements.count(swept.remove, values)})


async def _sweep_tokens(statements: Statements, values: dict[str, Any]) -> Counter[str]:
    doomed = {"ids": [row.id for row in await statements.rows(_OLD_TOKENS, values)]}
    # Where a token holds longer than its successor, it names what is gone, and would be refused anyway.
    await statements.run(_FORGET_SUCCESSOR, doomed)
    return Counter({RefreshTokenRow.__tablename__: await statements.count(_DELETE_TOKENS, doomed)})


async def _sweep_sessions(statements: Statements, values: dict[str, Any]) -> Counter[str]:
    doomed = {"ids": [row.id for find in _OLD_SESSIONS for row in await statements.rows(find, values)]}
    return Counter(
        {
            RefreshTokenRow.__tablename__: await statements.count(_DELETE_TOKENS_OF, doomed),
            SessionRow.__tablename__: await statements.count(_DELETE_SESSIONS, doomed),
        }
    )
