"""The writer against a real PostgreSQL: which way rows take, what is stored twice (nothing), what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store import writer as module
from gateway.store.copy import Rows
from gateway.store.layouts import PER_TERMINAL
from gateway.store.writer import Job, Kept, Outcome, Writer
from protocols.records import BatchBuilder

NOW = int(time.time()) * 1_000_000
DAY = 86_400_000_000
Record = dict[str, Any]


def record(terminal: int = 1, at: int = 0, *, fingerprint: int = 0, frame: int | None = None, **rest: Any) -> Record:
    return {"terminal": terminal, "time": NOW - DAY + at, "fingerprint": fingerprint, "frame": frame, **rest}


def job(records: Sequence[Record], **more: Any) -> Job:
    builder = BatchBuilder()
    for place, told in enumerate(records):
        frame = told["frame"] if told["frame"] is not None else place
        builder.add(frame=frame, position=0, **{k: v for k, v in told.items() if k not in ("terminal", "frame")})
    batch = builder.build()
    n = len(records)
    rows = Rows(
        batch,
        np.array([told["terminal"] for told in records], np.int32),
        np.full(n, NOW),
        batch.time.copy(),
        np.zeros(n, np.int8),
        [],
    )
    frames = int(batch.frame.max()) + 1 if n else 0
    sources = [Kept(f"t{told}", "teltonika", NOW, f"frame {told}".encode()) for told in range(frames)]
    return Job(rows, sources, **more)


class Store:
    """A writer with its connection, and what lies in the database."""

    def __init__(self, dsn: str, writer: Writer, link: psycopg.AsyncConnection) -> None:
        self.dsn, self.writer, self.link = dsn, writer, link

    async def write(self, *records: Record, **more: Any) -> Outcome:
        return await self.writer.write(self.link, job(records, **more), NOW)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as link:
            return link.execute(sql.encode(), values or None).fetchall()

    def measures(self) -> list[dict[str, Any]]:
        return [told for (told,) in self.query("SELECT measures FROM telemetry ORDER BY time")]


@pytest.fixture
def run(postgres_dsn: str) -> Callable[[Callable[[Store], Coroutine[Any, Any, None]]], None]:
    def start(scenario: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
        async def inside() -> None:
            link = await Writer.open(postgres_dsn)
            try:
                await link.execute(
                    "INSERT INTO terminal (identity) SELECT 'T' || n FROM generate_series(1, 20) n ORDER BY n "
                    "ON CONFLICT DO NOTHING"
                )
                writer = Writer(1)
                await writer.prepare(link)
                await scenario(Store(postgres_dsn, writer, link))
            finally:
                await link.close()

        asyncio.run(inside())

    return start


def test_new_rows_go_plain_and_older_ones_through_staging(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[str] = []
    plain_copy = Writer._copy

    async def copy(self: Writer, link: psycopg.AsyncConnection, table: str, data: bytes) -> None:
        tables.append(table)
        await plain_copy(self, link, table, data)

    monkeypatch.setattr(Writer, "_copy", copy)

    async def scenario(store: Store) -> None:
        await store.write(record(1, 10), record(2, 10), record(1, 20))
        assert tables == ["record"]
        tables.clear()
        await store.write(record(1, 15), record(2, 30))  # one is older than the newest of its terminal
        assert sorted(tables) == ["record", "staged"]
        tables.clear()
        await store.write(record(1, 10**18), record(1, -(10**17)))
        assert tables == ["staged_outside"]
        assert store.query("SELECT count(*) FROM telemetry") == [(7,)]
        assert store.query("SELECT count(*) FROM record_outside") == [(2,)]

    run(scenario)


def test_duplicates_inside_a_batch_and_of_another_process(run: Any) -> None:
    async def scenario(store: Store) -> None:
        told = await store.write(record(1, 5), record(1, 5), record(1, 5, fingerprint=9), record(2, 5))
        assert (told.stored.tolist(), told.duplicate.tolist()) == ([3], [1])
        other = Writer(1)  # knows nothing of the first one's rows
        await other.prepare(store.link)
        told = await other.write(store.link, job([record(1, 6), record(2, 6)]), NOW)
        assert told.stored.tolist() == [2]
        told = await store.write(record(1, 6), record(2, 6), record(3, 1))  # its plain COPY hits what the other wrote
        assert (told.stored.tolist(), told.duplicate.tolist()) == ([1], [2])
        assert store.query("SELECT count(*) FROM telemetry") == [(6,)]

    run(scenario)


def test_a_record_dated_ahead_is_known_when_its_time_has_come(run: Any) -> None:
    async def scenario(store: Store) -> None:
        ahead = record(1, 4 * DAY)  # three days from now: outside
        await store.write(ahead)
        later = NOW + 2 * DAY  # now it lies inside
        for writer in (store.writer, Writer(1)):
            if writer is not store.writer:
                await writer.prepare(store.link)
            told = await writer.write(store.link, job([ahead, record(1, 4 * DAY + 1)]), later)
            assert told.duplicate[0] >= 1
        assert store.query("SELECT count(*) FROM telemetry") == [(2,)]

    run(scenario)


def test_one_poisoned_record_goes_to_quarantine_alone(run: Any) -> None:
    async def scenario(store: Store) -> None:
        good = [record(1 + n % 5, n) for n in range(40)]
        good[17]["time"] = -(10**18)  # no timestamp of PostgreSQL
        message = Kept("T1", "teltonika", NOW, b"bytes", "codec 12", text="told\0 you")
        told = await store.write(*good, messages=[message])
        assert told.refused == [17]
        assert told.stored.tolist() == [39]
        assert store.query("SELECT count(*) FROM telemetry") == [(39,)]
        kept = store.query("SELECT reason, data FROM quarantine")
        assert [(reason, bytes(data)) for reason, data in kept] == [("store", b"frame 17")]
        assert store.query("SELECT DISTINCT body FROM message") == [("told you",)]

    run(scenario)


def test_texts_that_json_does_not_like(run: Any) -> None:
    texts = ["nul \0 inside", "\\u0000", "lone \ud800 surrogate", 'quote " and \\', "\U0001f69a", "", "\n\t\x01\x7f"]

    async def scenario(store: Store) -> None:
        told = await store.write(*(record(1, n, extra={f"text{n}": text}) for n, text in enumerate(texts)))
        assert told.refused == []
        found = [row[f"text{n}"] for n, row in enumerate(store.measures())]
        assert found == [t.replace("\0", "\ufffd").replace("\ud800", "?") for t in texts]

    run(scenario)


def test_numbers_are_exact_and_what_is_no_number_is_absent(run: Any) -> None:
    async def scenario(store: Store) -> None:
        big = {"io.11": 2**63 + 1, "io.14": -(2**63), "vin": "X"}
        await store.write(
            record(1, 1, names=("a", "b", "c"), values=(0.1, math.nan, -0.0), extra=big),
            record(1, 2, names=("a", "b"), values=(1.25e10, 5e-324)),
            record(1, 3, names=(), values=()),
            record(1, 4, names=("odometer",), values=(2.0**53,)),
        )
        (first,) = store.query("SELECT measures::text FROM telemetry ORDER BY time LIMIT 1")[0]
        assert json.loads(first) == {"a": 0.1, "c": 0.0, **big}
        assert store.measures()[1:] == [{"a": 1.25e10, "b": 5e-324}, {}, {"odometer": 2**53}]
        row = store.query("SELECT lat, lon, altitude, speed, course, satellites, valid, archive FROM telemetry LIMIT 1")
        assert row == [(None, None, None, None, None, None, False, False)]

    run(scenario)


def test_measure_reads_one_value(run: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.write(record(1, 1, names=("fuel.level.1", "b"), values=(1893.0, math.nan)))
        await store.write(record(1, 10**18, names=("fuel.level.1",), values=(7.0,)))
        for table, value in (("record", 1893.0), ("record_outside", 7.0)):
            sql = f"SELECT measure(r, 'fuel.level.1'), measure(r, 'b'), measure(r, 'no such') FROM {table} r"
            assert store.query(sql) == [(value, None, None)]

    run(scenario)


def test_layouts_of_one_terminal_are_bounded(run: Any) -> None:
    async def scenario(store: Store) -> None:
        total = PER_TERMINAL + 40
        for start in range(0, total, 50):
            some = range(start, min(start + 50, total))
            await store.write(*(record(1, n, names=(f"n{n}", "x"), values=(n + 0.5, 2.0)) for n in some))
        assert store.query("SELECT count(*) FROM layout WHERE terminal = 1") == [(PER_TERMINAL,)]
        assert store.measures() == [{f"n{n}": n + 0.5, "x": 2} for n in range(total)]
        await store.write(record(2, 1, names=("another",), values=(1.0,)))  # others are not held back
        assert store.query("SELECT count(*) FROM layout WHERE terminal = 2") == [(1,)]

    run(scenario)


def test_a_layout_may_be_long(run: Any) -> None:
    names = tuple(f"param.{hashlib.sha256(str(n).encode()).hexdigest()[:30]}" for n in range(1000))

    async def scenario(store: Store) -> None:
        for at in (1, 2):
            await store.write(record(1, at, names=names, values=tuple(map(float, range(1000)))))
        again = Writer(1)
        await again.prepare(store.link)
        await again.write(store.link, job([record(1, 3, names=names, values=(1.0,) * 1000)]), NOW)
        assert store.query("SELECT count(*) FROM layout WHERE names <> '{}'") == [(1,)]
        assert store.measures()[0] == dict(zip(names, range(1000), strict=True))

    run(scenario)


def test_a_store_that_takes_no_writes_is_away(run: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.link.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.Error) as caught:
            await store.write(record(1, 1))
        assert module.is_away(caught.value)
        await store.link.execute("SET default_transaction_read_only = off")
        assert (await store.write(record(1, 1))).stored.tolist() == [1]
        assert store.query("SELECT count(*) FROM quarantine") == [(0,)]

    run(scenario)


KEYS = st.tuples(st.integers(1, 3), st.sampled_from([0, 1, 2, 3, 50, 4 * DAY, -(10**17)]), st.integers(0, 1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(KEYS, min_size=1, max_size=8), min_size=1, max_size=6), lost=st.sets(st.integers(0, 5))
)
def test_whatever_is_resent_is_stored_once(run: Any, batches: list[list[tuple[int, int, int]]], lost: set[int]) -> None:
    """`lost`: batches whose answer never came, so that they are written again."""

    async def scenario(store: Store) -> None:
        for table in ("record", "record_outside"):
            await store.link.execute(f"DELETE FROM {table}")
        writer = Writer(1)
        await writer.prepare(store.link)
        stored = 0
        for number, keys in enumerate(batches):
            work = job([record(t, at, fingerprint=f) for t, at, f in keys])
            told = await writer.write(store.link, work, NOW)
            assert int(told.stored[0] + told.duplicate[0]) == len(keys)
            stored += int(told.stored[0])
            if number in lost:
                assert (await writer.rewrite(store.link, work, NOW)).stored.tolist() == [0]
        sent = {(t, NOW - DAY + at, f) for keys in batches for t, at, f in keys}
        rows = store.query(
            "SELECT terminal, (extract(epoch FROM time) * 1000000)::bigint, fingerprint FROM "
            "(SELECT terminal, time, fingerprint FROM record UNION ALL "
            "SELECT terminal, time, fingerprint FROM record_outside) r"
        )
        assert len(rows) == len(sent) == stored
        assert set(rows) == sent

    run(scenario)
