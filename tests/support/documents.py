"""Reads what a document has to be run: its blocks of commands and code, or why one of them is not."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.cookbook import Block

# What is run, what shows what was printed, and what only shows.
RUN: Final = {"sh", "bash", "python"}
PRINTED: Final = {"json", "text"}
SHOWN: Final = {"yaml", "protobuf", "go"}

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARKER: Final = re.compile(r"<!-- not run: (\S.*?) -->\n\Z")
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One block: what it holds, under which heading, why it is not run, and whether it follows another one directly."""

    kind: str
    content: str
    section: str
    why_not: str
    follows: bool


def read_fences(markdown: str) -> Iterator[Fence]:
    """Yield the blocks of a document in order."""
    end = -1
    for fence in _FENCE.finditer(markdown):
        marker = _MARKER.search(markdown, 0, fence.start())
        headings = _HEADING.findall(_FENCE.sub("", markdown[: fence.start()]))
        yield Fence(
            kind=fence[1],
            content=fence[2],
            section=headings[-1] if headings else "",
            why_not=marker[1] if marker else "",
            follows=fence.start() == end + 1,
        )
        end = fence.end()


def faults_of(fences: list[Fence]) -> Iterator[str]:
    """Yield what keeps a document from being one whose code is run."""
    for fence in fences:
        first = fence.content.partition("\n")[0]
        if fence.kind not in RUN | PRINTED | SHOWN:
            yield f"{fence.section}: a block of no known kind {fence.kind!r}: {first}"
        if fence.why_not and fence.kind not in RUN:
            yield f"{fence.section}: what is never run needs no reason: {first}"


def blocks_of(fences: list[Fence], directory: Path) -> list[Block]:
    """Return what is to be run, each with what it prints; Python is written into files of the directory."""
    blocks: list[Block] = []
    ran = False
    for number, fence in enumerate(fences):
        if fence.kind in RUN:
            ran = not fence.why_not
            if ran:
                blocks.append(Block(section=fence.section, commands=_commands(fence, directory, number)))
        elif fence.kind in PRINTED and fence.follows and ran:
            last = blocks.pop()
            blocks.append(Block(section=last.section, commands=last.commands, kind=fence.kind, expected=fence.content))
            ran = False
    return blocks


def _commands(fence: Fence, directory: Path, number: int) -> str:
    if fence.kind != "python":
        return fence.content
    name = f"block-{number}.py"
    (directory / name).write_text(fence.content)
    return f"python3 {name}\n"
