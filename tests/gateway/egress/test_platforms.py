"""Records passed on to another platform over Wialon IPS: our own receiving side takes them, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.configuration.carriers import Egress
from gateway.egress import awaited, platforms
from gateway.egress import sending as module
from gateway.mqtt import Broker
from gateway.store.cursors import NOW, consumers
from protocols.errors import UnspeakableError
from protocols.records import ARCHIVE, VALID
from protocols.registry import protocol
from protocols.wialon_ips.packets import login
from protocols.wialon_ips.passing import line
from tests.gateway.egress.test_sending import run, sending, until
from tests.gateway.egress.world import link_to
from tests.gateway.simulator.gateway_double import GatewayDouble, _Connection
from tests.gateway.store.test_writer import Store, record
from tests.harness import free_port
from tests.protocols.form import frames_of, heard, near
from tests.protocols.rows import rows_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", (0.05, 0.3))
    monkeypatch.setattr(module, "TEND", 0.1)
    monkeypatch.setattr(module, "IDLE", 0.02)


def egress(port: int) -> Egress:
    return Egress(
        name="a", url=Broker("wialon-ips", "127.0.0.1", port), terminals=[], start=NOW, password_file=None, tls=None
    )


class Other(GatewayDouble):
    """The other platform, at a port that is known before it listens; `refuses` are not let in."""

    def __init__(self) -> None:
        super().__init__(ask=False)
        self.port = free_port()

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(lambda: _Connection(self, "wialon-ips"), "127.0.0.1", self.port))


RECORDS = [
    record(1, 0, lat=53.902, lon=27.561, altitude=220.0, speed=61.5, course=274.0, satellites=11, flags=VALID,
           names=("hdop", "inputs", "fuel.level.1", "power.external"), values=(0.9, 5.0, 2131.0, 13.87)),
    record(2, 500_000, flags=ARCHIVE, names=("adc.1", "adc.2", "param.x"), values=(1.5, 2.25, -3.0),
           extra={"driver.key": "0000ab12", "vin": "XTA210"}),
    *[record(1, 1_000_000 * n, fingerprint=n, lat=1.0, lon=-2.0, speed=0.0, flags=VALID) for n in range(1, 40)],
]  # fmt: skip


def test_records_arrive_value_by_value_and_in_order(shared_dsn: str) -> None:
    async def test(store: Store) -> None:
        other = Other()
        await other.begin()
        async with sending(shared_dsn, egress(other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*RECORDS)
            await until(lambda: sender.stats.sent == len(RECORDS))
        other.close()
        assert other.malformed == []
        assert sorted(set(other.logins)) == ["T1", "T2"]
        one = [row for row in other.rows if row["terminal"] == "T1"]
        times = [row["time"] for row in one]
        assert len(times) == 40
        assert times == sorted(times)
        first = one[0]
        assert near(first["lat"], 53.902)
        assert near(first["lon"], 27.561)
        assert (first["altitude"], first["speed"], first["course"], first["satellites"]) == (220, 61.5, 274, 11)
        assert (first["valid"], first["archive"]) == (True, False)
        measures = {"hdop": 0.9, "inputs": 5, "param.fuel.level.1": 2131, "param.power.external": 13.87}
        assert first["measures"] == measures
        (second,) = [row for row in other.rows if row["terminal"] == "T2"]
        assert second["time"] == RECORDS[1]["time"]
        assert (second["lat"], second["valid"], second["archive"]) == (None, False, True)
        assert second["measures"] == {
            "adc.1": 1.5, "adc.2": 2.25, "param.x": -3, "driver.key": "0000ab12", "param.vin": "XTA210",
        }  # fmt: skip

    run(shared_dsn, test)


def test_while_it_is_away_the_cursor_stays_and_nothing_is_lost(shared_dsn: str) -> None:
    async def test(store: Store) -> None:
        other = Other()
        records = [record(3 + n % 3, 1_000_000 * n, fingerprint=7_000 + n, lat=1.0, lon=2.0) for n in range(90)]
        async with sending(shared_dsn, egress(other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*records)
            await asyncio.sleep(0.3)
            assert sender.stats.sent == 0
            async with link_to(shared_dsn) as link:
                assert [one.waiting for one in await consumers(link) if one.name == "a"] == [90]
            await other.begin()
            await until(lambda: len(other.rows) > 5)
            for connection in list(other.connections):  # it hangs up in the middle
                connection.transport.abort()
            await until(lambda: sender.stats.sent >= 90 and sender.stats.oldest is None)
        other.close()
        found: dict[str, list[int]] = {}
        for row in other.distinct_rows():
            found.setdefault(row["terminal"], []).append(row["time"])
        assert {name: len(times) for name, times in found.items()} == {"T3": 30, "T4": 30, "T5": 30}
        assert all(times == sorted(times) for times in found.values())

    run(shared_dsn, test)


def test_only_what_is_acknowledged_moves_the_cursor(shared_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited, "STALL", 0.3)

    async def test(store: Store) -> None:
        other = Other()
        other.misbehave = lambda _name, count, ack: b"" if count > 3 and len(other.logins) < 3 else ack
        await other.begin()
        records = [record(9, 1_000_000 * n, fingerprint=9_000 + n, lat=1.0, lon=2.0) for n in range(8)]
        async with sending(shared_dsn, egress(other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*records)
            await until(lambda: sender.stats.sent >= 8)
        other.close()
        assert len(other.distinct_rows()) == 8
        assert len(other.rows) > 8, "what was not answered is sent again"
        assert sender.stats.sent == 8

    run(shared_dsn, test)


def test_more_terminals_than_connections(shared_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "CONNECTIONS", 3)

    async def test(store: Store) -> None:
        other = Other()
        await other.begin()
        records = [record(1 + n % 10, 1_000_000 * n, fingerprint=20_000 + n, lat=1.0, lon=2.0) for n in range(40)]
        most = 0
        async with sending(shared_dsn, egress(other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*records)
            while sender.stats.sent < 40:
                most = max(most, len(other.connections))
                await asyncio.sleep(0.005)
        other.close()
        assert len(other.distinct_rows()) == 40
        assert most <= 5  # three, the question whether anybody is there, and one that is closing

    run(shared_dsn, test)


def told(**more: Any) -> dict[str, Any]:
    found = dict.fromkeys(("lat", "lon", "altitude", "speed", "course", "satellites"))
    return {"time": "2026-11-21T10:00:00.25Z", **found, "valid": False, "archive": False, "measures": {}, **more}


def read_back(data: bytes) -> dict[str, Any]:
    (row,) = rows_of(
        protocol("wialon-ips").decode(frames_of(heard("wialon-ips", login("1", version="2.0") + data))).batch
    )
    return row


@pytest.mark.parametrize(
    ("measures", "arrives"),
    [
        ({"inputs": -1, "outputs": 2**40}, {"param.inputs": -1, "param.outputs": 2**40}),
        ({"a:b": 1, "c,d": 2, "e f": 3, "x" * 39: 4, "fine": 5}, {"param.fine": 5}),
        ({"t1": "a;b", "t2": "a|b", "t3": "NA", "t4": "x" * 1345, "t5": "да"}, {"param.t5": "да"}),
        ({"adc.1": 1, "adc.3": 2}, {"adc.1": 1, "param.adc.3": 2}),
        ({"big": 2**63, "none": None, "long": 2**62}, {"param.long": 2**62}),
        ({f"m{n}": n for n in range(300)}, {f"param.m{n}": n for n in range(200)}),
        ({"evil": "1\r\n#L#2;x;y"}, {}),
    ],
)
def test_what_the_protocol_cannot_tell_is_left_out_and_takes_nothing_with_it(
    measures: dict[str, Any], arrives: dict[str, Any]
) -> None:
    assert read_back(line(told(measures=measures)))["measures"] == arrives


def test_times_of_other_centuries_are_refused() -> None:
    assert read_back(line(told()))["time"] % 1_000_000 == 250_000
    for time in ("1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z"):
        with pytest.raises(UnspeakableError):
            line(told(time=time))
