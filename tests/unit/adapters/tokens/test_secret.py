"""The server's secret is made once, kept from others, and refused where anybody could know it."""

import os
import stat
import threading
from pathlib import Path

import pytest

from chatter_grpc.adapters.tokens.secret import (
    SecretRefused,
    check_secret,
    derive_keys,
    load_or_create_secret,
)

GOOD = "q8Zr1vT0xY5uW2nB7mK4jH9gF3dS6aP+eR/tLcVoIxQ="


def test_the_first_start_makes_a_secret_that_the_next_one_finds(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret"
    made = load_or_create_secret(path)
    assert len(made) == 48
    assert load_or_create_secret(path) == made


def test_the_file_is_for_its_owner_alone_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret"
    before = os.umask(0)
    try:
        load_or_create_secret(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    ready = threading.Barrier(8)
    found: list[bytes] = []

    def start() -> None:
        ready.wait(10)
        found.append(load_or_create_secret(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_file_that_others_may_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    load_or_create_secret(path)
    path.chmod(mode)
    with pytest.raises(SecretRefused, match="chmod 600"):
        load_or_create_secret(path)


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    load_or_create_secret(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SecretRefused, match="another user"):
        load_or_create_secret(path)


def test_a_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    real = tmp_path / "real"
    load_or_create_secret(real)
    link = tmp_path / "secret"
    link.symlink_to(real)
    with pytest.raises(SecretRefused, match="cannot be read"):
        load_or_create_secret(link)


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "secret"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SecretRefused):
        load_or_create_secret(link)
    assert not (tmp_path / "nowhere").exists()


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "secret"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(SecretRefused, match="no regular file"):
        load_or_create_secret(pipe)


def test_a_file_that_was_lost_is_not_made_anew_where_something_depends_on_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret"
    with pytest.raises(SecretRefused, match="is missing"):
        load_or_create_secret(path, may_create=False)
    assert not path.parent.exists()
    made = load_or_create_secret(path)
    assert load_or_create_secret(path, may_create=False) == made


@pytest.mark.parametrize("content", [b"", b"c2hvcnQ=", b"!" * 64, b"\xff" * 64])
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SecretRefused, match="damaged"):
        load_or_create_secret(path)
    assert path.read_bytes() == content


@pytest.mark.platform("T5")
@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_secret_is_refused(missing: str | None) -> None:
    """T5: no start with a missing secret outside embedded mode."""
    with pytest.raises(SecretRefused, match="CHATTER_SECRET is not set"):
        check_secret(missing)


@pytest.mark.platform("T5")
@pytest.mark.parametrize("short", ["x", GOOD[:31]])
def test_a_short_secret_is_refused(short: str) -> None:
    """T5: no start with a secret that can be searched for."""
    with pytest.raises(SecretRefused, match="at least 32"):
        check_secret(short)


@pytest.mark.platform("T5")
@pytest.mark.parametrize(
    "known",
    [
        "changeme" * 5,
        "Change-Me-Before-You-Go-To-Production-1234567890",
        "your-secret-key-here-1234567890-abcdefgh",
        "this-is-an-INSECURE-development-key-0123456789",
        "a" * 64,
        "abcabcabcabcabcabcabcabcabcabcabcabcabc",
    ],
)
def test_a_default_or_guessable_secret_is_refused_without_being_shown(known: str) -> None:
    """T5: no start with a default secret outside embedded mode."""
    with pytest.raises(SecretRefused) as refused:
        check_secret(known)
    assert known not in str(refused.value)


def test_a_random_secret_is_taken_as_it_is() -> None:
    assert check_secret(GOOD) == GOOD.encode()


def test_each_purpose_has_its_own_key_and_a_secret_always_the_same_ones() -> None:
    keys = derive_keys(GOOD.encode())
    values = {keys.cursors, keys.page_tokens, keys.api_keys, keys.sealing}
    assert len(values) == 4
    assert all(len(value) == 32 for value in values)
    assert derive_keys(GOOD.encode()) == keys
    assert derive_keys(GOOD.encode() + b"x") != keys


@pytest.mark.platform("T7")
def test_derived_keys_do_not_show_themselves() -> None:
    """T7: printing the keys, as a log line might, shows none of them; the namespace is no key."""
    keys = derive_keys(GOOD.encode())
    assert repr(keys) == f"DerivedKeys(namespace={keys.namespace!r})"
