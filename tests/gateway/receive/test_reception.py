"""What the service may expect of receiving, whoever does it: this process, or workers. One suite for both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from gateway.configuration.reading import load
from gateway.errors import GatewayError
from gateway.metrics import ReceiveMetrics
from gateway.parts import Parts
from gateway.receive.reception import Receiving, Reception
from gateway.store.partitions import week_of
from gateway.watch.contacts import unpack
from gateway.watch.detecting import DETECTORS
from gateway.workers.parent import Workers
from protocols.registry import RECEIVED
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests.harness import free_port

IMEI = "356938035643809"
CONNECTED: list[asyncio.StreamWriter] = []


class Ready:
    """A reception that accepts terminals, and what it told of what it accepted."""

    def __init__(self, reception: Reception, metrics: ReceiveMetrics, dsn: str, heard: list[int]) -> None:
        self.reception, self.metrics, self.dsn, self.heard = reception, metrics, dsn, heard

    @property
    def port(self) -> int:
        return int(self.reception.addresses["teltonika"][0].rpartition(":")[2])

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as link:
            return link.execute(sql.encode(), values or None).fetchall()

    async def stored(self, count: int) -> None:
        """So many records are in the store: before the ack, or on a machine that stood still, after the drain."""
        await self.until(lambda: self.query("SELECT count(*) FROM telemetry") == [(count,)])

    async def until(self, condition: Callable[[], bool], refreshed: bool = True) -> None:
        for _ in range(300):
            if refreshed:
                await self.reception.refresh()
            if condition():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("it did not come to that")


@asynccontextmanager
async def _opened(count: int, dsn: str, folder: Path) -> AsyncIterator[Ready]:
    settings = load(None, {
        "DOZOR_DATA_DIR": str(folder), "DOZOR_STORE__DSN": dsn, "DOZOR_LISTEN": f"teltonika=127.0.0.1:{free_port()}",
        "DOZOR_WATCH__FIRMWARE__ASK": "false",
    }, implicit=False)  # fmt: skip
    pool = AsyncConnectionPool(dsn, open=False, min_size=1, max_size=4, kwargs={"autocommit": True})
    await pool.open(wait=True)
    parts = Parts()
    heard: list[int] = []
    reception: Reception
    if count > 1:

        def told(packed: Mapping[str, bytes]) -> None:
            heard.extend(unpack(packed, DETECTORS).contacts.terminal.tolist())

        workers = Workers(settings, dsn, pool, parts, RECEIVED, count, told)
        reception, metrics = workers, cast(ReceiveMetrics, workers.metrics)
    else:
        metrics = ReceiveMetrics(list(RECEIVED))
        receiving = Receiving(settings, dsn, pool, parts, metrics)
        receiving.on_accepted.append(lambda batch: heard.extend(batch.frame_terminal.tolist()))
        reception = receiving
    try:
        await reception.open()
        await reception.listen()
        yield Ready(reception, metrics, dsn, heard)
    finally:
        await parts.stop()
        await pool.close()


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.soak)], ids=["one process", "workers"])
def play(
    request: pytest.FixtureRequest, postgres_dsn: str, tmp_path: Path
) -> Callable[[Callable[[Ready], Awaitable[None]]], None]:
    def run(scenario: Callable[[Ready], Awaitable[None]]) -> None:
        async def inside() -> None:
            async with asyncio.timeout(90), _opened(request.param, postgres_dsn, tmp_path) as ready:
                try:
                    await scenario(ready)
                finally:
                    while CONNECTED:
                        CONNECTED.pop().close()
                    await asyncio.sleep(0)

        asyncio.run(inside())

    return run


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    CONNECTED.append(writer)
    writer.write(login(IMEI))
    assert await asyncio.wait_for(reader.readexactly(1), 10) == b"\x01"
    return reader, writer


async def _close(link: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """The transport goes before its loop does."""
    link[1].close()
    with suppress(ConnectionError):
        await link[1].wait_closed()


async def _send(link: tuple[asyncio.StreamReader, asyncio.StreamWriter], moment: int) -> None:
    link[1].write(avl_frame(CODEC_8, [avl_record(timestamp=moment, satellites=5)]))
    assert await asyncio.wait_for(link[0].readexactly(4), 10) == bytes((0, 0, 0, 1))


def test_it_accepts_tells_and_stores(play: Any) -> None:
    async def scenario(ready: Ready) -> None:
        reception = ready.reception
        assert reception.reasons() == set()
        begun = time.time()
        link = await _connect(ready.port)
        await _send(link, int(begun * 1000))
        await ready.stored(1)
        ((row,),) = ready.query("SELECT id FROM terminal")
        await ready.until(lambda: reception.connected_count() == 1)
        await ready.until(lambda: (reception.store_up, reception.spool_bytes, reception.spool_frames) == (True, 0, 0))
        found = await reception.last_contacts([IMEI, "nobody"])
        assert set(found) == {IMEI}
        assert begun - 1 < found[IMEI] < time.time() + 1
        await ready.until(lambda: ready.heard == [row])  # the watch is told by rows of the table
        list(ready.metrics.collect())
        assert int(ready.metrics.records.sum()) == 1
        await _close(link)
        await ready.until(lambda: reception.connected_count() == 0)
        assert await reception.last_contacts([IMEI]) == {}

    play(scenario)


def test_while_the_store_is_away_it_spools_and_drains_when_it_is_back(play: Any) -> None:
    async def scenario(ready: Ready) -> None:
        reception = ready.reception
        link = await _connect(ready.port)
        with psycopg.connect(ready.dsn) as holder:
            holder.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
            await _send(link, 1_790_000_000_000)
            await ready.until(lambda: not reception.store_up)
            assert reception.spool_frames == 1
            assert reception.spool_bytes > 0
            assert reception.reasons() == set()  # it takes frames
        await ready.until(lambda: reception.store_up and reception.spool_frames == 0)
        await ready.stored(1)
        await _close(link)

    play(scenario)


def test_other_settings_are_prepared_first_and_lose_no_connection(play: Any) -> None:
    async def scenario(ready: Ready) -> None:
        reception = cast(Any, ready.reception)
        link = await _connect(ready.port)
        before = ready.port
        settings = reception._settings if isinstance(reception, Workers) else reception.settings
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        listen = settings.listen[0]
        used = msgspec.structs.replace(listen, port=taken.sockets[0].getsockname()[1])
        with pytest.raises(GatewayError):
            await reception.prepare(msgspec.structs.replace(settings, listen=(used,)))
        taken.close()
        other = msgspec.structs.replace(settings, listen=(msgspec.structs.replace(listen, port=free_port()),))
        change = await reception.prepare(other)
        await _send(link, 1_790_000_001_000)
        await reception.reconfigure(other, change)
        await ready.until(lambda: ready.port != before)
        await _send(link, 1_790_000_002_000)  # over the connection that was open
        another = await _connect(ready.port)
        await _send(another, 1_790_000_003_000)
        await ready.stored(3)
        for one in (link, another):
            await _close(one)

    play(scenario)


def test_a_partition_that_is_gone_is_made_again(play: Any) -> None:
    """Retention let it go, in another process; a record of that week blames no frame."""

    async def scenario(ready: Ready) -> None:
        link = await _connect(ready.port)
        old = int((datetime.now(UTC) - timedelta(days=40)).timestamp() * 1000)
        await _send(link, old)
        week = datetime.fromtimestamp(week_of(old * 1000) / 1e6, UTC)
        made = f"SELECT to_regclass('record_{week:%Y%m%d}') IS NOT NULL"
        await ready.until(lambda: ready.query(made) == [(True,)])  # at once, unless it went by the spool
        with psycopg.connect(ready.dsn, autocommit=True) as store:
            store.execute(f"DROP TABLE record_{week:%Y%m%d}".encode())
        await ready.stored(0)
        await _send(link, old + 1000)
        await ready.stored(1)
        assert ready.query("SELECT count(*) FROM quarantine") == [(0,)]
        await _close(link)

    play(scenario)
