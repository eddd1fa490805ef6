"""The stored telemetry reads as a trace: every record once, by arrival, with what the watch would have seen."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import psycopg
import pytest
from msgspec import json

from gateway.backtest.stored import Stored
from gateway.backtest.trace import CONNECTION, Ending, Kind
from gateway.store.partitions import Partitions
from gateway.watch.listening import Beat
from protocols.records import ARCHIVE, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID
from tests.gateway.backtest.traces import START

DAY = 86_400.0
RECORD = (
    "INSERT INTO {} SELECT %(terminal)s, to_timestamp(%(time)s), to_timestamp(%(received)s), %(lat)s, 37, 0, 30, 0,"
    " %(satellites)s, %(flags)s, l.id, %(number)s, %(measures)s::float8[], NULL FROM layout l WHERE l.names = %(names)s"
)


@pytest.fixture
def link(postgres_dsn: str) -> Any:
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        link.execute(
            "INSERT INTO terminal (identity, model, firmware) VALUES"
            " ('gone', 'X', '1'), ('a', NULL, NULL), ('b', 'Y', NULL)"
        )
        link.execute("DELETE FROM terminal WHERE identity = 'gone'")  # numbers have holes
        link.execute("INSERT INTO layout (names, terminal) VALUES ('{}', 2), ('{gsm.signal,power.external}', 2)")
        asyncio.run(_weeks(postgres_dsn))
        yield link


async def _weeks(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as link:
        partitions = Partitions()
        await partitions.load(link)
        await partitions.make(
            link, partitions.missing(np.array([int(START + n * DAY) * 10**6 for n in range(-7, 8, 7)]))
        )


def record(link: Any, at: float, *, table: str = "record", **more: Any) -> None:
    values: dict[str, Any] = {
        "terminal": 2, "time": START + at, "received": START + more.pop("received", at), "lat": 55.5, "satellites": 9,
        "flags": VALID, "number": 0, "measures": [], "names": [],
    }  # fmt: skip
    link.execute(RECORD.format(table).encode(), {**values, **more})


def read(dsn: str, begins: float = -1e6, ends: float = 1e6, size: int = 1 << 18) -> tuple[Stored, dict[str, Any]]:
    stored = Stored(dsn, START + begins, START + ends)
    parts = list(stored.slices(size))
    return stored, {name: np.concatenate([part[name] for part in parts]) for name in stored.columns}


def test_every_record_by_its_arrival(link: Any, postgres_dsn: str) -> None:
    record(link, 10, flags=VALID | IGNITION_KNOWN | IGNITION_ON | MOVING)
    record(link, 5, received=30, flags=IGNITION_KNOWN | ARCHIVE, satellites=-1)
    record(link, 20.25, terminal=3, names=["gsm.signal", "power.external"], measures=[60.0, 27.5])
    record(link, -400 * DAY, received=25, table="record_outside")
    stored, rows = read(postgres_dsn)
    assert stored.names == ["a", "b"]
    assert stored.attributes == {"a": {}, "b": {"model": "Y"}}
    assert rows["terminal"].tolist() == [0, 1, 0, 0]
    assert rows["received"].tolist() == [round((START + at) * 1e6) for at in (10, 20.25, 25, 30)]
    assert rows["time"].tolist() == [round((START + at) * 1e6) for at in (10, 20.25, -400 * DAY, 5)]
    assert rows["ignition"].tolist() == [1, -1, -1, 0]
    assert rows["moving"].tolist() == [1, 0, 0, 0]
    assert rows["archive"].tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(rows["voltage"], [np.nan, 27.5, np.nan, np.nan])
    np.testing.assert_array_equal(rows["gsm.signal"], [np.nan, 60, np.nan, np.nan])
    np.testing.assert_array_equal(rows["lat"], [55.5, 55.5, 55.5, np.nan])
    np.testing.assert_array_equal(rows["satellites"], [9, 9, 9, np.nan])
    assert (rows["kind"] == Kind.RECORD).all()


def test_connections_with_how_they_ended(link: Any, postgres_dsn: str) -> None:
    """Each end comes before the next beginning, though a newer connection opens before it replaces the older."""
    record(link, 15)
    for number, terminal, opened, closed, frames, malformed, reason in (
        (1, "a", -50, 5, 9, 0, "idle timeout"),  # began before the period
        (2, "a", 10, 40.5, 7, 1, "replaced by a newer connection from 10.0.0.1"),
        (3, "a", 40, 60, 3, 0, "closed by the terminal"),
        (4, "b", 45, 70, 1, 0, "lost: [Errno 104] Connection reset by peer"),
        (5, "a", 65, None, 0, 0, None),
        (6, "nobody", 20, 30, 0, 2, "login refused"),
    ):
        link.execute(
            "INSERT INTO connection VALUES (%s, %s, 'teltonika', '10.0.0.1', to_timestamp(%s), to_timestamp(%s),"
            " %s, %s, %s)",
            (number, terminal, START + opened, closed and START + closed, frames, malformed, reason),
        )
    _, rows = read(postgres_dsn, 0, 100)
    names = ("received", "terminal", "kind", *CONNECTION)
    told = [
        (round(at / 1e6 - START, 6), *(None if np.isnan(value) else value for value in more))
        for at, *more in zip(*(rows[name].tolist() for name in names), strict=True)
    ]
    came, went = int(Kind.CONNECTED), int(Kind.DISCONNECTED)
    assert told == [
        (5, 0, went, 9, 0, Ending.TIMED_OUT),
        (10, 0, came, None, None, None),
        (15, 0, int(Kind.RECORD), None, None, None),
        (39.999999, 0, went, 7, 1, Ending.REPLACED),
        (40, 0, came, None, None, None),
        (45, 1, came, None, None, None),
        (60, 0, went, 3, 0, Ending.IN_ORDER),
        (65, 0, came, None, None, None),
        (70, 1, went, 1, 0, Ending.LOST),
    ]


def test_what_zones_are_told_by(link: Any, postgres_dsn: str) -> None:
    link.execute("INSERT INTO layout (names, terminal) VALUES ('{case.open,event,power.backup,unit.id}', 2)")
    record(link, 10, names=["case.open", "event", "power.backup", "unit.id"], measures=[1.0, 3.0, 0.0, 200000123.0])
    _, rows = read(postgres_dsn)
    named = {name: rows[name].tolist() for name in ("case.open", "event", "power.backup", "unit.id")}
    assert named == {"case.open": [1], "event": [3], "power.backup": [0], "unit.id": [200000123]}
    assert np.isnan(rows["power.battery"]).all()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_slices_hold_all_of_it_in_order(link: Any, postgres_dsn: str, size: int) -> None:
    for n in range(25):
        record(link, n * 40_000.0, number=n)
    link.execute(
        "INSERT INTO gateway_state (key, value) VALUES ('listening', %s)",
        (
            json.encode(
                Beat(
                    START,
                    0.0,
                    [
                        (START - 2e6, START - 1.5e6),
                        (START + 50_000, START + 60_000),
                        (START + 990_000, START + 995_000),
                    ],
                )
            ),
        ),
    )
    stored, rows = read(postgres_dsn, size=size)
    own = rows["terminal"] == -1
    assert (np.diff(rows["received"]) >= 0).all()
    assert (~own).sum() == 25
    assert ((rows["received"][own] / 1e6) - START).tolist() == [50_000, 60_000, 990_000, 995_000]
    assert rows["kind"][own].tolist() == [Kind.DEAF, Kind.LISTENING] * 2
    assert max(len(part["kind"]) for part in stored.slices(size)) <= size + 4


def test_a_period_ends_before_its_end(link: Any, postgres_dsn: str) -> None:
    for at in (0.0, 10.0, 20.0):
        record(link, at, number=int(at))
    _, rows = read(postgres_dsn, 10, 20)
    assert rows["received"].tolist() == [round((START + 10) * 1e6)]
    for bounds in ((float("-inf"), 5.0), (5.0, float("inf"))):
        assert len(read(postgres_dsn, *bounds)[1]["kind"]) in (1, 2)


def test_an_empty_store_has_no_slices(postgres_dsn: str) -> None:
    stored = Stored(postgres_dsn, START, START + 1)
    assert (stored.names, list(stored.slices())) == ([], [])
