"""Records passed on over Wialon Retranslator and EGTS: our own receiving sides take them, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.configuration.carriers import Egress
from gateway.egress import awaited, platforms, relays
from gateway.egress import sending as module
from gateway.egress.payloads import Payload
from gateway.egress.publishing import QUOTA, WINDOW, ConsumerError
from gateway.mqtt import Broker
from gateway.store.cursors import NOW, consumers
from protocols.egts import passing as egts
from protocols.egts import wire as egts_wire
from protocols.errors import UnspeakableError
from protocols.records import ARCHIVE, VALID, Frame
from protocols.registry import protocol
from protocols.wialon_retranslator import passing as retranslator
from tests.gateway.egress.test_sending import run, sending, until
from tests.gateway.egress.world import link_to
from tests.gateway.simulator.gateway_double import GatewayDouble, _Connection
from tests.gateway.store.test_writer import Store, record
from tests.harness import free_port
from tests.protocols.form import frames_of, heard, near
from tests.protocols.rows import rows_of

BOTH = ("wialon-retranslator", "egts")
number_of = egts.object_id


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", (0.05, 0.3))
    monkeypatch.setattr(module, "TEND", 0.1)
    monkeypatch.setattr(module, "IDLE", 0.02)
    # EGTS names objects by numbers, and the store's terminals of these tests are T1, T2 …
    monkeypatch.setattr(egts, "object_id", lambda terminal: int(terminal[1:]))


def egress(scheme: str, port: int) -> Egress:
    url = Broker(scheme, "127.0.0.1", port)
    return Egress(name="a", url=url, terminals=[], start=NOW, password_file=None, tls=None)


class Other(GatewayDouble):
    """The other platform, at a port that is known before it listens."""

    def __init__(self, scheme: str) -> None:
        super().__init__(ask=False)
        self.scheme, self.port = scheme, free_port()

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(lambda: _Connection(self, self.scheme), "127.0.0.1", self.port))

    def store(self, name: str, terminal: str, frame: Frame) -> None:
        super().store(name, "T" + (frame.terminal or terminal).removeprefix("T"), frame)


# The store is shared, and keeps a record once: each protocol has fingerprints of its own.
OWN = {"wialon-retranslator": 1_000_000, "egts": 2_000_000}


def records_of(scheme: str) -> list[Any]:
    own = OWN[scheme]
    return [
        record(1, 0, fingerprint=own, lat=53.902, lon=-27.561, altitude=220.0, speed=61.0, course=274.0, satellites=11,
               flags=VALID,
               names=("hdop", "inputs", "fuel.level.1", "power.external", "odometer"),
               values=(0.9, 5.0, 2131.0, 13.8, 12_800.0)),
        record(2, 500_000, fingerprint=own, flags=ARCHIVE,
               names=("adc.1", "param.x"), values=(1.5, -3.0), extra={"vin": "XTA210"}),
        *[record(1, 1_000_000 * n, fingerprint=own + n, lat=1.0, lon=-2.0, speed=0.0, flags=VALID)
          for n in range(1, 40)],
    ]  # fmt: skip


ARRIVE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wialon-retranslator": (
        {"param.hdop": 0.9, "inputs": 5, "fuel.level.1": 2131, "power.external": 13.8, "odometer": 12_800},
        {"adc.1": 1.5, "param.x": -3, "param.vin": "XTA210"},
    ),
    "egts": (
        {
            "hdop": 0.9, "inputs": 5, "fuel.level.1": 2131, "fuel.address.1": 0, "power.external": 13.8,
            "power.reserve": 0, "power.battery": 0, "odometer": 12_800, "movement": 1, "event": 0, "gnss.fix": 3,
            "state": 2, "gnss.on": 1, "state.ibu": 0, "state.bbu": 0,
        },
        {"analog.1": 1500},
    ),
}  # fmt: skip


@pytest.mark.parametrize("scheme", BOTH)
def test_records_arrive_value_by_value_and_in_order(shared_dsn: str, scheme: str) -> None:
    async def test(store: Store) -> None:
        other = Other(scheme)
        await other.begin()
        records = records_of(scheme)
        async with sending(shared_dsn, egress(scheme, other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*records)
            await until(lambda: sender.stats.sent == len(records))
        other.close()
        assert other.malformed == []
        one = [row for row in other.rows if row["terminal"] == "T1"]
        times = [row["time"] for row in one]
        assert len(times) == 40
        assert times == sorted(times)
        first = one[0]
        assert near(first["lat"], 53.902)
        assert near(first["lon"], -27.561)
        assert (first["altitude"], first["speed"], first["course"], first["satellites"]) == (220, 61, 274, 11)
        assert first["valid"]
        assert first["measures"] == ARRIVE[scheme][0]
        (second,) = [row for row in other.rows if row["terminal"] == "T2"]
        assert second["time"] == records[1]["time"] - 500_000
        assert (second["lat"], second["valid"]) == (None, False)
        assert second["measures"] == ARRIVE[scheme][1]

    run(shared_dsn, test)


@pytest.mark.parametrize("scheme", BOTH)
def test_while_it_is_away_the_cursor_stays_and_nothing_is_lost(shared_dsn: str, scheme: str) -> None:
    async def test(store: Store) -> None:
        other = Other(scheme)
        records = [
            record(3 + n % 3, 1_000_000 * n, fingerprint=OWN[scheme] + 7_000 + n, lat=1.0, lon=2.0) for n in range(90)
        ]
        async with sending(shared_dsn, egress(scheme, other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*records)
            await asyncio.sleep(0.2)
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
        assert {name: len(times) for name, times in found.items()} == {f"T{n}": 30 for n in (3, 4, 5)}
        assert all(times == sorted(times) for times in found.values())

    run(shared_dsn, test)


@pytest.mark.parametrize("scheme", BOTH)
def test_only_what_is_acknowledged_moves_the_cursor(
    shared_dsn: str, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(awaited, "STALL", 0.3)

    async def test(store: Store) -> None:
        other = Other(scheme)
        other.misbehave = lambda _name, count, ack: b"" if 3 < count < 9 else ack
        await other.begin()
        records = [record(9, 1_000_000 * n, fingerprint=OWN[scheme] + 9_000 + n, lat=1.0, lon=2.0) for n in range(8)]
        async with sending(shared_dsn, egress(scheme, other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*records)
            await until(lambda: sender.stats.sent >= 8)
        other.close()
        assert len(other.distinct_rows()) == 8
        assert len(other.rows) > 8, "what was not answered is sent again"
        assert sender.stats.sent == 8

    run(shared_dsn, test)


def test_a_refusal_code_puts_its_record_off_alone(shared_dsn: str) -> None:
    refused: list[bytes] = []

    class Refusing(Other):
        def store(self, name: str, terminal: str, frame: Frame) -> None:
            if frame.terminal == "7" and not refused:
                refused.append(frame.data)
                number = frame.data[7] | frame.data[8] << 8
                body = [(number, egts_wire.TELEDATA, egts_wire.OBJECT_UNKNOWN)]
                self.answer = egts_wire.response(9, 9, number, egts_wire.OK, body)
            super().store(name, terminal, frame)

    async def test(store: Store) -> None:
        other = Refusing("egts")
        other.answer = b""
        other.misbehave = lambda _name, _count, ack: _taken(other) or ack
        await other.begin()
        async with sending(shared_dsn, egress("egts", other.port)) as sender:
            await until(lambda: sender.stats.holding)
            await store.write(*[record(6 + n % 2, 1_000_000 * n, fingerprint=3_000_500 + n) for n in range(6)])
            await until(lambda: sender.stats.sent == 5 and sender.stats.aside == 1)
        other.close()
        assert len(refused) == 1

    def _taken(other: Any) -> bytes:
        answer, other.answer = other.answer, b""
        return bytes(answer)

    run(shared_dsn, test)


def told(**more: Any) -> dict[str, Any]:
    found = dict.fromkeys(("lat", "lon", "altitude", "speed", "course", "satellites"))
    return {"time": "2026-11-21T10:00:00.25Z", **found, "valid": False, "archive": False, "measures": {}, **more}


def read_back(name: str, record: dict[str, Any]) -> dict[str, Any]:
    if name == "egts":
        data = egts.dispatcher_login(7, 1) + egts.packet(4_815_162, record, 2)
    else:
        data = retranslator.packet("356938035643809", record)
    (row,) = rows_of(protocol(name).decode(frames_of(heard(name, data))).batch)
    return row


@pytest.mark.parametrize(
    ("name", "measures", "arrives"),
    [
        ("wialon-retranslator", {"inputs": -1, "outputs": 2**32 - 1}, {"outputs": 2**32 - 1}),
        ("wialon-retranslator", {"fuel.status.2": 65_530, "fuel.level.2": 5000}, {"fuel.status.2": 65_530}),
        ("wialon-retranslator", {"alarm": 1, "x": "да", "z": "a\0b", "n": None}, {"alarm": 1, "param.x": "да"}),
        ("wialon-retranslator", {"x": 1, "param.x": 2, "pwr_ext": 3, "y y": 4, "posinfo": 5}, {"param.x": 1}),
        ("wialon-retranslator", {"big": 2**63, "long": 2**62, "t": "x" * 5000}, {"param.long": 2**62}),
        ("wialon-retranslator", {f"t{n}": "x" * 4000 for n in range(9)}, {f"param.t{n}": "x" * 4000 for n in range(4)}),
        ("wialon-retranslator", {"ignition": 1, "adc.3": 1.25}, {"ignition": 1, "adc.3": 1.25}),
        ("egts", {"adc.1": 1.5, "analog.1": 7, "counter.2": 9}, {"analog.1": 1500, "counter.2": 9}),
        ("egts", {"fuel.litres.2": 386.5, "fuel.address.2": 5}, {"fuel.litres.2": 386.5, "fuel.address.2": 5}),
        ("egts", {"fuel.status.3": 65_530}, {"fuel.status.3": 65_530, "fuel.address.3": 0}),
        ("egts", {"outputs": 3, "inputs": 0x8105}, {"outputs": 3, "inputs.2": 0x81}),
        ("egts", {"power.external": 27.6, "analog.300": 1, "counter.1": -1, "pdop": 1.73}, {"pdop": 1.73}),
    ],
)
def test_what_the_protocol_cannot_tell_is_left_out_and_takes_nothing_with_it(
    name: str, measures: dict[str, Any], arrives: dict[str, Any]
) -> None:
    assert read_back(name, told(measures=measures))["measures"] == arrives


def test_times_that_the_protocol_does_not_know_are_refused() -> None:
    for time in ("2009-12-31T23:59:59Z", "2200-01-01T00:00:00Z"):
        with pytest.raises(UnspeakableError):
            egts.packet(1, told(time=time), 1)
    for time in ("1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z"):
        with pytest.raises(UnspeakableError):
            retranslator.packet("356938035643809", told(time=time))
    with pytest.raises(UnspeakableError):  # such a packet would be no packet
        retranslator.packet("T1", told())


def test_identities_that_cannot_be_named_are_told() -> None:
    assert [retranslator.object_id(one) for one in ("T1", "a b", "да", "x" * 65)] == ["T1", None, None, None]
    assert [number_of(one) for one in ("4294967295", "1", "4294967296", "0", "01", "T1", "²", "356938035643809")] == [
        4_294_967_295, 1, *[None] * 6,
    ]  # fmt: skip


def test_nonsense_is_the_platform_being_away() -> None:
    spoken = relays.SPOKEN["wialon-retranslator"](Broker("wialon-retranslator", "h", 1))
    with pytest.raises(relays._NonsenseError):
        list(spoken.hear(b"\x11"))
    for data in (b"HTTP/1.1 400 Bad", b"\x01\0\0\x0b\0\0\0\0\0\0\0"):
        with pytest.raises(relays._NonsenseError):
            list(relays.SPOKEN["egts"](Broker("egts", "h", 1)).hear(data))


async def passed_on(other: Other, terminals: list[str]) -> list[int | None]:
    """What is told of a record of each terminal."""
    await other.begin()
    codes: list[int | None] = [None] * len(terminals)
    try:
        async with relays.Relay(Broker(other.scheme, "127.0.0.1", other.port)) as relay:
            for place, terminal in enumerate(terminals):
                record = told(lat=1.0, lon=2.0, valid=True)
                await relay.pass_on(
                    Payload(terminal, record, large=False), lambda code, n=place: told_of(codes, n, code)
                )
                assert relay.on_its_way() <= WINDOW
            await relay.acknowledged()
    finally:
        other.close()
    return codes


def told_of(codes: list[int | None], place: int, code: int) -> None:
    assert codes[place] is None, "each is told once"
    codes[place] = code


@pytest.mark.parametrize("scheme", BOTH)
def test_each_record_names_its_terminal_and_is_told_once(scheme: str) -> None:
    other = Other(scheme)
    terminals = [f"T{1 + n % 7}" for n in range(1200)]  # more than are on their way at once
    assert asyncio.run(passed_on(other, terminals)) == [0] * 1200
    assert [row["terminal"] for row in other.rows] == terminals
    assert other.malformed == []


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (egts_wire.OBJECT_UNKNOWN, platforms.NOT_ALLOWED),
        (egts_wire.INC_DATA, platforms.REFUSED),
        (egts_wire.NO_RESOURCES, QUOTA),
    ],
)
def test_codes_of_egts(result: int, code: int) -> None:
    other = Other("egts")

    def answer(_name: str, count: int, ack: bytes) -> bytes:
        number = ack[11] | ack[12] << 8  # of the packet, and of its record
        wrong = egts_wire.response(9, 9, number, egts_wire.OK, [(number, egts_wire.TELEDATA, result)])
        return wrong if count == 2 else ack

    other.misbehave = answer
    assert asyncio.run(passed_on(other, ["T1", "T2", "T3"])) == [0, code, 0]


@pytest.mark.parametrize("scheme", BOTH)
@pytest.mark.parametrize("answer", [b"", b"\x12", b"#AD#1\r\n" * 3])
def test_silence_and_nonsense_are_the_consumer_being_away(
    monkeypatch: pytest.MonkeyPatch, scheme: str, answer: bytes
) -> None:
    monkeypatch.setattr(awaited, "STALL", 0.2)
    other = Other(scheme)
    other.misbehave = lambda _name, _count, _ack: answer
    with pytest.raises(ConsumerError):
        asyncio.run(passed_on(other, ["T1"]))
