"""What commands share: settings, the store whether the service runs or not."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg
from psycopg_pool import AsyncConnectionPool

from gateway import config
from gateway.errors import EmbeddedStoreError, InUseError
from gateway.lock import DataDirectoryLock
from gateway.settings import Settings
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate

_WAIT = 30.0  # s for a service that is starting


def load_settings(args: argparse.Namespace) -> Settings:
    """The settings that this command's `--config` and the environment give."""
    return config.load(args.config)


def with_pool(settings: Settings, work: Callable[[AsyncConnectionPool], Awaitable[int]]) -> int:
    """Run `work` with a pool on the store; the embedded one is started for it when no service runs."""
    if settings.store.dsn:
        migrate(settings.store.dsn)
        return asyncio.run(_with_pool(settings.store.dsn, work))
    server = EmbeddedServer(settings.data_dir)
    lock = DataDirectoryLock(settings.data_dir)
    try:
        lock.acquire()
    except InUseError:
        _wait_for(server)
        return asyncio.run(_with_pool(server.dsn, work))
    try:
        server.ensure_running()
        migrate(server.dsn)
        return asyncio.run(_with_pool(server.dsn, work))
    finally:
        server.stop()
        lock.release()


def _wait_for(server: EmbeddedServer) -> None:
    """A service that holds the directory may still be starting its store."""
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            with psycopg.connect(server.dsn, connect_timeout=5) as link:
                link.execute("SELECT FROM schema_version")
                return
        except psycopg.Error as error:
            if time.monotonic() > deadline:
                raise EmbeddedStoreError(f"the running service's store does not answer: {error}") from error
            time.sleep(0.2)


async def _with_pool(dsn: str, work: Callable[[AsyncConnectionPool], Awaitable[int]]) -> int:
    async with AsyncConnectionPool(dsn, min_size=1, max_size=2, kwargs={"autocommit": True}) as pool:
        return await work(pool)
