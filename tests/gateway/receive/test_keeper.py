"""Store and spool as two journals, on a real store: what is slow for what it holds, what is slow for the store."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.metrics import ReceiveMetrics
from gateway.receive import journal, keeper
from gateway.receive.batch import Batcher
from gateway.receive.disk import Directory, Disk
from gateway.receive.journal import AwayError, SpoolJournal, nothing
from gateway.receive.keeper import Keeper
from gateway.receive.pipeline import Accepted, Pipeline
from gateway.receive.spool import Entry, Spool
from gateway.store import writer
from gateway.store.writer import Job, Outcome, Writer
from protocols.records import Frame
from protocols.registry import protocol
from protocols.teltonika.declaration import CODEC_8, avl_payload, avl_record, tcp_frame

DEAR = 77  # km/h: the store takes a minute for such a record
TRIGGER = """
CREATE FUNCTION dear() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.speed = 77 THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$;
CREATE TRIGGER dear BEFORE INSERT ON record FOR EACH ROW EXECUTE FUNCTION dear();
"""


class Talk:
    """A terminal as the pipeline sees it."""

    protocol, waits, registered, link = 0, True, True, 0

    def __init__(self, terminal: str) -> None:
        self.terminal = terminal
        self.kept = 0

    def committed(self, items: Any, refused: Any = ()) -> None:
        self.kept += len(items)

    def abandoned(self) -> None:
        raise AssertionError("nothing here is to be abandoned")


def frame(number: int, speed: int = 50) -> Frame:
    record = avl_record(timestamp=1_790_000_000_000 + number * 1000, latitude=0, longitude=0, satellites=5, speed=speed)
    return Frame(tcp_frame(avl_payload(CODEC_8, [record])), 1, 0, 0)


class Bench:
    """A pipeline on a real store and a real spool."""

    def __init__(self, dsn: str, pipeline: Pipeline, metrics: ReceiveMetrics, told: list[Accepted]) -> None:
        self.dsn, self.pipeline, self.metrics, self.told = dsn, pipeline, metrics, told

    async def put(self, *frames: Frame, terminal: str = "T1") -> Talk:
        talk = Talk(terminal)
        for one in frames:
            self.pipeline.put(talk, one, asyncio.get_running_loop().time())
        async with asyncio.timeout(20):
            await self.pipeline.drain()
        assert talk.kept == len(frames)
        return talk

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as link:
            return link.execute(sql.encode()).fetchall()

    async def drained(self) -> None:
        for _ in range(1000):
            if not self.pipeline.keeper.spool.frames:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{self.pipeline.keeper.spool.frames} frames are spooled still")


@contextlib.asynccontextmanager
async def bench(dsn: str, folder: Path, disk: Disk | None = None) -> AsyncIterator[Bench]:
    spool = Spool(disk or Directory(folder), 1 << 20)
    await spool.open()
    metrics = ReceiveMetrics(["teltonika"])
    rows: dict[str, int] = {}

    async def resolve(identity: str, name: str) -> int:
        if identity in rows:
            return rows[identity]
        with psycopg.connect(dsn, autocommit=True) as link:
            row = link.execute("INSERT INTO terminal (identity) VALUES (%s) RETURNING id", (identity,)).fetchone()
            assert row is not None
            return rows.setdefault(identity, row[0])

    made_writer = Writer(1, rows, resolve)
    link = await Writer.open(dsn)
    await made_writer.prepare(link)
    await link.close()
    made = Pipeline(
        functools.partial(Writer.open, dsn), made_writer, spool, [protocol("teltonika")], metrics, rows, resolve
    )
    told: list[Accepted] = []
    made.on_accepted.append(told.append)
    watching = asyncio.create_task(made.watch_store())
    try:
        yield Bench(dsn, made, metrics, told)
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await made.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SLOW", 0.4)
    monkeypatch.setattr(journal, "DRAIN_TIMEOUT", 0.6)
    monkeypatch.setattr(keeper, "PROBE", 0.05)
    monkeypatch.setattr(writer, "LOCK_WAIT", 0.5)


def test_a_drain_is_cut_down_to_the_culprit(postgres_dsn: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(postgres_dsn, tmp_path) as made:
            with psycopg.connect(postgres_dsn, autocommit=True) as link:
                link.execute(TRIGGER)
            await made.put(*(frame(n, DEAR if n == 11 else 50) for n in range(16)))
            assert made.pipeline.keeper.store_up  # it was only slow, and said so when it was asked
            assert made.pipeline.keeper.spool.frames == 16
            await made.put(frame(100))  # live ones are stored meanwhile
            assert made.query("SELECT count(*) FROM telemetry")[0][0] >= 1
            await made.drained()
            assert made.query("SELECT count(*) FROM telemetry") == [(16,)]
            ((reason, data),) = made.query("SELECT reason, data FROM quarantine")
            assert (reason, bytes(data)) == ("store", frame(11, DEAR).data)
            assert made.metrics.quarantined["store"].tolist() == [1]
            assert int(made.metrics.records[0]) == 16
            assert made.pipeline.keeper.store_up

    asyncio.run(run())


class Patient(Talk):
    """A terminal that sends again what was abandoned."""

    gone = 0

    def abandoned(self) -> None:
        self.gone += 1


def test_a_batch_that_neither_takes_is_no_burden_to_its_neighbours_for_long(postgres_dsn: str, tmp_path: Path) -> None:
    """The spool is full, and one frame too dear: the others are stored when they come again."""

    async def run() -> None:
        async with bench(postgres_dsn, tmp_path) as made:
            with psycopg.connect(postgres_dsn, autocommit=True) as link:
                link.execute(TRIGGER)
            made.pipeline.keeper.spool.resize(0)
            await made.pipeline.keeper.open()
            talks = [Patient(f"T{n}") for n in range(12)]
            for again in range(6):
                if again >= 3 and all(talk.kept for n, talk in enumerate(talks) if n != 5):
                    break  # on a machine that stands still an ordinary one may be too slow as well, once
                for n, talk in enumerate(talks):
                    if not talk.kept:
                        made.pipeline.put(talk, frame(n, DEAR if n == 5 else 50), asyncio.get_running_loop().time())
                async with asyncio.timeout(10):
                    await made.pipeline.drain()
            assert sum(talk.gone for talk in talks) <= 20  # once each, and whoever was with the dear one; of 36
            assert [talk.kept for talk in talks] == [0 if n == 5 else 1 for n in range(12)]
            assert made.pipeline.keeper.store_up
            assert not made.pipeline.keeper.refusing

    asyncio.run(run())


class Hung(Directory):
    """A disk on which an append waits to be let through."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.through = asyncio.Event()

    async def append(self, name: str, data: bytes) -> None:
        await self.through.wait()
        await super().append(name, data)


