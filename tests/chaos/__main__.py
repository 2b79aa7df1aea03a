"""The crash kit's commands: ``python -m tests.chaos runs``, and what else the Makefile names."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.chaos import cancels, redis_loss, rolling, slow_readers, soak
from tests.chaos.campaign import Campaign, run_campaign, say
from tests.chaos.starts import Starts, run_starts
from tests.chaos.zombies import Trials, run_zombies

BOTH: Final = ("sqlite", "postgres")
# Four models write into each of the parallel ones.
SIZES: Final = {"plain": 40, "parallel": 16}


def main() -> int:
    """Read the command line, do what it says on each storage, and return the exit code."""
    given = _options().parse_args()
    if "run" in given:
        return int(given.run(given))
    does = {"runs": _runs, "zombies": _zombies, "starts": _starts}[given.command]
    return max(does(given, storage) for storage in (BOTH if given.storage == "both" else (given.storage,)))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.chaos", description="Shows what runs survive.")
    commands = options.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("runs", help="rounds of runs that share disasters")
    runs.add_argument("--runs", type=int, default=1000, help="how many runs in all")
    runs.add_argument(
        "--size", type=int, default=0, help="how many of them in a round: 40, or 16 with parallel branches"
    )
    runs.add_argument("--graph", choices=("plain", "parallel"), default="plain", help="what the servers run")
    runs.add_argument("--only", type=int, default=None, help="play this round alone, and remember nothing")
    runs.add_argument("--quiet", action="store_true", help="nothing happens to the servers")
    zombies = commands.add_parser("zombies", help="servers that are held up past their leases")
    zombies.add_argument("--trials", type=int, default=200, help="how many runs are to lose their server so")
    starts = commands.add_parser("starts", help="sends through a proxy that cuts calls")
    starts.add_argument("--sends", type=int, default=2000, help="how many messages are to be sent")
    for command in (runs, zombies, starts):
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--storage", choices=(*BOTH, "both"), default="both")
    for module in (cancels, slow_readers, redis_loss, rolling, soak):
        module.add_command(commands)
    return options


def _runs(given: argparse.Namespace, storage: str) -> int:
    return asyncio.run(
        run_campaign(
            Campaign(
                storage=storage,
                seed=given.seed,
                runs=given.runs,
                size=given.size or SIZES[given.graph],
                graph="" if given.graph == "plain" else given.graph,
                only=given.only,
                disasters=not given.quiet,
            )
        )
    )


def _zombies(given: argparse.Namespace, storage: str) -> int:
    with _directory() as directory:
        trials = Trials(storage=storage, seed=given.seed, trials=given.trials)
        result = asyncio.run(run_zombies(trials, directory))
    return _conclude(storage, result.summary, result.faults)


def _starts(given: argparse.Namespace, storage: str) -> int:
    with _directory() as directory:
        starts = Starts(storage=storage, seed=given.seed, sends=given.sends)
        result = asyncio.run(run_starts(starts, directory))
    return _conclude(storage, result.summary, result.faults)


def _conclude(storage: str, summary: str, faults: list[str]) -> int:
    for fault in faults:
        say(f"  {fault}")
    say(f"{storage}: {summary}")
    return int(bool(faults))


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chatter-chaos-") as directory:
        yield Path(directory)


if __name__ == "__main__":
    sys.exit(main())
