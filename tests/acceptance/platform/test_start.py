"""A server that would not be safe does not start (T5)."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes import run_command

# How each is refused; the rest of the line says what to do.
REFUSED: Final = {
    None: "CHATTER_SECRET is not set.",
    "changeme-changeme-changeme-changeme": "CHATTER_SECRET is a well-known or a guessable value.",
}


@pytest.mark.platform("T5")
async def test_no_server_starts_on_a_shared_database_without_a_good_secret(tmp_path: Path, postgres_url: str) -> None:
    """T5: one clear line, which does not repeat the value, and the exit code of a wrong configuration."""

    def start(secret: str | None) -> tuple[int, str, str]:
        given = {"database_url": postgres_url, **({} if secret is None else {"secret": secret})}
        done = run_command(tmp_path, "serve", "--listen", "127.0.0.1:0", **given)
        return done.returncode, done.stdout, done.stderr

    found = await asyncio.gather(*(asyncio.to_thread(start, secret) for secret in REFUSED))
    for (secret, said), (code, out, err) in zip(REFUSED.items(), found, strict=True):
        assert (code, out) == (2, "")
        assert err.startswith(f"chatter-grpc: {said}")
        assert err.count("\n") == 1
        assert secret is None or secret not in err
