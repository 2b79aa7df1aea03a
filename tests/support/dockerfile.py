"""Runs a Dockerfile's steps in directories that stand for the images' file systems, where there is no Docker.

Absolute paths of the image become paths under the directory. A stage takes the place of the one before it, whose files
are kept aside for `COPY --from`: so what a build writes into files as its own path stays true. Accounts cannot be made
here: what would make them is noted in `accounts`.
"""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# Every path that the steps name below the image's root.
PATHS: Final = re.compile(r"(?<![\w./-])(?=/(?:opt|src|dist|var)(?:/|\b))")
SECONDS: Final = 1200.0
INSTALL: Final = """\
#!/bin/sh
exec /usr/bin/install --directory --mode 0700 "$(eval echo \\${$#})"
"""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, and the rest of its line or lines."""

    name: str
    rest: str


@dataclass(slots=True)
class Image:
    """What running the steps has come to: the last stage's files, environment, and how it is started."""

    root: Path
    environment: dict[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def inside(self, text: str) -> str:
        """Return a text whose paths of the image are those of this machine."""
        return PATHS.sub(str(self.root), text)

    @property
    def accounts(self) -> str:
        """The commands that would have made accounts."""
        noted = self.root.parent / "accounts"
        return noted.read_text() if noted.exists() else ""

    def given(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process in the image."""
        inside = {name: self.inside(value) for name, value in self.environment.items()}
        return {**inside, "HOME": str(self.root.parent), **more}


def read_instructions(text: str) -> list[Instruction]:
    """Return a Dockerfile's instructions; comments may stand between the lines of one."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines()]


def run_steps(
    instructions: Sequence[Instruction],
    context: Path,
    directory: Path,
    *,
    arguments: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
    before: Mapping[str, str] | None = None,
) -> Image:
    """Run the steps of all stages and return the last one.

    ``context`` is what is copied from. Steps that hold a text of ``skip`` are left out and noted; ``before`` has
    commands to run after the step that holds its text. Raises ``CalledProcessError`` where a step fails.
    """
    stages: dict[str, Path] = {}
    image: Image | None = None
    stage = ""
    for instruction in instructions:
        name, rest = instruction.name, instruction.rest
        if name == "FROM" or image is None:
            if image is not None:
                stages[stage] = directory / stage
                image.root.rename(stages[stage])
            image = _begin(directory)
            stage = rest.partition(" AS ")[2] or "last"
        elif name == "COPY":
            _copy(image, context, stages, rest)
        elif name == "RUN":
            if any(text in rest for text in skip):
                image.skipped.append(rest)
            else:
                _run(image, rest)
            for text in [text for text in before or {} if text in rest]:
                _run(image, (before or {})[text])
        else:
            _note(image, name, rest, arguments or {})
    assert image is not None, "there is no stage"
    return image


def _begin(directory: Path) -> Image:
    root = directory / "image"
    root.mkdir()
    commands = directory / "commands"
    commands.mkdir(exist_ok=True)
    note = f'#!/bin/sh\necho "$(basename "$0") $*" >> {directory / "accounts"}\n'
    for name, script in (("groupadd", note), ("useradd", note), ("install", INSTALL)):
        (commands / name).write_text(script)
        (commands / name).chmod(stat.S_IRWXU)
    # The build's tools come from where the tests' own do, whether or not that is on the path.
    path = os.pathsep.join((str(commands), os.environ["PATH"], str(Path(sys.executable).parent)))
    return Image(root=root, environment={"PATH": path})


def _copy(image: Image, context: Path, stages: Mapping[str, Path], rest: str) -> None:
    origin = context
    words = rest.split()
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")]
    *sources, target = words
    destination = Path(image.inside(target if target.startswith("/") else f"{image.directory}/{target}"))
    for source in sources:
        found = origin / source.lstrip("/")
        if found.is_dir():
            # What `.dockerignore` keeps out of the context.
            left_out = shutil.ignore_patterns("__pycache__", "_gen") if origin is context else None
            shutil.copytree(found, destination, symlinks=True, ignore=left_out)
        else:
            into = destination / found.name if target.endswith("/") else destination
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, into)


def _run(image: Image, command: str) -> None:
    directory = Path(image.inside(image.directory)) if image.directory != "/" else image.root
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["bash", "-e", "-c", image.inside(command)],
        cwd=directory,
        env=image.given({**_of_pip(), **image.arguments}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def _of_pip() -> dict[str, str]:
    """What this machine's pip is told about where packages come from."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}


def _note(image: Image, name: str, rest: str, arguments: Mapping[str, str]) -> None:
    if name == "ENV":
        for key, value in _assignments(rest):
            old = image.environment.get(key, "")
            image.environment[key] = value.replace(f"${key}", old)
    elif name == "ARG":
        ((key, value),) = _assignments(rest)
        image.arguments[key] = arguments.get(key, value)
    elif name == "WORKDIR":
        image.directory = rest
    elif name == "USER":
        image.user = rest
    elif name == "ENTRYPOINT":
        image.entrypoint = json.loads(rest)
    elif name == "CMD":
        image.command = json.loads(rest)
    elif name == "HEALTHCHECK":
        image.health = json.loads(rest[rest.index("CMD ") + 4 :])
    elif name not in {"EXPOSE", "VOLUME", "STOPSIGNAL"}:
        raise ValueError(f"an instruction that is not known: {name}")


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for word in shlex.split(text):
        key, _, value = word.partition("=")
        yield key, value
