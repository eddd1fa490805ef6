"""Ruptela: worked packets value by value, the declaration against the decoder, what answers what."""

from __future__ import annotations

from typing import Any

import pytest
from construct import ConstructError
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.scenario import Scenario
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    VALID,
    Close,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Reply,
)
from protocols.ruptela import PROTOCOL
from protocols.ruptela import declaration as wire
from protocols.ruptela.decoder import new_decoder
from protocols.ruptela.measures import IDS
from protocols.ruptela.session import RuptelaSession
from protocols.ruptela.terminal import HDOP, OPERATOR, RuptelaTerminal, fast_record
from protocols.ruptela.wire import (
    DTCS,
    DYNAMIC,
    EXTENDED,
    FILES,
    IDENTIFICATION,
    RECORDS,
    SET_IO,
    SMS,
    VERSION,
    sealed,
    uplink,
)
from tests.protocols import ruptela_vectors as vectors
from tests.protocols.examples import examples
from tests.protocols.helpers import CUTS, feed, of_kind
from tests.protocols.learned_checks import all_ways, differs, refused
from tests.protocols.ruptela_vectors import ACK, HEARTBEAT, HEARTBEAT_ACK, IMEI, RECORD

PARTED = vectors.EXTENDED


def session_of(data: bytes, step: int = 1 << 20) -> tuple[RuptelaSession, list[Event]]:
    """A session that was given these bytes behind a heartbeat."""
    session = RuptelaSession()
    assert of_kind(feed(session, HEARTBEAT, close=False), Login)
    return session, feed(session, data, step)


def row(found: dict[str, Any], measures: dict[str, Any], **expected: Any) -> None:
    """Every value of a record."""
    assert differs({name: found[name] for name in expected}, expected) == {}
    assert differs(found["measures"], measures) == {}


# -- worked packets ----------------------------------------------------------------------------------------------------


def test_worked_packets_value_by_value() -> None:
    _, events = session_of(RECORD + PARTED)
    plain, parted, nowhere = all_ways(new_decoder, of_kind(events, Frame))
    row(
        plain,
        {
            "priority": 0, "hdop": 0.8, "event": 7, "input.1": 1, "input.4": 1, "gsm.rssi": 21,
            "board.temperature": -7, "power.external": 27.84, "power.battery": 4.073, "adc.1": 1.893,
            "odometer": 148356210,
        },
        time=1_773_480_413_000_000, lat=55.7520123, lon=37.6175432, altitude=168.0, course=274.5, satellites=11,
        speed=61.0, flags=VALID | MOVING | EVENT,
    )  # fmt: skip
    row(
        parted,
        {
            "priority": 0, "hdop": 0.9, "event": 409, "ignition": 1, "can.fuel.percent": 52.8,
            "power.external": 27.811, "obd.odometer": 148356,
        },
        time=1_773_480_473_000_000, lat=55.7525, lon=37.6181, altitude=169.0, course=180.0, satellites=10, speed=12.0,
        flags=VALID | MOVING | EVENT | IGNITION_KNOWN | IGNITION_ON,
    )  # fmt: skip
    row(
        nowhere,
        {"priority": 0, "hdop": 0.0, "event": 0, "ignition": 0},
        time=1_773_480_533_000_000, lat=None, lon=None, satellites=0, speed=0.0, flags=IGNITION_KNOWN,
    )  # fmt: skip


@pytest.mark.parametrize("step", CUTS)
def test_events_do_not_depend_on_how_the_stream_was_cut(step: int) -> None:
    session = RuptelaSession()
    events = feed(session, RECORD + HEARTBEAT + PARTED + vectors.VECTORS[3].wire + vectors.VECTORS[4].wire, step)
    assert [type(event) for event in events] == [Login, Frame, Reply, Frame, Reply, Frame]
    login, first, alive, second, greeted, codes = events
    assert login == Login(IMEI)
    assert (first.records, first.data, first.offset) == (1, RECORD, 0)
    assert (second.records, second.offset) == (3, len(RECORD + HEARTBEAT))
    assert (alive, greeted) == (Reply(HEARTBEAT_ACK), Reply(vectors.IDENTIFICATION_ACK))
    assert [session.acknowledge(frame) for frame in (first, second, codes)] == [ACK, ACK, vectors.DTCS_ACK]


