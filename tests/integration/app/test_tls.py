"""What others can reach is encrypted, or somebody has said that it need not be."""

import asyncio
import os
from pathlib import Path

import pytest

from chatter_grpc.app.tls import open_certificate, stays_on_this_machine
from chatter_grpc.config import ConfigurationFault, load_settings
from chatter_grpc.core.certificates import Certificate
from tests.support.certificates import issue


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("CHATTER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    cert, key = issue("chat.example.org", issuer=issue("authority")).write(tmp_path, "server")
    return {"tls_cert_file": cert, "tls_key_file": key}


async def opened(**given: object) -> Certificate | None:
    return await open_certificate(await asyncio.to_thread(lambda: load_settings(**given)))


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/run/chatter"])
async def test_this_machine_is_served_unencrypted(listen: str) -> None:
    assert await opened(listen=listen) is None


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "chat.example.org:1"])
async def test_other_machines_are_not_unless_it_is_said(listen: str) -> None:
    assert not stays_on_this_machine(listen)
    with pytest.raises(ConfigurationFault) as caught:
        await opened(listen=listen)
    assert str(caught.value).startswith(f"CHATTER_LISTEN: {listen} can be reached from other machines")
    assert "CHATTER_INSECURE=true" in str(caught.value)
    assert await opened(listen=listen, insecure=True) is None


async def test_other_machines_are_served_with_a_certificate(files: dict[str, Path]) -> None:
    found = await opened(listen="0.0.0.0:1", **files)
    assert found is not None
    assert found.names == ("chat.example.org",)


@pytest.mark.parametrize("setting", ["tls_key_file", "tls_client_ca_file"])
async def test_half_of_the_settings_is_refused(setting: str, files: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationFault, match=f"^CHATTER_{setting.upper()}: needs CHATTER_TLS_CERT_FILE"):
        await opened(**{setting: files["tls_cert_file"]})
    with pytest.raises(ConfigurationFault, match=r"^CHATTER_TLS_CERT_FILE: needs CHATTER_TLS_KEY_FILE"):
        await opened(tls_cert_file=files["tls_cert_file"])


async def test_to_be_encrypted_and_insecure_is_a_contradiction(files: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationFault, match=r"^CHATTER_INSECURE: "):
        await opened(insecure=True, **files)


async def test_a_file_that_cannot_be_used_is_told_by_its_setting(files: dict[str, Path]) -> None:
    files["tls_key_file"].unlink()
    with pytest.raises(ConfigurationFault, match=r"^CHATTER_TLS_KEY_FILE: .*server.key: no such file or directory$"):
        await opened(**files)
