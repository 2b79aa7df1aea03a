"""The client's distribution: a wheel that is built from its sdist is whole, and needs nothing of the repository."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.support.processes import ROOT

CLIENT = ROOT / "clients" / "python"


def built(source: Path, kind: str, target: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (made,) = target.iterdir()
    return made


def test_a_wheel_built_from_the_sdist_holds_every_file_of_the_package(tmp_path: Path) -> None:
    sdist = built(CLIENT, "sdist", tmp_path / "sdist")
    (tmp_path / "source").mkdir()
    subprocess.run(["tar", "-xf", sdist, "-C", tmp_path / "source"], check=True, timeout=60)
    (source,) = (tmp_path / "source").iterdir()
    names = set(zipfile.ZipFile(built(source, "wheel", tmp_path / "wheel")).namelist())
    protos = [path.relative_to(ROOT / "protos").with_suffix("") for path in (ROOT / "protos").rglob("*.proto")]
    generated = {f"chatter_client/_gen/{stem}_pb2{end}" for stem in protos for end in (".py", ".pyi", "_grpc.py")}
    written = {
        path.relative_to(CLIENT).as_posix()
        for path in (CLIENT / "chatter_client").rglob("*")
        if path.suffix in {".py", ".typed"} and "_gen" not in path.parts
    }
    assert generated
    assert generated | written | {"chatter_client/_gen/service_config.json"} <= names


def test_both_distributions_are_generated_by_the_same_tools() -> None:
    client = tomllib.loads((CLIENT / "pyproject.toml").read_text())
    server = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert client["build-system"]["requires"] == server["build-system"]["requires"]
    wanted = set(client["project"]["dependencies"]) | set(client["project"]["optional-dependencies"]["terminal"])
    assert wanted <= set(server["project"]["dependencies"])


def test_the_license_is_the_repositorys() -> None:
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
