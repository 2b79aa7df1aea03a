"""Generates `chatter_client/_gen` from the contract: as hatchling's build hook, or as `python build_hook.py`.

The contract is the repository's `protos/` and `clients/service_config.json`; an sdist carries both in `contract/`.
"""

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
TARGET = ROOT / "chatter_client" / "_gen"

# The generated code lives under our own package; descriptors, and so the wire, keep `chatter.v1`.
IMPORT = re.compile(r"^from (?=chatter\.)", re.MULTILINE)


class GenerateCode(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before hatchling collects the files of a wheel (also an editable one) or an sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling's entry point; the arguments do not matter here."""
        generate()


def generate() -> None:
    """Bring `chatter_client/_gen` in line with the contract; files that stay the same are not touched.

    Raises SystemExit where there is no contract, or with protoc's own message where a proto does not compile.
    """
    protos, service_config = find_contract()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        run_protoc(protos, fresh)
        for module in fresh.rglob("*.py*"):
            module.write_text(IMPORT.sub("from chatter_client._gen.", module.read_text()))
        for directory in {fresh, *(path for path in fresh.rglob("*") if path.is_dir())}:
            (directory / "__init__.py").write_text('"""Generated from the contract; do not edit."""\n')
        shutil.copyfile(service_config, fresh / "service_config.json")
        mirror(fresh, TARGET)


def find_contract() -> tuple[Path, Path]:
    """Return the directory of the protos and the service config: those of an sdist, or the repository's."""
    for protos, service_config in (
        (ROOT / "contract" / "protos", ROOT / "contract" / "service_config.json"),
        (ROOT.parents[1] / "protos", ROOT.parent / "service_config.json"),
    ):
        if protos.is_dir() and service_config.is_file():
            return protos, service_config
    raise SystemExit(f"no contract beside {ROOT}: build from the repository or from an sdist")


def run_protoc(protos: Path, out: Path) -> None:
    """Compile every proto into `out`: messages, stubs for both kinds of channel, and types of all."""
    plugins = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{protos}", f"-I{files('grpc_tools') / '_proto'}"),
        *(f"--plugin={name}={find_plugin(name)}" for name in plugins),
        *(f"--python_out={out}", f"--grpc_python_out={out}", f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}"),
        *sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - no outside input
    if done.returncode:
        raise SystemExit(f"protoc failed:\n{done.stderr}")


def find_plugin(name: str) -> str:
    """Return the plugin's path: beside this interpreter first, then on PATH, where an isolated build has it."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise SystemExit(f"{name} is missing: install mypy-protobuf")
    return found


def mirror(source: Path, target: Path) -> None:
    """Make `target` hold exactly the files of `source`, leaving files that are equal alone."""
    wanted = {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    for present in target.rglob("*"):
        if present.suffix in {".py", ".pyi", ".json"} and present.relative_to(target) not in wanted:
            present.unlink(missing_ok=True)
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
