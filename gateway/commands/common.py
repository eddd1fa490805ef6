"""What commands share: settings, the store whether the service runs or not."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool

from gateway.configuration import reading
from gateway.configuration.settings import Settings
from gateway.errors import EmbeddedStoreError, InUseError
from gateway.service.lock import DataDirectoryLock
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate, require
from gateway.store.restore import finish
from gateway.store.session import fit

T = TypeVar("T")

_WAIT = 30.0  # s for a service that is starting


def load_settings(args: argparse.Namespace) -> Settings:
    """The settings that this command's `--config` and the environment give."""
    return reading.load(args.config)


def with_pool(settings: Settings, work: Callable[[AsyncConnectionPool], Awaitable[int]]) -> int:
    """Run `work` with a pool on the store; the embedded one is started for it when no service runs.

    Raises
    ------
    SchemaError
        If a service runs on another schema than this version's; nothing has changed then.
    """
    return with_dsn(settings, lambda dsn: asyncio.run(_with_pool(dsn, work)))


def with_dsn(settings: Settings, work: Callable[[str], T]) -> T:
    """Run `work` with the store's DSN; as `with_pool`."""
    if settings.store.dsn:
        migrate(settings.store.dsn)
        return work(settings.store.dsn)

    def checked(server: EmbeddedServer) -> T:
        require(server.dsn)  # a running service's schema is not ours to change
        return work(server.dsn)

    return with_embedded(settings, checked)


def migrated(settings: Settings, patience: float) -> list[str]:
    """Bring the schema up to date and return what was applied; services have `patience` seconds to end.

    Raises
    ------
    SchemaError
        As in `with_pool`.
    """
    if settings.store.dsn:
        return migrate(settings.store.dsn, patience)
    applied: list[str] = []
    with_embedded(settings, lambda server: require(server.dsn), applied.extend)
    return applied


def with_embedded(
    settings: Settings,
    work: Callable[[EmbeddedServer], T],
    applied: Callable[[list[str]], None] | None = None,
) -> T:
    """Run `work` with the embedded store running: the service's, or started for it when no service runs.

    `applied` is told which migrations that took; under a running service there are none.
    """
    server = EmbeddedServer(settings.data_dir)
    lock = DataDirectoryLock(settings.data_dir)
    try:
        lock.acquire()
    except InUseError:
        _wait_for(server)
        return work(server)
    try:
        finish(settings.data_dir)
        server.ensure_running()
        done = migrate(server.dsn)
        if applied is not None:
            applied(done)
        return work(server)
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
    async with AsyncConnectionPool(fit(dsn), min_size=1, max_size=2, kwargs={"autocommit": True}) as pool:
        return await work(pool)
