"""Opens the database and the secret of the settings."""

import asyncio
from contextlib import AsyncExitStack

from chatter_grpc.adapters.files.data_dir import make_data_dir
from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import DatabaseOptions
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.sql.urls import parse_url
from chatter_grpc.adapters.tokens.secret import DerivedKeys, check_secret, derive_keys, load_or_create_secret
from chatter_grpc.config import ConfigurationFault, Settings


async def migrate(settings: Settings) -> None:
    """Bring the database's schema up to date."""
    if settings.embedded:
        await asyncio.to_thread(make_data_dir, settings.data_dir)
    await schema.migrate(database_url(settings))


def database_url(settings: Settings) -> str:
    """Return the database's URL; raises ``ConfigurationFault`` where it is none."""
    try:
        parse_url(settings.database)
    except ValueError as error:
        raise ConfigurationFault(f"CHATTER_DATABASE_URL: {error}") from None
    return settings.database


async def open_storage(stack: AsyncExitStack, settings: Settings) -> SqlStorage:
    """Open the storage on the settings' database; raises as ``open_database``."""
    database = await open_database(stack, settings)
    return SqlStorage(database)


async def open_database(stack: AsyncExitStack, settings: Settings) -> Database:
    """Open the database; the embedded one is brought up to date, any other has to be (``ConfigurationFault``)."""
    if settings.embedded:
        await migrate(settings)
    elif not await schema.is_current(database_url(settings)):
        raise ConfigurationFault("The database's schema is not up to date: run `chatter-grpc migrate` first.")
    options = DatabaseOptions(
        pool_size=settings.database_pool_size,
        acquire_seconds=settings.database_seconds,
        statement_seconds=settings.database_seconds,
    )
    database = Database(settings.database, options)
    stack.push_async_callback(database.close)
    return database


async def open_keys(storage: SqlStorage, settings: Settings) -> DerivedKeys:
    """Derive all keys from the secret of a storage that is open; raises ``SecretRefused``.

    The storage is asked first: whoever makes a secret makes it before the first signing key that is sealed under it.
    """
    async with storage.read() as tx:
        used = bool(await tx.signing_keys.list())
    return await asyncio.to_thread(keys_of, settings, may_create=not used)


def keys_of(settings: Settings, *, may_create: bool = True) -> DerivedKeys:
    """Derive all keys from the secret; ``may_create`` says whether it may be made where it is missing. Blocks."""
    if settings.secret is not None:
        return derive_keys(check_secret(settings.secret.get_secret_value()))
    if not settings.embedded:
        return derive_keys(check_secret(None))
    return derive_keys(load_or_create_secret(settings.data_dir / "secret", may_create=may_create))
