"""Generates `chatter_grpc/_gen` from `protos/`: as hatchling's build hook, or as `python hatch_build.py`."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
PROTOS = ROOT / "protos"
TARGET = ROOT / "chatter_grpc" / "_gen"

# protoc writes absolute imports of the proto package; in Python the code lives under our own package, so that
# it cannot collide with another distribution's `chatter`. Descriptors, and so the wire, keep `chatter.v1`.
IMPORT = re.compile(r"^from (?=chatter\.)", re.MULTILINE)


class GenerateCode(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before hatchling collects the files of a wheel (also an editable one) or an sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling's entry point; the arguments do not matter here."""
        generate()


def generate() -> None:
    """Bring `chatter_grpc/_gen` in line with `protos/`; files that stay the same are not touched.

    Raises SystemExit with protoc's own message where a proto does not compile.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        run_protoc(fresh)
        for module in fresh.rglob("*.py*"):
            module.write_text(IMPORT.sub("from chatter_grpc._gen.", module.read_text()))
        for directory in {fresh, *(path for path in fresh.rglob("*") if path.is_dir())}:
            (directory / "__init__.py").write_text('"""Generated from `protos/`; do not edit."""\n')
        mirror(fresh, TARGET)


def run_protoc(out: Path) -> None:
    """Compile every proto into `out`: messages, services, and typed stubs of both."""
    protos = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    if not protos:
        raise SystemExit(f"no .proto file in {PROTOS}")
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{PROTOS}", f"-I{files('grpc_tools') / '_proto'}"),
        *(f"--plugin={name}={find_plugin(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        *(f"--python_out={out}", f"--grpc_python_out={out}"),
        *(f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet,only_async:{out}"),
        *protos,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - no outside input
    if done.returncode:
        raise SystemExit(f"protoc failed:\n{done.stderr}")


def find_plugin(name: str) -> str:
    """The plugin's path: beside this interpreter first, then on PATH, where an isolated build has it."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise SystemExit(f"{name} is missing: install mypy-protobuf")
    return found


def mirror(source: Path, target: Path) -> None:
    """Make `target` hold exactly the files of `source`, leaving files that are equal alone."""
    wanted = {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    present = [path for path in target.rglob("*") if path.suffix in {".py", ".pyi"}]
    for stale in present:
        if stale.relative_to(target) not in wanted:
            stale.unlink(missing_ok=True)
    for name, content in wanted.items():
        file = target / name
        if not file.exists() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Other processes may import the package meanwhile: they see the old file or the new one.
            partial = file.with_name(f".{file.name}.{os.getpid()}")
            partial.write_bytes(content)
            partial.replace(file)


if __name__ == "__main__":
    generate()
    # One process cannot load two versions of a proto: the client's code is made anew together with the server's.
    subprocess.run([sys.executable, str(ROOT / "clients" / "python" / "build_hook.py")], check=True, timeout=120)  # noqa: S603
