"""Files that a server could not use are refused, each with the setting that names it and what is wrong."""

import re
from pathlib import Path

import pytest

from chatter_grpc.adapters.tls.files import CertificateFiles, CertificateRefused
from tests.support.certificates import DAY, NOW, issue

CA = issue("authority")
SERVER = issue("chat.example.org", "127.0.0.1", issuer=CA, ends_at=NOW + 30 * DAY)


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    cert, key = SERVER.write(tmp_path, "server")
    client_ca = tmp_path / "clients.pem"
    client_ca.write_bytes(CA.cert_pem)
    return CertificateFiles(cert_file=cert, key_file=key, client_ca_file=client_ca)


def refusal(files: CertificateFiles) -> tuple[str, str]:
    with pytest.raises(CertificateRefused) as caught:
        files.read()
    return caught.value.part, str(caught.value)


def test_a_certificate_is_read_with_its_names_and_its_time(files: CertificateFiles) -> None:
    found = files.read()
    assert found.names == ("chat.example.org", "127.0.0.1")
    assert (found.begins_at, found.ends_at) == (NOW - DAY, NOW + 30 * DAY)
    assert (found.chain, found.client_roots) == (SERVER.cert_pem, CA.cert_pem)


def test_the_key_is_not_shown(files: CertificateFiles) -> None:
    assert "PRIVATE" not in repr(files.read())


def test_of_a_chain_the_first_certificate_is_the_servers_own(files: CertificateFiles) -> None:
    files.cert_file.write_bytes(SERVER.cert_pem + CA.cert_pem)
    assert files.read().names == ("chat.example.org", "127.0.0.1")
    files.cert_file.write_bytes(CA.cert_pem + SERVER.cert_pem)
    assert refusal(files)[0] == "key_file"


@pytest.mark.parametrize("part", ["cert_file", "key_file", "client_ca_file"])
def test_a_missing_file_is_named(part: str, files: CertificateFiles) -> None:
    path: Path = getattr(files, part)
    path.unlink()
    assert refusal(files) == (part, f"{path}: no such file or directory")


@pytest.mark.parametrize("part", ["cert_file", "key_file", "client_ca_file"])
def test_a_file_that_holds_something_else_is_named(part: str, files: CertificateFiles) -> None:
    path: Path = getattr(files, part)
    path.write_text("-----BEGIN NOTHING-----\n-----END NOTHING-----\n")
    found, message = refusal(files)
    assert found == part
    assert re.fullmatch(rf"{path} holds no (certificate|private key) in PEM", message)


def test_a_key_of_another_certificate_is_refused(files: CertificateFiles) -> None:
    files.key_file.write_bytes(issue("chat.example.org", issuer=CA).key_pem())
    assert refusal(files) == ("key_file", f"{files.key_file} is not the key of the certificate in {files.cert_file}")


def test_a_key_with_a_password_is_refused(files: CertificateFiles) -> None:
    files.key_file.write_bytes(SERVER.key_pem(b"planted"))
    assert refusal(files) == ("key_file", f"{files.key_file} is encrypted with a password: store it without one")


def test_an_expired_certificate_is_read_all_the_same(files: CertificateFiles) -> None:
    old = issue("chat.example.org", issuer=CA, begins_at=NOW - 2 * DAY, ends_at=NOW - DAY)
    files.cert_file.write_bytes(old.cert_pem)
    files.key_file.write_bytes(old.key_pem())
    assert files.read().ends_at == NOW - DAY