def test_a_record_without_a_fix_has_the_number_of_none_in_each_field() -> None:
    """As recorded ones have; zeros are zeros."""
    nowhere = wire.values(
        time=7, longitude=wire.INVALID, latitude=wire.INVALID, altitude=0x8000, angle=0xFFFF, satellites=0xFF,
        speed=0xFFFF, hdop=0xFF, items=[(251, b"\1")],
    )  # fmt: skip
    frame = Frame(wire.frame(IMEI, RECORDS, [wire.build(RECORDS, nowhere)]), 1)
    (found,) = all_ways(new_decoder, [frame])
    row(
        found, {"priority": 0, "event": 0, "ignition": 1}, lat=None, lon=None, altitude=None, course=None, speed=None,
        satellites=-1, flags=IGNITION_KNOWN | IGNITION_ON,
    )  # fmt: skip


def test_trouble_codes_are_records() -> None:
    _, events = session_of(vectors.VECTORS[4].wire)
    (found,) = all_ways(new_decoder, of_kind(events, Frame))
    row(
        found, {"dtc": "P0301"}, time=1_773_480_413_000_000, lat=55.7520123, lon=37.6175432, speed=None,
        flags=VALID | ARCHIVE,
    )  # fmt: skip


def test_the_usual_read_is_a_frame_at_once() -> None:
    session = RuptelaSession()
    assert session.run(RECORD) is None
    feed(session, HEARTBEAT, close=False)
    assert session.run(RECORD) == Frame(RECORD, 1, len(HEARTBEAT))
    assert session.run(PARTED) == Frame(PARTED, 3, len(HEARTBEAT + RECORD))
    other = wire.frame("356938035643817", RECORDS, [])
    for data in (RECORD[:-1], RECORD + HEARTBEAT, RECORD[:-1] + b"\0", HEARTBEAT, other, b""):
        assert session.run(data) is None
    session.receive_data(RECORD[:5], 0.0)
    assert session.run(RECORD) is None


# -- the decoder and the declaration -----------------------------------------------------------------------------------

SCALES = {
    20: ("adc.3", 1000), 21: ("adc.4", 1000), 22: ("adc.1", 1000), 23: ("adc.2", 1000), 29: ("power.external", 1000),
    30: ("power.battery", 1000), 65: ("odometer", 1), 94: ("obd.engine.rpm", 4), 95: ("obd.speed", 1),
    98: ("obd.fuel.level", 2.55), 100: ("obd.fuel.rate", 20), 150: ("gsm.operator", 1), 163: ("can.odometer", 0.2),
    164: ("can.trip.distance", 200), 165: ("can.speed", 256), 166: ("tachograph.engine.rpm", 8),
    197: ("can.engine.rpm", 8), 205: ("can.fuel.raw", 1), 207: ("can.fuel.percent", 2.5), 208: ("can.fuel.used", 2),
    13: ("movement", 1), 173: ("movement.sensor", 1), 27: ("gsm.rssi", 1), 39: ("can.engine.load", 1),
    88: ("alarm.jamming", 1), 134: ("alarm.braking", 1), 136: ("alarm.acceleration", 1), 170: ("battery.charging", 1),
    251: ("ignition", 1), 409: ("ignition", 1), 410: ("alarm.towing", 1), 411: ("alarm.crash", 1),
    415: ("gnss.antenna", 1), 645: ("obd.odometer", 1), 758: ("alarm.tamper", 1),
    2: ("input.1", 1), 3: ("input.2", 1), 4: ("input.3", 1), 5: ("input.4", 1),
}  # fmt: skip
SIGNED = {
    32: ("board.temperature", 1), 74: ("temperature.4", 10), 78: ("temperature.1", 10), 79: ("temperature.2", 10),
    80: ("temperature.3", 10),
}  # fmt: skip
TEXTS = {126: "can.driver.1", 127: "can.driver.2", 155: "tacho.driver.1", 156: "tacho.driver.2"}


@st.composite
def records(draw: st.DrawFn, command: int) -> dict[str, Any]:
    """A record of any values."""
    known = [i for i in (*IDS, 6, 200) if command == EXTENDED or i < 256]
    items = draw(st.lists(st.tuples(st.sampled_from(known), st.sampled_from([1, 2, 4, 8])), max_size=9))
    odd = st.integers(-(1 << 31), (1 << 31) - 1) | st.sampled_from([wire.INVALID, 900_000_000, -900_000_001])
    return wire.values(
        time=draw(st.integers(0, (1 << 32) - 1)), longitude=draw(odd), latitude=draw(odd),
        altitude=draw(st.integers(0, 65_535)), angle=draw(st.integers(0, 65_535)), satellites=draw(st.integers(0, 255)),
        speed=draw(st.integers(0, 65_535)), hdop=draw(st.integers(0, 255)), event=draw(st.integers(0, 255)),
        extension=draw(st.integers(0, 255)), priority=draw(st.integers(0, 255)),
        items=[(i, draw(st.binary(min_size=size, max_size=size) | st.just(bytes(size)))) for i, size in items],
    )  # fmt: skip


