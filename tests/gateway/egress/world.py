"""A store with writers and followers, without a service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg

from gateway.egress.following import Follower, connect
from gateway.store.writer import Writer
from tests.gateway.store.test_writer import Store, new_writer

TERMINALS = (
    "INSERT INTO terminal (identity, protocol, created_at) SELECT 'T' || n, 'teltonika', now() - interval '1 hour' "
    "FROM generate_series(1, 20) n ORDER BY n ON CONFLICT DO NOTHING"
)


@contextlib.asynccontextmanager
async def store_of(dsn: str) -> AsyncIterator[Store]:
    """A writer over a connection of its own; terminals T1 to T20 are registered."""
    link = await Writer.open(dsn)
    try:
        await link.execute(TERMINALS)
        writer = new_writer()
        await writer.prepare(link)
        yield Store(dsn, writer, link)
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def link_to(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    link = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with link:
        yield link


@contextlib.asynccontextmanager
async def following(dsn: str, name: str = "a", start: str = "now", *terminals: str) -> AsyncIterator[Follower]:
    """A follower that holds its cursor."""
    link = await connect(dsn)
    try:
        follower = Follower(link, name, start, terminals)
        async with asyncio.timeout(10):  # the server takes a moment to let go of who had it before
            while not await follower.take():  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)
        yield follower
    finally:
        await link.close()


__all__ = ["following", "link_to", "store_of"]
