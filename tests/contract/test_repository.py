"""The repository keeps its own rules: docstrings, sizes, names, locks without addresses, whole packages."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("runtime", "dev", "bench")
MODULE_LINES = 400
FUNCTION_LINES = 60

# Functions that may be longer for now, as "path::name". It only ever shrinks.
LONG_FUNCTIONS: frozenset[str] = frozenset()

VAGUE = re.compile(r"(?:^|[_.-])(?:base|common|helper|impl|manager|misc|util)s?(?:[_.-]|$)", re.IGNORECASE)
NOTE_TO_SELF = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
# Written so that none of its own lines matches.
REGISTRY = re.compile(
    r"(?:py[p]i|pythonh[o]sted|proxy\.golan[g]|npmj[s]|crate[s])\.(?:org|com|io)\b"
    r"|(?<!emit-)index[-_]ur[l]|find[-_]link[s]|://\S+/simpl[e]\b|/artifactor[y]/",
    re.IGNORECASE,
)


def tracked(*patterns: str) -> list[Path]:
    """The repository's files, with those that are new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    return [ROOT / name for name in sorted(filter(None, out.split("\0"))) if (ROOT / name).is_file()]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def locked(name: str) -> dict[str, str]:
    """Each locked distribution with its block of the lock: the pin and its hashes."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{name}.txt").read_text().strip())
    return {re.split(r"[=\[]", block, maxsplit=1)[0]: block for block in blocks}


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", each, maxsplit=1)[0] for each in requirements}


PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = tracked("*.py")


def test_the_rules_look_at_the_modules_that_exist() -> None:
    names = {named(path) for path in MODULES}
    assert {"hatch_build.py", "chatter_grpc/__init__.py", named(Path(__file__))} <= names


def test_every_module_says_in_one_sentence_what_it_is_for() -> None:
    wrong = {}
    for path in MODULES:
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        if not first.endswith(".") or re.search(r"[.!?]\s+[A-Z]", first):
            wrong[named(path)] = first
    assert not wrong


def test_no_module_is_longer_than_its_limit() -> None:
    sizes = {named(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: size for name, size in sizes.items() if size > MODULE_LINES}


def test_no_function_is_longer_than_its_limit() -> None:
    long = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.add(f"{named(path)}::{node.name}")
    assert long == LONG_FUNCTIONS


def test_file_names_are_nouns_that_say_something() -> None:
    assert not [named(path) for path in tracked() if VAGUE.search(path.name)]


def test_no_file_holds_a_note_to_self() -> None:
    assert not [named(path) for path in tracked() if NOTE_TO_SELF.search(path.read_text(errors="replace"))]


def test_no_file_names_a_package_registry() -> None:
    assert not [named(path) for path in tracked() if REGISTRY.search(path.read_text(errors="replace"))]


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("https://py{}.org/project", "pi"),
        ("https://files.python{}.org/packages", "hosted"),
        ("https://mirror.example/{}/", "simple"),
        ("pip install --index-{} x", "url"),
        ("PIP_EXTRA_INDEX_{}=x", "URL"),
        ("--find-{} /wheels", "links"),
    ],
)
def test_an_address_of_a_package_registry_would_be_found(line: str, rest: str) -> None:
    assert REGISTRY.search(line.format(rest))


def test_core_imports_the_standard_library_and_itself_only() -> None:
    allowed = sys.stdlib_module_names | {"uuid_utils"}
    foreign = set()
    for path in tracked("chatter_grpc/core/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            foreign |= {
                f"{named(path)}: {name}"
                for name in names
                if name.split(".")[0] not in allowed and not name.startswith("chatter_grpc.core")
            }
    assert not foreign


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_distribution_is_pinned_and_has_hashes(name: str) -> None:
    pinned = re.compile(r"[a-z0-9-]+(?:\[[a-z0-9,-]+\])?==\S+( ; .+?)?( \\\n +--hash=sha256:[0-9a-f]{64})+")
    assert not [block for block in locked(name).values() if not pinned.fullmatch(block)]


def test_the_locks_hold_what_the_project_asks_for() -> None:
    groups = PYPROJECT["dependency-groups"]
    runtime = requirement_names(PYPROJECT["project"]["dependencies"] + groups["build"])
    assert runtime <= locked("runtime").keys()
    assert runtime | requirement_names(groups["dev"]) <= locked("dev").keys()
    assert runtime | requirement_names(groups["dev"] + groups["bench"]) <= locked("bench").keys()


@pytest.mark.parametrize(("smaller", "larger"), [("runtime", "dev"), ("dev", "bench")])
def test_a_larger_lock_changes_no_version_of_a_smaller_one(smaller: str, larger: str) -> None:
    assert locked(smaller).items() <= locked(larger).items()


def test_a_build_without_isolation_has_the_tools_of_one_with_it() -> None:
    assert PYPROJECT["dependency-groups"]["build"] == PYPROJECT["build-system"]["requires"]


def test_generated_code_is_made_at_build_time_and_never_committed() -> None:
    assert not tracked("chatter_grpc/_gen/*", "*_pb2.py", "*_pb2_grpc.py")


def test_a_wheel_built_from_the_sdist_holds_every_file_of_the_package(tmp_path: Path) -> None:
    hatchling = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run([*hatchling, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    (sdist,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True, timeout=60)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    subprocess.run([*hatchling, "-t", "wheel"], cwd=source, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    stems = [path.relative_to(ROOT / "protos").with_suffix("") for path in tracked("protos/*.proto")]
    endings = (".py", ".pyi", "_grpc.py", "_grpc.pyi")
    generated = {f"chatter_grpc/_gen/{stem}_pb2{end}" for stem in stems for end in endings}
    assert generated
    assert generated | {named(path) for path in tracked("chatter_grpc")} <= names