def told(parts: list[Any]) -> dict[str, Any]:
    """A declared record by the names of the measures: written apart from the decoder's tables."""
    first = parts[0]
    found: dict[str, Any] = {"priority": first.priority, "event": first.event}
    found["hdop"] = first.hdop / 10 if first.hdop != 255 else None
    times: dict[int, int] = {}
    for part in parts:
        for size in (1, 2, 4, 8):
            for item in part[f"n{size}"]["items"]:
                number, value = item.id, item.value
                times[number] = times.get(number, 0) + 1
                raw = int.from_bytes(value, "big")
                name, said = f"io.{number}", raw
                if number in SCALES:
                    name, divisor = SCALES[number]
                    said = raw if divisor == 1 else raw / divisor
                elif number in SIGNED:
                    name, divisor = SIGNED[number]
                    said = int.from_bytes(value, "big", signed=True) / divisor
                elif size == 8 and number == 34:
                    name, said = "driver.key", value.hex() if any(value) else None
                elif size == 8 and number in (760, 761):
                    name, said = f"rfid.{number - 759}", value.hex()
                elif size == 8 and number in TEXTS:
                    name, said = TEXTS[number], None
                    if any(value):
                        text = value.rstrip(b"\0")
                        said = text.decode() if text.isascii() and text.decode().isprintable() else value.hex()
                if times[number] > 1:
                    name, said = f"io.{number}.{times[number]}", value.hex()
                elif name in found and name != f"io.{number}":
                    name, said = f"io.{number}", value.hex()
                found[name] = said
    return {n: float(v) if isinstance(v, int) and abs(v) < 2**53 else v for n, v in found.items()}


def present(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


@examples(80)
@given(st.data())
def test_the_decoder_reads_what_the_declaration_says(data: st.DataObject) -> None:
    command = data.draw(st.sampled_from([RECORDS, EXTENDED]))
    made: list[bytes] = []
    sizes: list[int] = []
    for _ in range(data.draw(st.integers(1, 3))):
        its = data.draw(records(command))
        last = data.draw(st.integers(0, 2)) if command == EXTENDED else 0
        for number in range(last + 1):
            part = {**(data.draw(records(command)) if number else its)}
            part |= {"time": its["time"], "extension": its["extension"], "part": {"last": last, "number": number}}
            made.append(wire.build(command, part))
        sizes.append(last + 1)
    frame = Frame(wire.frame(IMEI, command, made), len(made))
    declared = wire.parse(frame.data)["records"]
    assert [wire.build(command, one) for one in declared] == made
    found = all_ways(new_decoder, [frame])
    assert len(found) == len(sizes)
    at = 0
    for one, size in zip(found, sizes, strict=True):
        parts = declared[at : at + size]
        at += size
        first = parts[0]
        assert differs(one["measures"], present(told(parts))) == {}
        assert one["time"] == first.time * 1_000_000
        valid = abs(first.latitude) <= 900_000_000 and abs(first.longitude) <= 1_800_000_000
        assert (one["lat"], one["lon"]) == ((first.latitude / 1e7, first.longitude / 1e7) if valid else (None, None))
        height = first.altitude if first.altitude <= 60_000 else first.altitude - 65_536
        assert one["altitude"] == (pytest.approx(height / 10, abs=1e-3) if height != 0x8000 else None)
        assert one["course"] == (pytest.approx(first.angle / 100) if first.angle <= 36_000 else None)
        assert one["speed"] == (first.speed if first.speed != 0xFFFF else None)
        assert one["satellites"] == (first.satellites if first.satellites != 255 else -1)
        assert bool(one["flags"] & EVENT) is bool(first.event)


@examples(80)
@given(st.data())
def test_any_frame_decodes_or_is_refused(data: st.DataObject) -> None:
    command = data.draw(st.sampled_from([RECORDS, EXTENDED]))
    good = wire.frame(IMEI, command, [wire.build(command, data.draw(records(command))) for _ in range(2)])
    spoilt = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(10, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    found = all_ways(new_decoder, [Frame(good, 2), Frame(bytes(spoilt), 2), Frame(b"\0", 1), Frame(good, 2)])
    assert len([one for one in found if one["frame"] in (0, 3)]) == 4
    try:
        declared = wire.parse(bytes(spoilt))
    except (ConstructError, KeyError):
        return
    assert len([one for one in found if one["frame"] == 1]) <= max(declared["count"], 1)


def part(number: int, last: int, *, time: int = 7, extension: int = 0, **more: Any) -> bytes:
    return wire.build(
        EXTENDED, wire.values(time=time, extension=extension, last=last, number=number, items=[(65, bytes(4))], **more)
    )


@pytest.mark.parametrize(
    ("parts", "records"),
    [
        ([part(0, 1), part(1, 1)], 1),
        ([part(0, 1), part(1, 1), part(0, 1), part(1, 1)], 2),
        ([part(0, 2), part(1, 2), part(2, 2), part(0, 0)], 2),
        ([part(1, 1), part(0, 0)], 2),  # its first part went with the frame before
        ([part(0, 1), part(0, 1)], 2),
        ([part(0, 1), part(1, 1, time=8)], 2),  # another moment is another record
        ([part(0, 1), part(1, 1, extension=1)], 2),
        ([part(0, 2), part(2, 2)], 2),
        ([part(0, 1), part(1, 2)], 2),
        ([part(0, 0), part(1, 0)], 2),
    ],
)
def test_which_parts_are_one_record(parts: list[bytes], records: int) -> None:
    frame = Frame(wire.frame(IMEI, EXTENDED, parts), len(parts))
    found = all_ways(new_decoder, [frame, frame])
    assert len(found) == 2 * records


def test_parts_of_two_moments_are_two_records_also_where_one_moment_s_were_learned() -> None:
    decoder = new_decoder()
    one, two = (Frame(wire.frame(IMEI, EXTENDED, [part(0, 1), part(1, 1, time=time)]), 2) for time in (7, 8))
    assert [len(decoder.decode([frame]).batch) for frame in (one, one, two, one, two)] == [1, 1, 2, 1, 2]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\0\0", "count"), (b"\0\2" + wire.build(RECORDS, wire.values(time=1)), "structure"),
        (b"\0\1" + wire.build(RECORDS, wire.values(time=1)) + b"\0", "structure"), (b"\0\1\0", "structure"),
    ],
)  # fmt: skip
def test_frames_that_do_not_add_up_are_kept_and_harm_nobody(payload: bytes, reason: str) -> None:
    bad = uplink(IMEI, RECORDS, payload)
    session, events = session_of(bad + RECORD)
    first, second = events
    assert session.acknowledge(first) == ACK
    found = new_decoder().decode([first, second])
    assert refused(found) == [(0, reason, None)]
    assert len(found.batch) == 1
    assert PROTOCOL.member(bad, 0) is None


