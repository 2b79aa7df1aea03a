"""A secret that is lost is noticed before another one takes its place (T5)."""

from pathlib import Path

import pytest

from chatter_grpc.adapters.tokens.secret import SecretRefused
from chatter_grpc.app.identity import open_accounts, open_signing_keys
from chatter_grpc.config import load_settings

pytestmark = pytest.mark.platform("T5")


async def test_a_start_without_the_secret_that_the_database_knows_is_refused_and_makes_none(tmp_path: Path) -> None:
    """T5: with another secret nobody would stay logged in, and the one that comes from a backup would be in the way."""
    settings = load_settings(data_dir=tmp_path)
    async with open_accounts(settings) as accounts:
        await accounts.create_service(username="robot")
    secret = tmp_path / "secret"
    kept = secret.read_bytes()
    secret.unlink()
    for opened in (open_accounts, open_signing_keys):
        with pytest.raises(SecretRefused, match="is missing"):
            async with opened(settings):
                pass
    assert not secret.exists()
    secret.write_bytes(kept)
    secret.chmod(0o600)
    async with open_signing_keys(settings) as keys:
        assert await keys.private(keys.kid) is not None


async def test_nothing_is_made_with_another_secret_than_the_databases(tmp_path: Path) -> None:
    """T5: a key that is hashed under it would open nothing."""
    settings = load_settings(data_dir=tmp_path)
    async with open_accounts(settings):
        pass
    secret = tmp_path / "secret"
    secret.unlink()
    other = load_settings(data_dir=tmp_path / "other")
    async with open_accounts(other):
        pass
    (tmp_path / "other" / "secret").rename(secret)
    with pytest.raises(SecretRefused, match="another secret"):
        async with open_accounts(settings):
            pass
