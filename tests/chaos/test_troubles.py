"""Short forms of what `make soak` and its like show at length: no run is lost, and none comes back."""

import asyncio
from pathlib import Path

from tests.chaos import cancels, redis_loss, rolling, slow_readers
from tests.chaos.sites import Way, open_site, provider_settings
from tests.support.provider import provider_on_a_thread

KEY = "sk-of-the-troubled"


async def test_two_servers_are_cancelled_on_killed_restarted_and_left_without_redis(tmp_path: Path) -> None:
    lost = redis_loss.Shape(runs=4, seconds=3.0)
    restarted = rolling.Shape(streams=12, seconds=4.0, calm=1.0, restarts=1)
    models = [*cancels.MODELS.values(), lost.model, restarted.model]
    with provider_on_a_thread(KEY) as provider:
        settings = {**provider_settings(provider, KEY, models), "stop_seconds": "0.5"}
        async with open_site(Way.BOTH, tmp_path, settings) as site:
            # The server that the second half is killed on also has runs that Redis goes away under.
            cancelled, _ = await asyncio.gather(
                cancels.try_way(Way.BOTH, 14, 1, site, provider, batch=7), redis_loss.lose_redis(lost, site)
            )
            assert (cancelled.trials, cancelled.killed) == (14, 7)
            assert cancelled.finished < 14
            rolled = await rolling.restart_all(restarted, site)
            assert rolled.breaks
            assert rolled.attempts > 1


async def test_readers_that_stand_still_cost_little_and_come_to_the_same_text(tmp_path: Path) -> None:
    # So small a window is full at once: what they do not take has to be kept for them, or not.
    shape = slow_readers.Shape(readers=4, slow=60, seconds=2.0, rate=400.0, rest=6.0, window=2048)
    async with slow_readers.open_site(tmp_path, shape) as site:
        done = await slow_readers.run_round(site, shape)
    assert done.stalled_mb < 20