# -- the session -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\x08", "length"),
        (b"\x10\x00", "length"),
        (RECORD[:-1] + b"\0", "checksum"),
        (sealed(bytes(8) + b"\x10"), "login"),
        (sealed((10**15).to_bytes(8, "big") + b"\x10"), "login"),
        (HEARTBEAT + wire.frame("356938035643817", RECORDS, []), "login"),
    ],
)
def test_what_ends_the_connection(data: bytes, reason: str) -> None:
    session = RuptelaSession()
    events = feed(session, data)
    assert [event.reason for event in of_kind(events, Malformed)] == [reason]
    assert isinstance(events[-1], Close)
    assert of_kind(events, Frame) == []
    assert session.receive_data(RECORD, 0.0) == ()
    assert session.ask_version() == b""


def test_what_came_before_the_damage_is_acknowledged_still() -> None:
    session, events = session_of(RECORD + RECORD[:-1] + b"\0" + RECORD)
    assert [type(event) for event in events] == [Frame, Malformed, Close]
    assert session.acknowledge(events[0]) == ACK


def test_an_unknown_command_is_told_and_nothing_else() -> None:
    _, events = session_of(uplink(IMEI, 0x33, b"abc") + RECORD)
    assert events[0] == Malformed("unsupported", len(HEARTBEAT), "command 33")
    assert isinstance(events[1], Frame)
    assert session_of(uplink(IMEI, DYNAMIC, b"x"))[1] == [Reply(vectors.IDENTIFICATION_ACK)]


@pytest.mark.parametrize(
    ("command", "payload", "answer", "text"),
    [
        (SMS, b"Unit ok", True, "Unit ok"),
        (SMS, b"\xff\xfe", True, None),
        (SET_IO, b"\x01", True, "01"),
        (FILES, b"\x02\x00photo", None, None),
        (0x05, b"\x01", None, None),
    ],
)
def test_answers_are_evidence(command: int, payload: bytes, answer: bool | None, text: str | None) -> None:
    session, (message,) = session_of(uplink(IMEI, command, payload))
    assert (message.answer, message.text, message.data) == (answer, text, payload)
    assert session.acknowledge(message) == b""