def test_the_next_batch_waits_for_the_store_and_not_for_the_disk_of_one_that_was_slow(
    postgres_dsn: str, tmp_path: Path
) -> None:
    async def run() -> None:
        disk = Hung(tmp_path)
        async with bench(postgres_dsn, tmp_path, disk) as made:
            with psycopg.connect(postgres_dsn, autocommit=True) as link:
                link.execute(TRIGGER)
            await made.pipeline.keeper.open()
            slow, quick = Talk("T1"), Talk("T2")
            made.pipeline.put(slow, frame(0, DEAR), asyncio.get_running_loop().time())
            await asyncio.sleep(0)
            made.pipeline.put(quick, frame(1), asyncio.get_running_loop().time())
            async with asyncio.timeout(1.8):  # the spool has 2 s
                while not made.query("SELECT FROM telemetry"):  # noqa: ASYNC110  # nobody says when
                    await asyncio.sleep(0.02)
            assert (slow.kept, quick.kept) == (0, 0)  # stored, and told in its turn
            disk.through.set()
            async with asyncio.timeout(5):
                await made.pipeline.drain()
            assert (slow.kept, quick.kept) == (1, 1)
            assert made.pipeline.keeper.spool.frames == 1

    asyncio.run(run())


class Particular:
    """A store, as the keeper drains to it: what holds one of these takes too long."""

    def __init__(self, dear: set[bytes]) -> None:
        self.dear, self.stumbles = dear, 0
        self.stored: list[bytes] = []
        self.quarantined: list[bytes] = []

    async def again(self, job: Job) -> Outcome:
        data = [job.sources[place].data for place in job.rows.batch.frame.tolist()]
        if self.dear & set(data):
            self.stumbles += 1
            raise AwayError(TimeoutError(), slow=True)
        self.stored += data
        self.quarantined += [kept.data for kept in job.quarantined]
        return nothing(1)

    async def answers(self) -> bool:
        return True


