"""What a server says that it has open, as operators read it."""

import asyncio
import json
import time
from collections import defaultdict
from typing import Final

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.servers import SECONDS, ServerProcess

# Which of its metrics are of what is open; a metric with labels counts as their sum.
OPEN: Final = (
    "chatter_loop_tasks",
    "chatter_run_readers",
    "chatter_runs_active",
    "chatter_rpc_in_flight",
    "chatter_database_connections_in_use",
)

Gauges = dict[str, float]


async def wait_for_address(server: ServerProcess) -> str:
    """Return where a server shows its metrics, once it says so."""
    give_up_at = time.monotonic() + SECONDS
    while True:
        for line in server.log.splitlines():
            if '"serving_metrics"' in line:
                return str(json.loads(line)["address"])
        assert time.monotonic() < give_up_at, "it shows no metrics"
        await asyncio.sleep(0.05)


async def read_gauges(address: str) -> Gauges:
    """Return what is open."""
    async with ClientSession() as session, session.get(f"http://{address}/metrics") as response:
        text = await response.text()
    found: Gauges = defaultdict(float, dict.fromkeys(OPEN, 0.0))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in OPEN:
                found[sample.name] += sample.value
    return dict(found)