def test_commands_and_the_version() -> None:
    session = RuptelaSession()
    assert session.encode_command("getver") == b""
    feed(session, HEARTBEAT, close=False)
    assert session.ask_version() == vectors.VERSION_REQUEST
    assert session.encode_command("getver") == vectors.GETVER
    message, identified = session.receive_data(uplink(IMEI, VERSION, b"00.02.14.07\r\n"), 0.0)
    assert (message.answer, identified) == (True, Identified("00.02.14.07"))


@pytest.mark.parametrize(("text", "fine"), [("getver", True), ("", False), ("x" * 161, False), ("Да", False)])
def test_which_text_is_a_command(text: str, fine: bool) -> None:
    assert PROTOCOL.command_problem is not None
    assert (PROTOCOL.command_problem(text) == "") is fine


def test_truncation_is_told_at_every_byte() -> None:
    for size in range(1, len(PARTED)):
        assert session_of(PARTED[:size])[1] == [Malformed("truncated", len(HEARTBEAT))]


def test_a_login_nobody_answers_is_no_damage_and_bounded() -> None:
    session = RuptelaSession()
    assert of_kind(list(session.receive_data(RECORD, 0.0)), Login)
    assert session.end_of_stream() == ()
    session = RuptelaSession()
    session.receive_data(RECORD, 0.0)
    found: list[Event] = []
    for _ in range(100):
        found += session.receive_data(bytes(1000), 0.0)
    assert [type(event) for event in found] == [Malformed, Close]
    session = RuptelaSession()
    session.receive_data(RECORD, 0.0)
    assert [type(event) for event in session.refuse()] == [Close]


@examples(200)
@given(
    st.lists(st.sampled_from([v.wire for v in vectors.VECTORS]) | st.binary(max_size=30), max_size=5),
    st.sampled_from(CUTS),
)
def test_any_bytes_end_in_events(pieces: list[bytes], step: int) -> None:
    events = feed(RuptelaSession(), b"".join(pieces), step)
    assert of_kind(events, Close) == [] or isinstance(events[-1], Close)
    PROTOCOL.decode(of_kind(events, Frame))


def test_trouble_codes_that_do_not_add_up_are_kept() -> None:
    frames = [Frame(uplink(IMEI, DTCS, b"\x02" + bytes(19)), 2), Frame(uplink(IMEI, DTCS, b"\0"), 0)]
    assert [reason for _, reason, _ in refused(new_decoder().decode(frames))] == ["structure", "count"]
    assert refused(new_decoder().decode([Frame(uplink(IMEI, IDENTIFICATION, b"\0\0"), 1)]))[0][1] == "command"


# -- the terminal ------------------------------------------------------------------------------------------------------


def built(
    command: int, common: dict[str, Any], items: list[tuple[int, int, int]], number: int = 0, last: int = 0
) -> bytes:
    its = [(i, value.to_bytes(size, "big")) for i, value, size in items]
    return wire.build(command, wire.values(**common, number=number, last=last, items=its))


@pytest.mark.parametrize(("command", "parts"), [(RECORDS, False), (EXTENDED, False), (EXTENDED, True)])
def test_the_terminal_s_records_are_the_declaration_s(command: int, parts: bool) -> None:
    scenario = Scenario(seed=6, terminals=6, mix={"ruptela": 1})
    for spec in make_fleet(scenario):
        vehicle = Vehicle(spec, scenario)
        reading = vehicle.read(vehicle.due, 1_790_000_000_000)
        fixed = reading.satellites > 0
        ignition = 251 if command == RECORDS else 409
        ones = [(ignition, reading.ignition, 1), (13, reading.moving, 1), (27, reading.gsm * 6, 1)]
        others = [
            (29, reading.external, 2), (30, reading.battery, 2), (205, reading.fuel[0].level, 2),
            (197, reading.rpm * 8, 2), (78, reading.fuel[0].temperature * 10, 2), (65, reading.odometer, 4),
            (150, OPERATOR, 4),
        ]  # fmt: skip

        common = {
            "time": reading.time // 1000, "longitude": reading.lon if fixed else wire.INVALID,
            "latitude": reading.lat if fixed else wire.INVALID, "altitude": reading.altitude * 10,
            "angle": reading.course * 100, "satellites": reading.satellites, "speed": reading.speed, "hdop": HDOP,
            "event": ignition if reading.changed else 0,
        }  # fmt: skip
        if parts:
            wanted = built(command, common, ones, 0, 1) + built(command, common, others, 1, 1)
        else:
            wanted = built(command, common, [*ones, *others])
        assert fast_record(command, reading, parts=parts) == wanted
    assert set(RuptelaTerminal.models) == {"FM-Eco4", "HCV5", "Trace5"}
