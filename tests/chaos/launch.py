"""Serves with a graph of the crash kit in place of the plain one: ``python -m tests.chaos.launch parallel --listen …``.

Settings come from the environment, as for ``chatter-grpc serve``.
"""

import argparse
import asyncio
import signal
import sys

import uvloop

from chatter_grpc.app.serving import serve
from chatter_grpc.cli.announcement import announce
from chatter_grpc.config import Settings, load_settings
from chatter_grpc.logs import set_up_logs
from tests.chaos.graphs import GRAPHS


async def _serve(settings: Settings, graph: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def be_ready(address: str) -> None:
        sys.stdout.write(announce(address) + "\n")
        sys.stdout.flush()

    await serve(settings, stop=stop, ready=be_ready, graphs=GRAPHS[graph])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="A server that runs another graph.")
    options.add_argument("graph", choices=sorted(GRAPHS))
    options.add_argument("--listen", required=True)
    given = options.parse_args()
    settings = load_settings(listen=given.listen)
    set_up_logs(settings.log_level, settings.log_format)
    uvloop.run(_serve(settings, given.graph))
