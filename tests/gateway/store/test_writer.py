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

from gateway.store import layouts, newest
from gateway.store import writer as module
from gateway.store.copy import Rows
from gateway.store.layouts import PER_TERMINAL
from gateway.store.partitions import week_of
from gateway.store.writer import Job, Kept, Outcome, UnknownTerminalError, Writer
from protocols.records import MAX_NAMES, BatchBuilder

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
    identities = [(f"T{row}", "teltonika") for row in range(int(rows.terminal.max()) + 1)] if n else []
    return Job(rows, identities, sources, **more)


async def unknown(identity: str, protocol: str) -> int:
    return -1


def new_writer() -> Writer:
    return Writer(1, {f"T{row}": row for row in range(21)}, unknown)


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
                writer = new_writer()
                await writer.prepare(link)
                await scenario(Store(postgres_dsn, writer, link))
            finally:
                await link.close()

        asyncio.run(inside())

    return start


def test_new_rows_go_plain_and_older_ones_through_staging(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[str] = []
    plain_copy = Writer._copy

    async def copy(self: Writer, link: psycopg.AsyncConnection, table: str, data: bytes, first: str = "") -> None:
        tables.append(table)
        await plain_copy(self, link, table, data, first)

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
        other = new_writer()  # knows nothing of the first one's rows
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
        for writer in (store.writer, new_writer()):
            if writer is not store.writer:
                await writer.prepare(store.link)
            told = await writer.write(store.link, job([ahead, record(1, 4 * DAY + 1)]), later)
            assert told.duplicate[0] >= 1
        assert store.query("SELECT count(*) FROM telemetry") == [(2,)]

    run(scenario)


def test_only_what_a_batch_brings_is_asked_about(run: Any) -> None:
    """Three years are 157 partitions: a terminal that comes back must not cost a look into each."""

    async def scenario(store: Store) -> None:
        weeks = [NOW - n * 7 * DAY for n in range(60)]
        await store.writer.partitions.make(store.link, store.writer.partitions.missing(np.array(weeks)))
        asked = []
        execute = store.link.execute

        async def explained(query: Any, *rest: Any, **more: Any) -> Any:
            if isinstance(query, str) and "FROM unnest" in query:
                cursor = await execute(f"EXPLAIN {query}", *rest, **more)
                asked.append("".join(line for (line,) in await cursor.fetchall()).count(" on record_2"))
            return await execute(query, *rest, **more)

        store.link.execute = explained  # type: ignore[method-assign]
        await store.write(*(record(n, 0) for n in range(1, 20)))
        assert len(asked) == 1
        assert asked[0] <= 4
        await store.write(record(1, 1), record(2, -30 * DAY))  # known: nothing is asked
        assert len(asked) == 1
        # Old rows of many: a few are asked about with each batch, the others' go the careful way.
        writer = new_writer()
        await writer.prepare(store.link)
        for _ in range(2):
            old = job([record(n, -40 * DAY) for n in range(1, 20)])
            await writer.write(store.link, old, NOW)
        assert sum(writer._newest < 2**62) == 19
        assert store.query("SELECT count(*) FROM record") == [(19 + 2 + 19,)]

    run(scenario)


def test_what_may_be_a_resend_does_not_try_the_plain_way(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[str] = []
    plain_copy = Writer._copy

    async def copy(self: Writer, link: psycopg.AsyncConnection, table: str, data: bytes, first: str = "") -> None:
        tables.append(table)
        await plain_copy(self, link, table, data, first)

    monkeypatch.setattr(Writer, "_copy", copy)

    async def scenario(store: Store) -> None:
        await store.write(record(1, 10), record(2, 10))
        again = new_writer()  # knows nothing
        await again.prepare(store.link)
        tables.clear()
        await again.write(store.link, job([record(1, 10)]), NOW)
        await again.write(store.link, job([record(2, 20)]), NOW)  # above all that is stored
        await again.write(store.link, job([record(2, 10)]), NOW)  # which was not looked at
        assert tables == ["staged", "record", "staged"]

    run(scenario)


def test_a_partition_that_went_is_made_again(run: Any) -> None:
    """Another service's retention, or somebody by hand: no frame is to blame for it."""

    async def scenario(store: Store) -> None:
        for way in (store.writer.write, store.writer.rewrite):
            old = job([record(1, -40 * DAY), record(2, 5)])
            await store.writer.write(store.link, old, NOW)
            (name,) = store.query("SELECT tableoid::regclass::text FROM record ORDER BY time LIMIT 1")[0]
            await store.link.execute(f"DROP TABLE {name}".encode())
            told = await way(store.link, old, NOW)
            assert told.refused == []
            assert store.query("SELECT count(*) FROM record") == [(2,)]
            await store.link.execute("DELETE FROM record")
        assert store.query("SELECT count(*) FROM quarantine") == [(0,)]

    run(scenario)


def test_rows_that_find_no_partition_lie_outside(run: Any) -> None:
    """The week's name is taken: what it brings is kept all the same, once, also when the week can be had again."""

    async def scenario(store: Store) -> None:
        start = time.gmtime(week_of(NOW - 41 * DAY) // 1_000_000)
        name = time.strftime("record_%Y%m%d", start)
        await store.link.execute(f"CREATE TABLE {name} (a int)".encode())
        await store.write(record(1, -50 * DAY), record(2, -50 * DAY))
        await store.write(record(1, -40 * DAY), record(2, -40 * DAY))
        assert store.query("SELECT count(*) FROM record_outside") == [(2,)]
        assert store.query("SELECT count(*) FROM record") == [(2,)]
        await store.link.execute(f"DROP TABLE {name}".encode())
        for terminal, writer in ((1, store.writer), (2, new_writer())):  # one that knows, one that is new
            await writer.prepare(store.link)
            told = await writer.write(store.link, job([record(terminal, -40 * DAY)]), NOW)
            assert told.duplicate.tolist() == [1]
        assert store.query("SELECT count(*) FROM telemetry") == [(4,)]

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


def test_layouts_of_one_terminal_are_bounded(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "BURST", 1000)

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


def test_layouts_of_many_terminals_are_bounded(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty identities that each stay below their own bound: in a while, and altogether."""

    def invented(first: int) -> list[Record]:
        return [record(1 + n % 20, n, names=(f"n{n}", "x"), values=(n + 0.5, 2.0)) for n in range(first, first + 100)]

    async def scenario(store: Store) -> None:
        monkeypatch.setattr(layouts, "BURST", 30)
        monkeypatch.setattr(layouts, "PER_SECOND", 0.0)
        store.writer.layouts._left = 30
        await store.write(*invented(0))
        assert store.query("SELECT count(*) FROM layout WHERE names <> '{}'") == [(30,)]
        monkeypatch.setattr(layouts, "BURST", 1000)
        monkeypatch.setattr(layouts, "MOST", 51)
        store.writer.layouts._left = 1000
        await store.write(*invented(100))
        assert store.query("SELECT count(*) FROM layout") == [(51,)]
        other = new_writer()  # of a process that has learned of none of them
        other.layouts._ids[()] = store.writer.layouts._ids[()]
        await other.write(store.link, job(invented(200)), NOW)
        assert store.query("SELECT count(*) FROM layout") == [(51,)]
        monkeypatch.setattr(layouts, "MOST", 1000)
        monkeypatch.setattr(layouts, "MOST_NAMES", 110)
        await store.write(*invented(300))
        assert store.query("SELECT sum(cardinality(names)) FROM layout") == [(110,)]
        assert store.measures() == [{f"n{n}": n + 0.5, "x": 2} for n in range(400)]
        found = store.query("SELECT count(measure(r, 'x')), count(measure(r, 'n250')), count(extra) FROM record r")
        assert found == [(400, 1, 345)]  # also where they are no columns

    run(scenario)


def test_a_record_of_very_many_names_has_no_layout(run: Any) -> None:
    names = tuple(f"n{n}" for n in range(MAX_NAMES + 1))

    async def scenario(store: Store) -> None:
        await store.write(record(1, 1, names=names, values=tuple(map(float, range(len(names))))))
        assert store.query("SELECT count(*) FROM layout WHERE names <> '{}'") == [(0,)]
        assert store.measures() == [{name: n for n, name in enumerate(names)}]

    run(scenario)


def test_quarantine_and_messages_are_kept_once_and_in_order(run: Any) -> None:
    raw = [Kept("T\u00e91", "teltonika", NOW + n, bytes([n % 251]) * n, "structure", n % 3) for n in range(300)]
    told = [Kept("T2", "wialon-ips", NOW + n, b"m", "driver", text=text) for n, text in enumerate(["a\0b", None, ""])]

    async def scenario(store: Store) -> None:
        for _ in range(2):  # an answer that was lost
            await store.write(quarantined=raw + raw[:5], messages=told)
        rows = store.query(
            "SELECT terminal, protocol, (extract(epoch FROM received) * 1000000)::bigint, data, reason, variant "
            "FROM quarantine ORDER BY id"
        )
        assert [Kept(t, p, r, bytes(d), why, v) for t, p, r, d, why, v in rows] == raw
        rows = store.query("SELECT terminal, kind, body, data FROM message ORDER BY id")
        assert rows == [("T2", "driver", "ab", b"m"), ("T2", "driver", None, b"m"), ("T2", "driver", "", b"m")]

    run(scenario)


def test_who_has_nothing_but_quarantine_needs_no_row(run: Any) -> None:
    """A stranger beside others in a batch holds nobody up, and is not registered by being kept."""

    async def scenario(store: Store) -> None:
        mixed = job([record(1)], quarantined=[Kept("stranger", "teltonika", NOW, b"x", "unregistered")])
        mixed.identities = [*mixed.identities, ("stranger", "teltonika")]
        outcome = await store.writer.write(store.link, mixed, NOW)
        assert outcome.rows is not None
        assert outcome.rows.tolist() == [0, 1, -1]
        assert store.query("SELECT count(*) FROM telemetry") == [(1,)]
        assert store.query("SELECT terminal FROM quarantine") == [("stranger",)]
        unknown_one = job([record(0)])
        unknown_one.identities = [("stranger", "teltonika")]
        with pytest.raises(UnknownTerminalError):
            await store.writer.write(store.link, unknown_one, NOW)

    run(scenario)


def test_others_have_the_loop_while_dear_rows_are_written(run: Any) -> None:
    wide = {f"n{n}": float(n) for n in range(20_000)}

    async def scenario(store: Store) -> None:
        loop = asyncio.get_running_loop()
        gaps: list[float] = []

        async def watch() -> None:
            while True:
                before = loop.time()
                await asyncio.sleep(0)
                gaps.append(loop.time() - before)

        watching = loop.create_task(watch())
        begun = loop.time()
        raw = [Kept("T1", "teltonika", NOW, bytes([n % 256, n // 256]), "structure") for n in range(20_000)]
        await store.write(*(record(1, n, extra=wide) for n in range(40)), quarantined=raw)
        took = loop.time() - begun
        watching.cancel()
        assert max(gaps) < 0.2 * took  # in one go it is nearly all of it
        assert store.query("SELECT count(*) FROM quarantine") == [(20_000,)]

    run(scenario)


def test_a_store_that_answers_may_be_unable_to_write(run: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.writer.answers(store.link)
        async with await psycopg.AsyncConnection.connect(store.dsn) as other:
            await other.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
                await store.writer.answers(store.link)
            assert module.is_away(caught.value)
            await other.rollback()
        await store.writer.answers(store.link)

    run(scenario)


def test_a_layout_may_be_long(run: Any) -> None:
    names = tuple(f"param.{hashlib.sha256(str(n).encode()).hexdigest()[:30]}" for n in range(MAX_NAMES))

    async def scenario(store: Store) -> None:
        for at in (1, 2):
            await store.write(record(1, at, names=names, values=tuple(map(float, range(MAX_NAMES)))))
        again = new_writer()
        await again.prepare(store.link)
        await again.write(store.link, job([record(1, 3, names=names, values=(1.0,) * MAX_NAMES)]), NOW)
        assert store.query("SELECT count(*) FROM layout WHERE names <> '{}'") == [(1,)]
        assert store.measures()[0] == dict(zip(names, range(MAX_NAMES), strict=True))

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


TIMES = [0, 1, 2, 3, 50, 4 * DAY, -(10**17), -20 * DAY, -20 * DAY - 1, -300 * DAY]
KEYS = st.tuples(st.integers(1, 3), st.sampled_from(TIMES), st.integers(0, 1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(KEYS, min_size=1, max_size=8), min_size=1, max_size=6),
    lost=st.sets(st.integers(0, 5)),
    restarts=st.sets(st.integers(0, 5)),
    deep=st.integers(0, 2),
)
def test_whatever_is_resent_is_stored_once(
    run: Any, batches: list[list[tuple[int, int, int]]], lost: set[int], restarts: set[int], deep: int
) -> None:
    """`lost`: batches whose answer never came, so that they are written again; `restarts`: nothing is known."""

    async def scenario(store: Store) -> None:
        for table in ("record", "record_outside"):
            await store.link.execute(f"DELETE FROM {table}")
        writer = new_writer()
        await writer.prepare(store.link)
        stored = 0
        for number, keys in enumerate(batches):
            if number in restarts:
                writer = new_writer()
                await writer.prepare(store.link)
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

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newest, "DEEP", deep)
        run(scenario)


# Whole days around the bounds of what lies inside: two days ahead, three years back.
AROUND = st.integers(-2, 9) | st.sampled_from([-1100, -1097, -1096, -1095])
STEPS = st.tuples(st.integers(-4, 6), st.booleans(), st.lists(st.tuples(st.integers(1, 2), AROUND), max_size=5))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=2, max_size=6))
def test_a_resend_is_one_record_whatever_day_it_is(run: Any, steps: list[tuple[int, bool, Any]]) -> None:
    """Days pass (or the clock is set back), the process starts anew, and terminals send the same records again."""

    async def scenario(store: Store) -> None:
        for table in ("record", "record_outside"):
            await store.link.execute(f"DELETE FROM {table}")
        writer, now = store.writer, NOW
        writer._newest[:] = module._UNKNOWN
        writer._outside[:] = module._UNKNOWN
        sent: set[tuple[int, int]] = set()
        for days, restart, keys in steps:
            now += days * DAY
            if restart:
                writer = new_writer()
                await writer.prepare(store.link)
            told = await writer.write(store.link, job([record(t, at * DAY) for t, at in keys]), now)
            assert int(told.stored[0]) == len(set(keys) - sent)
            sent |= set(keys)
        rows = store.query(
            "SELECT terminal, (extract(epoch FROM time) * 1000000)::bigint FROM (SELECT terminal, time FROM record "
            "UNION ALL SELECT terminal, time FROM record_outside) r"
        )
        assert sorted(rows) == sorted((t, NOW - DAY + at * DAY) for t, at in sent)

    run(scenario)
