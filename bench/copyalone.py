"""COPY alone: what PostgreSQL stores from prepared buffers into the same table, with nothing else to do."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import psycopg

from bench.generator import ITEMS
from gateway.store.copy import COLUMNS, Rows, encode
from gateway.store.writer import Writer
from protocols.records import Frame
from protocols.registry import protocol
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record


async def measure(dsn: str, *, connections: int, batch: int, seconds: float) -> float:
    """Records stored per second."""
    links = [await psycopg.AsyncConnection.connect(dsn, autocommit=True) for _ in range(connections)]
    writer = Writer(1)
    opened = await Writer.open(dsn)
    await writer.prepare(opened)
    base = int(time.time() * 1e6) - 172_800_000_000
    frame = Frame(
        avl_frame(CODEC_8, [avl_record(timestamp=1, latitude=1, longitude=1, satellites=9, items=ITEMS)] * 20), 20
    )
    decoded = protocol("teltonika").decode([frame] * (batch // 20)).batch
    layouts = await writer.layouts.resolve(opened, decoded, np.ones(batch, np.int32))
    await opened.close()
    count = int(seconds * 700_000 / batch / connections) + 1
    terminals = 200
    buffers: list[list[bytes]] = [[] for _ in links]
    rng = np.random.default_rng(int(time.time()))
    serial = 0
    for n in range(count):
        for mine in buffers:
            order = np.arange(serial, serial + batch)
            serial += batch
            terminal = (1_000_000 + order // 20 % terminals).astype(np.int32)
            moment = base + order * 1000
            decoded.fingerprint = rng.integers(-(2**62), 2**62, batch)
            rows = Rows(decoded, terminal, moment, moment, np.zeros(batch, np.int8), layouts)
            mine.append(encode(rows))
        if n * batch * connections > seconds * 500_000:
            break

    async def one(link: psycopg.AsyncConnection, mine: list[bytes], until: float) -> int:
        stored = 0
        for data in mine:
            async with (
                link.cursor() as cursor,
                cursor.copy(f"COPY record ({COLUMNS}) FROM STDIN (FORMAT binary)") as copy,
            ):
                await copy.write(data)
            stored += batch
            if time.perf_counter() > until:
                break
        return stored

    begun = time.perf_counter()
    stored = sum(
        await asyncio.gather(*(one(link, mine, begun + seconds) for link, mine in zip(links, buffers, strict=True)))
    )
    took = time.perf_counter() - begun
    for link in links:
        await link.execute("DELETE FROM record WHERE terminal >= 1000000")
        await link.close()
    return stored / took
