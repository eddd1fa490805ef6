"""What it costs a batch to tell consumers which records it stores, and how quickly they are read to be sent.

    python -m bench.egress [--json]

Makes a durable store of its own in a temporary folder and writes batches by the gateway's writer, in turn without a
consumer and with one, so that a machine whose pace drifts does so for both. Milliseconds a batch by the clock, and of
processor time (writer and its server process), the median of blocks; the ratio is that of processor time, block by
block. Then reads what was told as a consumer's process does, up to the payloads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.generator import make_frames
from gateway.egress.following import Follower, connect
from gateway.store.copy import Rows
from gateway.store.cursors import NOW, ensure, forget
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate
from gateway.store.writer import Job, Writer
from protocols.records import Frame
from protocols.registry import protocol

SIZES = {1: 200, 50: 100, 400: 40, 4000: 10}  # records in a batch: batches in a block
BLOCKS = 10  # of each kind, in turn


class Batches:
    """Batches of live records of a thousand terminals, each newer than the last."""

    def __init__(self) -> None:
        self._ms = time.time_ns() // 1_000_000 - 3_600_000
        self._identities = [(f"{350_000_000_000_000 + n}", "teltonika") for n in range(1000)]

    def make(self, records: int) -> Job:
        """One of so many."""
        data, size = make_frames(0, records, 1, start_ms=self._ms)
        self._ms += 1
        frames = [Frame(data[at : at + size], 1) for at in range(0, len(data), size)]
        batch = protocol("teltonika").decode(frames).batch
        place = np.arange(records)
        batch.time = np.full(records, self._ms * 1000) + place // 1000
        rows = Rows(
            batch, (place % 1000).astype(np.int32), batch.time.copy(), batch.time, np.zeros(records, np.int8), []
        )
        return Job(rows, self._identities)


async def measure(dsn: str) -> dict[str, Any]:
    """Both."""
    registry: dict[str, int] = {}
    link, other = await Writer.open(dsn), await connect(dsn)
    batches = Batches()
    for identity, _ in batches.make(1).identities:
        row = await (
            await link.execute(
                "INSERT INTO terminal (identity, protocol) VALUES (%s, 'teltonika') RETURNING id", (identity,)
            )
        ).fetchone()
        registry[identity] = row[0] if row is not None else -1

    async def nobody(identity: str, protocol: str) -> int:
        return -1

    writer = Writer(1, registry, nobody)
    await writer.prepare(link)

    backend = psutil.Process(link.info.backend_pid)

    async def one(job: Job) -> None:
        await writer.write(link, job, time.time_ns() // 1000)

    async def block(size: int, count: int) -> tuple[float, float]:
        """Milliseconds a batch: by the clock, of processor time."""
        jobs = [batches.make(size) for _ in range(count)]
        busy, begun = _busy(backend), time.perf_counter()
        for job in jobs:
            await one(job)
        return (time.perf_counter() - begun) / count * 1000, (_busy(backend) - busy) / count * 1000

    told: dict[str, Any] = {"batch": []}
    for size, count in SIZES.items():
        await block(size, count)
        without, with_ = [], []
        for _ in range(BLOCKS):
            await forget(other, "bench")
            writer.telling = False
            without.append(await block(size, count))
            await ensure(other, [("bench", NOW)])
            writer.telling = True
            with_.append(await block(size, count))
        row: dict[str, Any] = {"records": size}
        for name, found in (("without", without), ("with", with_)):
            row[f"{name}_ms"] = round(statistics.median(wall for wall, _ in found), 3)
            row[f"{name}_cpu_ms"] = round(statistics.median(cpu for _, cpu in found), 3)
        row["cpu_ratio"] = round(statistics.median(b[1] / a[1] for a, b in zip(without, with_, strict=True)), 3)
        told["batch"].append(row)
    for _ in range(10):
        await one(batches.make(4000))
    follower = Follower(other, "bench", NOW, ())
    await follower.take()
    begun, read = time.perf_counter(), 0
    while (page := await follower.page()) is not None:
        for payload in await follower.payloads.read(page.keys):
            if payload is not None:
                payload.encoded()
        await follower.move(page, 0, len(page.keys))
        read += len(page.keys)
    told["payloads_per_s"] = round(read / (time.perf_counter() - begun))
    await link.close()
    await other.close()
    return told


def _busy(backend: psutil.Process) -> float:
    """Processor seconds of this process and of the server's that serves it."""
    times = backend.cpu_times()
    return time.process_time() + times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dozor-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder) / "data")
        server.ensure_running()
        try:
            migrate(server.dsn)
            told = asyncio.run(measure(server.dsn))
        finally:
            server.stop()
    if args.json:
        print(json.dumps(told))
        return
    for row in told["batch"]:
        print(
            f"{row['records']:5} records a batch: {row['without_ms']:7.3f} ms ({row['without_cpu_ms']:.3f} of processor"
            f" time) without a consumer, {row['with_ms']:7.3f} ({row['with_cpu_ms']:.3f}) with one,"
            f" ratio {row['cpu_ratio']:.3f}"
        )
    print(f"read to be sent: {told['payloads_per_s']} records/s")


if __name__ == "__main__":
    main()
