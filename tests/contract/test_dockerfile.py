"""The image is built from what is there: what it copies is let in, and what it removes was locked."""

import re

from tests.support.processes import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def copied() -> list[str]:
    """What is copied from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_is_copied_exists_and_is_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied()) == let_in
    assert not [source for source in copied() if not (ROOT / source).exists()]


def test_what_only_the_build_needs_is_locked_and_removed() -> None:
    removed = re.search(r"pip uninstall --yes (.*)$", DOCKERFILE, re.MULTILINE)
    assert removed is not None
    names = set(removed[1].split())
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE))
    assert names - {"pip"} <= locked
    assert {"grpcio-tools", "hatchling", "mypy-protobuf"} <= names


def test_it_does_not_run_as_root_and_is_told_to_stop_gracefully() -> None:
    runtime = DOCKERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", runtime, re.MULTILINE)
    # In exec form: with a shell between them, no signal would reach the server.
    assert 'ENTRYPOINT ["chatter-grpc"]' in runtime
    assert 'CMD ["serve"]' in runtime
