"""Reads a cookbook: its blocks of commands, what it says that they print, and whether that is what they printed."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Stands for anything: within a string, for a whole value, and in a list for any number of elements.
ANY: Final = "…"
# Generous, for a machine with other work: two of the commands take seconds to import what they need.
SECONDS: Final = 300.0

_FENCE: Final = re.compile(r"^```(bash|json|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^## (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Commands, the section they stand in, and what is to be printed: ``kind`` is ``json``, ``text`` or empty."""

    section: str
    commands: str
    kind: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a block did."""

    code: int
    out: str
    err: str


def read_blocks(markdown: str) -> list[Block]:
    """Return the blocks of commands in order, each with the block of output that follows it directly."""
    blocks: list[Block] = []
    end = -1
    for fence in _FENCE.finditer(markdown):
        kind, content = fence.groups()
        headings = _HEADING.findall(markdown, 0, fence.start())
        section = headings[-1] if headings else "before"
        if kind == "bash":
            blocks.append(Block(section=section, commands=content))
        else:
            assert fence.start() == end + 1, f"output that follows no commands: {content}"
            blocks[-1] = Block(section=section, commands=blocks[-1].commands, kind=kind, expected=content)
        end = fence.end()
    return blocks


def run_blocks(blocks: Sequence[Block], directory: Path, environment: Mapping[str, str]) -> list[Outcome]:
    """Run the blocks one after the other in one shell, as a reader would who copies them."""
    script = []
    for number, block in enumerate(blocks):
        (directory / f"{number}.sh").write_text(block.commands)
        script.append(f". ./{number}.sh > {number}.out 2> {number}.err; echo $? > {number}.code")
    subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=directory, env=environment, timeout=SECONDS, check=True, text=True
    )

    def read(number: int, ending: str) -> str:
        return (directory / f"{number}.{ending}").read_text()

    return [
        Outcome(code=int(read(number, "code")), out=read(number, "out"), err=read(number, "err"))
        for number in range(len(blocks))
    ]


def missing_lines(expected: str, printed: str) -> list[str]:
    """Return the expected lines that were not printed, each after the one before.

    Indentation does not count, nor does a comma at the end, which depends on what else is printed.
    """
    lines = iter([_bare(line) for line in printed.splitlines()])
    missing = []
    for line in expected.splitlines():
        pattern = _pattern(_bare(line))
        if not any(pattern.fullmatch(found) for found in lines):
            missing.append(line)
    return missing


def _bare(line: str) -> str:
    return line.strip().rstrip(",")


def missing_documents(expected: str, printed: str) -> list[Any]:
    """Return the expected JSON documents that were not printed, each after the one before; others may be between."""
    documents = iter(_documents(printed))
    return [wanted for wanted in _documents(expected) if not any(matches(wanted, document) for document in documents)]


def matches(wanted: Any, found: Any) -> bool:
    """Whether JSON is what is wanted: the same names, the same values, and anything for ``…``."""
    if wanted == ANY:
        return True
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and wanted.keys() == found.keys()
            and all(matches(wanted[name], found[name]) for name in wanted)
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and _elements_match(wanted, found)
    if isinstance(wanted, str):
        return isinstance(found, str) and _pattern(wanted).fullmatch(found) is not None
    return type(wanted) is type(found) and bool(wanted == found)


def _elements_match(wanted: list[Any], found: list[Any]) -> bool:
    if not wanted:
        return not found
    if wanted[0] == ANY:
        return any(_elements_match(wanted[1:], found[taken:]) for taken in range(len(found) + 1))
    return bool(found) and matches(wanted[0], found[0]) and _elements_match(wanted[1:], found[1:])


def _documents(text: str) -> list[Any]:
    decoder = json.JSONDecoder()
    documents = []
    position = 0
    text = text.strip()
    while position < len(text):
        document, position = decoder.raw_decode(text, position)
        documents.append(document)
        while position < len(text) and text[position].isspace():
            position += 1
    return documents


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split(ANY)), re.DOTALL)