def test_where_one_was_dear_few_are_drained_at_once_and_then_more_again(tmp_path: Path) -> None:
    """Each stumble costs seconds: five that are dear among the first 32 of 500 need not be found from 500 each time."""

    async def run() -> None:
        frames = [frame(n) for n in range(500)]
        dear = {frames[n].data for n in (3, 5, 12, 13, 30)}
        spool = Spool(Directory(tmp_path), 1 << 20)
        await spool.open()
        await spool.append([Entry("teltonika", "T1", 0, one.data, one.variant, 1) for one in frames])
        protocols = [protocol("teltonika")]
        store = Particular(dear)

        async def resolve(identity: str, name: str) -> int:
            return 1

        made = Keeper(
            store,  # type: ignore[arg-type]  # as far as a drain uses it
            SpoolJournal(spool, protocols), spool,
            Batcher(protocols, ReceiveMetrics(["teltonika"])), protocols, resolve,
        )  # fmt: skip
        drains = 0
        while spool.frames:
            assert await made._drain_some()
            drains += 1
        assert sorted(store.quarantined) == sorted(dear)
        assert store.stored == [one.data for one in frames if one.data not in dear]
        assert store.stumbles <= 12  # 43 if it were halves, of 500 each time
        assert drains - store.stumbles <= 30  # and the rest goes by hundreds

    asyncio.run(run())


def test_a_store_that_cannot_write_blames_no_frame(postgres_dsn: str, tmp_path: Path) -> None:
    """Somebody holds a table: the store answers, and is away all the same."""

    async def run() -> None:
        async with bench(postgres_dsn, tmp_path) as made:
            await made.pipeline.keeper.open()
            await made.put(frame(0))
            with psycopg.connect(postgres_dsn) as holder:
                holder.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
                await made.put(*(frame(n) for n in range(1, 9)))
                assert not made.pipeline.keeper.store_up
                begun = asyncio.get_running_loop().time()
                await made.put(frame(9))
                assert asyncio.get_running_loop().time() - begun < 0.4  # at once to the spool
                await asyncio.sleep(1.5)
                assert made.pipeline.keeper.spool.frames == 9
            await made.drained()
            assert made.query("SELECT count(*) FROM telemetry") == [(10,)]
            assert made.query("SELECT count(*) FROM quarantine") == [(0,)]

    asyncio.run(run())


def test_the_writer_finds_the_rows_of_what_is_new(postgres_dsn: str, tmp_path: Path) -> None:
    """Nobody before the store knows rows; the watch hears of what is durable, in the store or only spooled."""

    async def run() -> None:
        async with bench(postgres_dsn, tmp_path) as made:
            await made.put(frame(0))
            made.pipeline.keeper.store_up = False
            await made.put(frame(1))
            ((row, identity),) = made.query("SELECT id, identity FROM terminal")
            assert identity == "T1"
            assert [told.frame_terminal.tolist() for told in made.told] == [[row], [row]]
            assert [told.rows.terminal.tolist() for told in made.told] == [[row], [row]]
            await made.drained()
            made.pipeline.keeper.store_up = False
            await made.put(frame(2), terminal="T2")
            assert made.told[2].frame_terminal.tolist() == made.told[2].rows.terminal.tolist() == [-1]  # not known yet
            await made.drained()
            assert made.query("SELECT count(*) FROM telemetry") == [(3,)]

    asyncio.run(run())
