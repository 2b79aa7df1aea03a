"""The image's steps do what they are to do, and what they leave behind serves.

All of them are run where WHOLE_IMAGE is set (`make image-test`). Otherwise the locked dependencies are not installed
anew: those that the tests run on stand in for them.
"""

import os
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatter_grpc.cli.announcement import read_announcement
from tests.support.dockerfile import Image, Instruction, read_instructions, run_steps
from tests.support.processes import ROOT, Process

WHOLE = bool(os.environ.get("WHOLE_IMAGE"))
INSTALLS = "--require-hashes"
SECONDS = 60


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    instructions = read_instructions((ROOT / "Dockerfile").read_text())
    directory = tmp_path_factory.mktemp("image")
    if WHOLE:
        return run_steps(instructions, ROOT, directory, arguments={"EXTRAS": "telemetry"})
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    stand_in = f'echo {sysconfig.get_path("purelib")} > "$(python -c "{ask}")/x.pth"'
    # Its own modules alone are worth compiling; pip takes no heed of what stands in.
    return run_steps(instructions, ROOT, directory, skip=(INSTALLS,), before={INSTALLS: stand_in})


@pytest.fixture
def listen() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def container(image: Image, listen: str, tmp_path: Path) -> Iterator[Process]:
    """The image's own command, told to stay on this machine."""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*image.entrypoint, *image.command],
            executable=image.inside("/opt/chatter/bin/chatter-grpc"),
            cwd=tmp_path,
            env=image.given({"CHATTER_LISTEN": listen}),
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield Process(process=process, out=out, err=err)
    finally:
        process.kill()
        process.wait()


def run(image: Image, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [image.inside(f"/opt/chatter/bin/{command[0]}"), *command[1:]],
        cwd=image.root,
        env=image.given(more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_what_it_starts_serves_is_healthy_and_stops(image: Image, container: Process, listen: str) -> None:
    assert read_announcement(container.wait_for_line(" serves on ")) == listen
    done = run(image, *image.health, CHATTER_LISTEN=listen)
    assert (done.returncode, done.stdout) == (0, "SERVING\n")
    data = Path(image.inside("/var/lib/chatter"))
    assert {"chatter.db", "secret"} <= {path.name for path in data.iterdir()}
    assert container.stop(signal.SIGTERM) == 0


def test_it_does_not_serve_others_unencrypted_unless_told_to(image: Image) -> None:
    done = run(image, *image.entrypoint, *image.command)
    assert done.returncode == 2
    assert done.stderr.startswith("chatter-grpc: CHATTER_LISTEN: 0.0.0.0:50051 can be reached from other machines")


def test_what_runs_in_it_is_the_installed_package(image: Image) -> None:
    code = "import chatter_grpc, chatter_grpc._gen.chatter.v1.run_pb2; print(chatter_grpc.__file__)"
    done = run(image, "python", "-c", code)
    assert done.stdout.startswith(image.inside("/opt/chatter/lib/")), done.stderr


def test_it_runs_as_an_account_of_its_own(image: Image) -> None:
    uid, _, gid = image.user.partition(":")
    assert int(uid) > 0
    assert f"--gid {gid} chatter" in image.accounts
    assert f"--uid {uid} --gid chatter" in image.accounts


def test_nothing_of_the_build_is_left_in_it(image: Image) -> None:
    assert not Path(image.inside("/src")).exists()
    assert not Path(image.inside("/dist")).exists()
    packages = {path.name for path in Path(image.inside("/opt/chatter/lib")).glob("python*/site-packages/*")}
    assert "chatter_grpc" in packages
    assert not {"pip", "hatchling", "grpc_tools"} & packages


@pytest.mark.skipif(not WHOLE, reason="the dependencies are those that the tests run on: make image-test")
def test_the_extras_that_were_asked_for_are_in_it(image: Image) -> None:
    assert not image.skipped
    assert run(image, "python", "-c", "import opentelemetry.sdk").returncode == 0
    assert run(image, "python", "-c", "import pytest").returncode != 0


def test_instructions_are_read_over_comments_and_lines() -> None:
    assert read_instructions("# x\nFROM a AS b\n\nRUN one \\\n# between\n && two\n") == [
        Instruction("FROM", "a AS b"),
        Instruction("RUN", "one  && two"),
    ]


def test_a_step_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="told why"):
        run_steps(read_instructions("FROM x\nRUN echo told why >&2; false\n"), ROOT, tmp_path)


def test_extras_are_pinned_by_the_lock(tmp_path: Path) -> None:
    """The image's own sed, on the lock."""
    step = next(each.rest for each in read_instructions((ROOT / "Dockerfile").read_text()) if "sed -nE" in each.rest)
    command = step[step.index("sed -nE") : step.index(" > constraints.txt")]
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    pins = done.stdout.split()
    assert [pin for pin in pins if pin.startswith("opentelemetry-sdk==")]
    assert len(pins) == (ROOT / "requirements" / "dev.txt").read_text().count("==")
