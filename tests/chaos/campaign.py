"""Many rounds in a row on one fleet: goes on where it was broken off, and sums up."""

import json
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from tests.chaos.provider import chaos_provider
from tests.chaos.rounds import RoundResult, RoundSettings, play
from tests.chaos.servers import fleet
from tests.support.processes import ROOT

STATE: Final = ROOT / ".chaos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """So many runs with one seed, ``size`` of them in a round; ``only`` plays one round of it alone."""

    storage: str
    seed: int
    runs: int
    size: int
    graph: str = ""
    only: int | None = None
    disasters: bool = True

    @property
    def rounds(self) -> list[RoundSettings]:
        """The rounds, in order; the last one may be smaller."""
        if self.only is not None:
            return [self._round(self.only, self.size)]
        sizes = [self.size] * (self.runs // self.size) + [self.runs % self.size] * (self.runs % self.size > 0)
        return [self._round(number, size) for number, size in enumerate(sizes, 1)]

    @property
    def state(self) -> Path:
        """Where the results of its rounds stand, a line each."""
        return STATE / f"runs-{self.storage}-{self.graph or 'plain'}-{self.seed}-{self.size}.jsonl"

    def _round(self, number: int, size: int) -> RoundSettings:
        return RoundSettings(
            storage=self.storage,
            seed=self.seed,
            number=number,
            runs=size,
            graph=self.graph,
            planned=None if self.disasters else (),
        )


async def run_campaign(campaign: Campaign) -> int:
    """Play the rounds that are not done yet, and say what came of all; 0 where nothing is wrong."""
    done = {} if campaign.only is not None else _read(campaign.state)
    left = [each for each in campaign.rounds if each.number not in done]
    say(f"{campaign.storage} {campaign.graph or 'plain'}, seed {campaign.seed}: {len(left)} rounds to play")
    if left:
        with tempfile.TemporaryDirectory(prefix="chatter-chaos-") as directory, chaos_provider() as provider:
            async with fleet(campaign.storage, Path(directory), provider, graph=campaign.graph) as servers:
                for settings in left:
                    result = await play(servers, settings)
                    done[settings.number] = result
                    _report(settings, result)
                    if campaign.only is None:
                        _write(campaign.state, result)
    results = [done[each.number] for each in campaign.rounds]
    say(summary(results))
    return int(any(result.faults for result in results))


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def summary(results: list[RoundResult]) -> str:
    """Return what came of all rounds, in some lines."""
    took = sorted(seconds for result in results for seconds in result.take_overs)
    disasters, faults = Counter[str](), Counter[str]()
    for result in results:
        disasters.update(result.disasters)
        faults.update(result.provider_faults)
    lines = [
        f"{sum(result.runs for result in results)} runs in {len(results)} rounds,"
        f" {sum(result.attempts for result in results)} attempts, {sum(result.readers for result in results)} readers"
        f" with {sum(result.breaks for result in results)} breaks, {sum(result.seconds for result in results):.0f} s",
        f"disasters: {_counted(disasters)}",
        f"faults of the provider: {_counted(faults)}",
        f"ended RUN_INTERRUPTED after three losses: {sum(result.interrupted for result in results)};"
        f" attempts that no disaster explains: {sum(result.unasked for result in results)}",
    ]
    if len(took) > 1:
        percentiles = statistics.quantiles(took, n=100, method="inclusive")
        lines.append(f"time to the next attempt: p50 {percentiles[49]:.2f} s, p99 {percentiles[98]:.2f} s")
    lines.append(f"failures: {sum(len(result.faults) for result in results)}")
    return "\n".join(lines)


def _report(settings: RoundSettings, result: RoundResult) -> None:
    say(
        f"round {result.number}: {result.runs} runs, {result.attempts} attempts, {_counted(Counter(result.disasters))},"
        f" {result.seconds} s, {len(result.faults)} failures"
    )
    if result.faults:
        for fault in result.faults:
            say(f"  {fault}")
        say(f"  again: {settings.command}")


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items())) or "none"


def _read(path: Path) -> dict[int, RoundResult]:
    """Return the rounds that are done; those with failures, and those that another kit wrote, are played again."""
    if not path.exists():
        return {}
    names = {each.name for each in fields(RoundResult)}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["number"]: RoundResult(**line) for line in lines if line.keys() == names and not line["faults"]}


def _write(path: Path, result: RoundResult) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(result)) + "\n")
