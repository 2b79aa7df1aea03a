"""The crash kit's commands: ``python -m tests.chaos runs``, and what else the Makefile names."""

import argparse
import asyncio
import sys

from tests.chaos.campaign import Campaign, run_campaign


def main() -> int:
    """Read the command line, do what it says, and return the exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.chaos", description="Shows what runs survive.")
    commands = options.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("runs", help="rounds of runs that share disasters")
    runs.add_argument("--runs", type=int, default=1000, help="how many runs in all")
    runs.add_argument("--size", type=int, default=40, help="how many of them in a round")
    runs.add_argument("--seed", type=int, default=1)
    runs.add_argument("--storage", choices=("sqlite", "postgres", "both"), default="both")
    runs.add_argument("--graph", choices=("", "parallel"), default="")
    runs.add_argument("--only", type=int, default=None, help="play this round alone, and remember nothing")
    runs.add_argument("--quiet", action="store_true", help="nothing happens to the servers")
    given = options.parse_args()
    storages = ("sqlite", "postgres") if given.storage == "both" else (given.storage,)
    codes = [
        asyncio.run(
            run_campaign(
                Campaign(
                    storage=storage,
                    seed=given.seed,
                    runs=given.runs,
                    size=given.size,
                    graph=given.graph,
                    only=given.only,
                    disasters=not given.quiet,
                )
            )
        )
        for storage in storages
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
