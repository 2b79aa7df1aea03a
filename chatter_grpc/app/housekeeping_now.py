"""Keeps house at once, in a process of its own; servers may be at work meanwhile."""

from contextlib import AsyncExitStack

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.app.housekeeping import build_housekeeper
from chatter_grpc.app.runs import commit_settings, new_process_id, run_settings
from chatter_grpc.app.storage import open_database
from chatter_grpc.config import Settings
from chatter_grpc.core.background import Background
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.housekeeping.observation import HousekeepingObserver
from chatter_grpc.core.housekeeping.schedule import HousekeepingStarts
from chatter_grpc.core.housekeeping.store import SYSTEM
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.core.runs.run import Run
from chatter_grpc.core.runs.supervisor import Supervisor


async def keep_house(settings: Settings, observer: HousekeepingObserver) -> Run | None:
    """Have a pass done here and return its run; ``None`` where another process is at it.

    Whoever cancels this gives the run back, so that a server goes on with it. Raises ``ConfigurationFault`` and
    ``StorageUnavailable``.
    """
    async with AsyncExitStack() as stack:
        database = await open_database(stack, settings)
        storage = SqlStorage(database)
        log = await open_committer(database)
        stack.push_async_callback(log.close)
        wakeups = MemoryWakeUps()
        committer = GroupCommitter(log, wakeups.notify, commit_settings(settings))
        keeper = build_housekeeper(storage, settings, observer)
        supervisor = Supervisor(new_process_id(), storage, keeper, committer, wakeups, run_settings(settings), utc_now)
        background = await stack.enter_async_context(Background())
        background.start("wake-ups", wakeups.run())
        background.start("committer", committer.run())
        background.start("supervisor", supervisor.run())
        stack.push_async_callback(supervisor.stop, 0.0)
        run_id = await HousekeepingStarts(storage, supervisor, utc_now).start()
        if run_id is None:
            return None
        await supervisor.wait_ended(run_id, settings.run_seconds + settings.lease_seconds)
        async with storage.read() as tx:
            return await tx.runs.get(SYSTEM, run_id)
