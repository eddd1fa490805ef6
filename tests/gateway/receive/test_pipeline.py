"""What a batch's sources hear of it, and what is counted of a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from gateway.metrics import ReceiveMetrics
from gateway.receive.disk import Directory
from gateway.receive.pipeline import Pipeline
from gateway.receive.spool import Spool
from gateway.store.writer import Writer
from protocols.records import Frame, Reply
from protocols.registry import protocol
from protocols.teltonika.declaration import CODEC_8, avl_payload, avl_record, tcp_frame


class Heard:
    """A source that writes down what it hears; `bad`: its ack fails."""

    def __init__(self, *, bad: bool = False) -> None:
        self.protocol, self.terminal, self.row = 0, "356938035643809", 1
        self.bad = bad
        self.heard: list[str] = []

    def committed(self, items: Sequence[Any], refused: Sequence[Any] = ()) -> None:
        assert not refused
        if self.bad:
            raise ValueError("a bug")
        self.heard.append(f"{len(items)} kept")

    def abandoned(self) -> None:
        self.heard.append("abandoned")


async def away() -> Any:
    raise psycopg.OperationalError("away")


async def registered(identity: str, name: str) -> int:
    return 1


async def pipeline(folder: Path) -> tuple[Pipeline, ReceiveMetrics]:
    spool = Spool(Directory(folder), 1 << 20)
    await spool.open()
    metrics = ReceiveMetrics(["teltonika"])
    return Pipeline(away, Writer(1), spool, [protocol("teltonika")], metrics, {}, registered), metrics


def test_an_ack_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    async def run() -> list[list[str]]:
        made, _ = await pipeline(tmp_path)
        sources = [Heard(), Heard(bad=True), Heard()]
        for source in (*sources, sources[0]):
            made.put(source, Reply(b"\x01"), asyncio.get_running_loop().time())
        async with asyncio.timeout(5):
            await made.drain()
        await made.close()
        return [source.heard for source in sources]

    first, second, third = asyncio.run(run())
    assert first == ["1 kept", "1 kept"]
    assert second == ["abandoned"]
    assert third == ["1 kept"]


def test_what_goes_to_the_spool_is_no_commit(tmp_path: Path) -> None:
    record = avl_record(
        timestamp=1_700_000_000_000, latitude=0, longitude=0, altitude=0, angle=0, satellites=5, speed=0, items=()
    )

    async def run() -> tuple[list[str], int, int, int]:
        made, metrics = await pipeline(tmp_path)
        source = Heard()
        made.put(source, Frame(tcp_frame(avl_payload(CODEC_8, [record])), 1, 0, 0), asyncio.get_running_loop().time())
        async with asyncio.timeout(10):
            await made.drain()
        await made.close()
        return (
            source.heard,
            made.keeper.spool.frames,
            int(metrics.commit.counts.sum()),
            int(metrics.ack[0].counts.sum()),
        )

    heard, spooled, commits, acks = asyncio.run(run())
    assert heard == ["1 kept"]
    assert (spooled, commits, acks) == (1, 0, 1)
