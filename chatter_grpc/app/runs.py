"""Builds what carries runs."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from chatter_grpc.adapters.langgraph.engine import LangGraphEngine
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.app.housekeeping import build_housekeeper, build_scheduler
from chatter_grpc.config import Settings
from chatter_grpc.core.asking import Asking
from chatter_grpc.core.budgets import Budget
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.graphs import BUILT_IN, GraphDefinition
from chatter_grpc.core.housekeeping.observation import HousekeepingObserver
from chatter_grpc.core.housekeeping.schedule import HousekeepingScheduler
from chatter_grpc.core.ids import new_id
from chatter_grpc.core.observation import Observer
from chatter_grpc.core.quotas import MessageQuota
from chatter_grpc.core.runs.claimer import Claimer
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.executor import ExecutorByKind
from chatter_grpc.core.runs.reader import Readers
from chatter_grpc.core.runs.reaper import Reaper
from chatter_grpc.core.runs.run import LogCommitter, WorkflowKind
from chatter_grpc.core.runs.saving import Checkpointing
from chatter_grpc.core.runs.supervisor import RunSettings, Supervisor
from chatter_grpc.core.runs.wakeups import WakeUps
from chatter_grpc.core.starting import RunLimits

LEASE_RENEWALS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """What carries runs."""

    supervisor: Supervisor
    readers: Readers
    reaper: Reaper
    claimer: Claimer
    housekeeping: HousekeepingScheduler
    wakeups: WakeUps
    committer: GroupCommitter


def build_runs(
    storage: SqlStorage,
    log: LogCommitter,
    asking: Asking,
    wakeups: WakeUps,
    settings: Settings,
    observer: Observer,
    graphs: Mapping[WorkflowKind, GraphDefinition] = BUILT_IN,
    watcher: HousekeepingObserver | None = None,
    *,
    group_committer: type[GroupCommitter] = GroupCommitter,
) -> AtWork:
    """Build what carries runs in this process."""
    committer = group_committer(log, wakeups.notify, commit_settings(settings), observer)
    engine = LangGraphEngine(asking, Checkpointing(storage, committer), graphs)
    keeper = build_housekeeper(storage, settings, watcher)
    executor = ExecutorByKind({WorkflowKind.HOUSEKEEPING: keeper}, otherwise=engine)
    bounds = run_settings(settings)
    supervisor = Supervisor(new_process_id(), storage, executor, committer, wakeups, bounds, utc_now, observer)
    claimer = Claimer(
        storage, supervisor, wakeups, utc_now, room=settings.detached_runs, per_owner=settings.runs_per_owner
    )
    return AtWork(
        supervisor=supervisor,
        claimer=claimer,
        readers=Readers(storage, wakeups, supervisor.tail),
        reaper=Reaper(
            storage=storage,
            supervisor=supervisor,
            wakeups=wakeups,
            clock=utc_now,
            observer=observer,
            interval=settings.reaper_seconds,
        ),
        housekeeping=build_scheduler(storage, supervisor, settings, watcher),
        wakeups=wakeups,
        committer=committer,
    )


def commit_settings(settings: Settings) -> CommitSettings:
    """Return when the events of runs are committed."""
    return CommitSettings(interval=settings.commit_milliseconds / 1000)


def run_limits(settings: Settings) -> RunLimits:
    """Return how many runs there may be, and what one of them may take."""
    return RunLimits(
        at_work=settings.runs_per_owner,
        pending=settings.pending_runs_per_owner,
        messages=MessageQuota(per_day=settings.messages_per_day or None, per_month=settings.messages_per_month or None),
        budget=Budget(
            max_tokens=settings.run_tokens or None,
            max_cost_micros=settings.run_cost_micros or None,
            max_milliseconds=ceil(settings.run_seconds * 1_000),
        ),
    )


def run_settings(settings: Settings) -> RunSettings:
    """Return the bounds and times of runs."""
    lease = settings.lease_seconds
    return RunSettings(
        time_limit=settings.run_seconds,
        lease=lease,
        renew=lease / LEASE_RENEWALS,
        max_message_bytes=settings.max_answer_bytes,
    )


def new_process_id() -> str:
    """Return a name for this process in leases; there is never another one of it."""
    return f"{socket.gethostname()}-{os.getpid()}-{new_id('proc')[-8:]}"
