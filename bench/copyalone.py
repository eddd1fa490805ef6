"""COPY alone: what PostgreSQL stores from prepared buffers into the same table, with nothing else to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np
import psycopg
import uvloop

from bench.generator import make_frames
from gateway.store.copy import COLUMNS, Rows, encode
from gateway.store.writer import Writer
from protocols.records import Batch, Frame
from protocols.registry import protocol

FIRST_ROW = 1_000_000  # no terminal of the gateway has such a row


@dataclass(frozen=True, slots=True)
class Shape:
    """How the rows come: as those of so many terminals, so many of one terminal in a row."""

    terminals: int
    records: int


def measure(dsn: str, shape: Shape, *, connections: int, batch: int, seconds: float) -> float:
    """Records stored per second over `connections`, `batch` rows each COPY.

    The rows are laid out like those the gateway writes of such terminals (same frames, same layout) and go into the
    same table with its indexes, each COPY a transaction of its own. The buffers are made beforehand.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(dsn, shape, connections, batch, seconds))


async def _nobody(identity: str, protocol: str) -> int:
    return -1  # nothing is written by it


async def _measure(dsn: str, shape: Shape, connections: int, batch: int, seconds: float) -> float:
    writer = Writer(1, {}, _nobody)
    link = await Writer.open(dsn)
    await writer.prepare(link)
    decoded = _batch(shape, batch)
    layouts = await writer.layouts.resolve(link, decoded, np.ones(batch, np.int32))
    await link.close()
    links = [await psycopg.AsyncConnection.connect(dsn, autocommit=True) for _ in range(connections)]
    count = int(seconds * 600_000 / batch / connections) + 1
    buffers = _buffers(decoded, layouts, shape, count * connections)

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
        await asyncio.gather(
            *(one(link, buffers[n::connections], begun + seconds) for n, link in enumerate(links))
        )
    )  # fmt: skip
    took = time.perf_counter() - begun
    for link in links:
        await link.close()
    return stored / took


def _batch(shape: Shape, rows: int) -> Batch:
    """`rows` decoded records, frame by frame as they come from the wire."""
    count = -(-rows // shape.records)
    data, size = make_frames(0, count, shape.records, start_ms=0)
    frames = [Frame(data[at : at + size], shape.records) for at in range(0, len(data), size)]
    batch = protocol("teltonika").decode(frames).batch
    if len(batch) != rows:
        raise ValueError(f"{rows} rows are no whole number of frames of {shape.records}")
    return batch


def _buffers(batch: Batch, layouts: list[int], shape: Shape, count: int) -> list[bytes]:
    """`count` COPY streams; each terminal's times grow by a millisecond a record."""
    rows = len(batch)
    base = int(time.time() * 1e6) - 600_000_000
    random = np.random.default_rng()
    made = []
    for n in range(count):
        order = np.arange(n * rows, (n + 1) * rows)
        turn, place = np.divmod(order, shape.records * shape.terminals)
        terminal = (FIRST_ROW + place // shape.records).astype(np.int32)
        moment = base + (turn * shape.records + place % shape.records) * 1000
        batch.fingerprint = random.integers(-(2**62), 2**62, rows)
        made.append(encode(Rows(batch, terminal, moment, moment, np.zeros(rows, np.int8), layouts)))
    return made
