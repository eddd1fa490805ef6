"""Arnavi: worked packets value by value, the declaration against the decoder, what answers what."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.scenario import Scenario
from protocols.arnavi import PROTOCOL
from protocols.arnavi import declaration as wire
from protocols.arnavi.decoder import new_decoder
from protocols.arnavi.measures import TAGS
from protocols.arnavi.session import MAX_FRAME, ArnaviSession
from protocols.arnavi.terminal import HDOP, fast_tags, knots, satellites
from protocols.arnavi.wire import BINARY, FILE, PING, RESULT, TEXT, answer, total
from protocols.records import (
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
    Message,
    Reply,
)
from tests.protocols import arnavi_vectors as vectors
from tests.protocols.arnavi_vectors import HEADER, HEADER_2, HEADER_2_ANSWER, HEADER_ANSWER, IMEI, NOW, PACKAGE
from tests.protocols.examples import examples
from tests.protocols.helpers import CUTS, feed, of_kind
from tests.protocols.learned_checks import all_ways, differs, refused


def session_of(data: bytes, step: int = 1 << 20) -> tuple[ArnaviSession, list[Event]]:
    """A session that was given these bytes behind a header."""
    session = ArnaviSession()
    assert of_kind(feed(session, HEADER, close=False), Login)
    return session, feed(session, data, step, now=NOW)


def records_of(*made: bytes) -> list[dict[str, Any]]:
    """The records of one package."""
    _, events = session_of(wire.package(7, made))
    return all_ways(new_decoder, of_kind(events, Frame))


# -- worked packets ----------------------------------------------------------------------------------------------------


def test_worked_packets_value_by_value() -> None:
    _, events = session_of(PACKAGE)
    first, second = all_ways(new_decoder, of_kind(events, Frame))
    expected = {
        "time": 1_747_656_224_000_000, "lat": 56.8380126953125, "lon": 60.59746551513672, "altitude": 260.0,
        "speed": 57.412, "course": 142.0, "satellites": 16, "flags": VALID | IGNITION_KNOWN | IGNITION_ON | MOVING,
    }  # fmt: skip
    assert differs({name: first[name] for name in expected}, expected) == {}
    assert differs(first["measures"], {
        "power.battery": 4.112, "power.external": 13.87, "driver.key": "000a51c2", "ignition": 1, "call.button": 0,
        "inputs": 5, "adc.1": 11.23, "gsm.cell": 20311, "gsm.area": 7715, "gsm.rssi": 63, "gsm.mcc": 250, "gsm.mnc": 1,
        "status": 0x5CC00005, "status.inputs": 5, "outputs": 0, "alarm": 0, "battery.state": 3,
        "power.approximate": 13.8, "temperature.6": -12.25, "can.odometer": 96213450, "can.fuel.used": 41873.5,
        "can.engine.rpm": 1387, "fuel.level.1": 2317, "fuel.temperature.1": -6, "fuel.status.2": 65535,
        "fuel.level.13": 1875, "fuel.temperature.13": 4, "odometer": 12845070, "hdop": 0.87, "device.hardware": 540,
        "device.firmware": 2017,
    }) == {}  # fmt: skip
    expected = {"time": 1_747_656_254_000_000, "lat": None, "lon": None, "satellites": -1, "flags": 0}
    assert differs({name: second[name] for name in expected}, expected) == {}
    assert differs(second["measures"], {"fuel.level.1": 2314, "fuel.temperature.1": -6}) == {}


@pytest.mark.parametrize("step", CUTS)
def test_events_do_not_depend_on_how_the_stream_was_cut(step: int) -> None:
    session = ArnaviSession()
    events = feed(session, HEADER_2 + PACKAGE + vectors.PING + vectors.RESULT + PACKAGE + vectors.PING, step, now=NOW)
    data = [Frame, Identified, Message]
    assert [type(event) for event in events] == [Login, Reply, *data, Reply, Message, *data, Reply]
    login, greeting, frame, identified, text, ping, result, *_ = events
    assert (login, greeting) == (Login(IMEI), Reply(HEADER_2_ANSWER))
    assert identified == Identified("2017", "arnavi-540", 1_747_656_224_000_000)
    assert (frame.records, frame.data, frame.offset) == (2, PACKAGE, len(HEADER))
    assert (text.text, text.answer, text.kind) == (vectors.TEXT, True, "text")
    # one ack for the package, once all of it is kept
    assert (session.acknowledge(frame), session.acknowledge(text)) == (b"", vectors.PACKAGE_ACK)
    assert session.acknowledge(text) == b""
    assert ping == Reply(vectors.PING_ACK)
    assert (result.answer, session.acknowledge(result)) == (True, b"")


@pytest.mark.parametrize(
    ("version", "reply"),
    [(0x22, HEADER_ANSWER), (0x23, HEADER_2_ANSWER), (0x24, HEADER_ANSWER), (0x25, HEADER_2_ANSWER)],
)
@pytest.mark.parametrize("step", CUTS)
def test_headers_of_every_version(version: int, reply: bytes, step: int) -> None:
    session = ArnaviSession()
    header = wire.header(IMEI, version)
    events = feed(session, header + header + vectors.PING, step, now=NOW)
    assert events == [Login(IMEI), Reply(reply), Reply(reply), Reply(vectors.PING_ACK)]


# -- the decoder and the declaration -----------------------------------------------------------------------------------

_KNOWN = [*wire.VALUES, 10, 91, 97, 190, 255]


@st.composite
def tags(draw: st.DrawFn) -> bytes:
    """Tags of any values, some of them twice."""
    out = b""
    for tag in draw(st.lists(st.sampled_from(_KNOWN), min_size=1, max_size=14)):
        value = draw(st.binary(min_size=4, max_size=4) | st.just(bytes(4)) | st.just(b"\xff" * 4))
        if tag == 6:
            value = bytes((draw(st.sampled_from([1, 6, 7, 8, 9])), value[1] % 4)) + value[2:]
        elif 70 <= tag <= 80:
            value = value[:3] + bytes((value[3] % 3,))
        out += bytes((tag,)) + value
    return out + draw(st.sampled_from([b"", b"", b"ab"]))


def told(declared: Any) -> dict[str, Any]:
    """A declared record by the names of the measures: written apart from the decoder's tables."""
    found: dict[str, Any] = {}
    times: dict[int, int] = {}
    scaled = {
        51: ("can.status", 1), 52: ("can.engine.hours", 100), 53: ("can.odometer", 0.1), 54: ("can.fuel.used", 10),
        55: ("can.fuel.percent", 10), 56: ("can.fuel.raw", 1), 57: ("can.engine.rpm", 1),
        58: ("can.coolant.temperature", 1), 59: ("can.speed", 1), 67: ("adblue.raw", 1),
        100: ("tachograph.odometer", 0.1), 102: ("tachograph.voltage", 1000), 150: ("odometer", 0.1),
        151: ("hdop", 100), 250: ("information", 1),
    }  # fmt: skip
    for one in declared["data"]:
        tag, value = one.tag, one.value
        new: dict[str, Any] = {}
        identifier = tag
        raw = wire.TAG.build(one)[1:]
        if tag == 1:
            new = {"power.battery": _volt(value.battery), "power.external": _volt(value.external)}
        elif tag == 2:
            new = {"driver.key": f"{value:08x}" if value else None}
        elif tag in (3, 4, 5):
            new = {f"@{tag}": value}
        elif tag == 6:
            n = value.number + 1
            if value.mode == 1:
                flags = value.number
                new = {"ignition": flags & 1, "call.button": flags >> 1 & 1, "inputs": value.value}
            else:
                identifier = 0x10000 + value.mode * 256 + (value.number if value.mode in (6, 7, 8) else 0)
                names = {6: f"pulses.{n}", 7: f"frequency.{n}", 8: f"adc.{n}"}
                name = names.get(value.mode, "io.6")
                new = {name: value.value / (1000 if value.mode == 8 else 1) if name != "io.6" else raw.hex()}
        elif tag == 7:
            new = {"gsm.cell": value.cell, "gsm.area": value.area}
        elif tag == 8:
            new = {"gsm.rssi": value.rssi, "gsm.mcc": value.mcc, "gsm.mnc": value.mnc}
        elif tag == 9:
            new = {"status": value, "status.inputs": value & 255, "outputs": value >> 8 & 15, "alarm": value >> 20 & 1}
            new |= {"battery.state": value >> 22 & 3, "power.approximate": (value >> 24) * 0.15}
        elif 20 <= tag < 28:
            new = {f"frequency.{tag - 19}": value}
        elif 30 <= tag < 38:
            new = {f"adc.{tag - 29}": value.value / 1000}
        elif 40 <= tag < 50:
            new = {f"temperature.{tag - 39}": value.value / 100}
        elif 60 <= tag < 65:
            new = {f"axle.weight.{tag - 59}": value}
        elif tag == 69:
            new = {"can.engine.load": value.load, "can.accelerator": value.throttle, "motion.status": value.motion}
        elif 70 <= tag <= 80:
            n = value.fourth + 1 if tag == 80 else tag - 69
            identifier = 0x20000 + value.fourth if tag == 80 else tag
            new = {f"fuel.level.{n}": value.level if value.level <= 4095 else None}
            new[f"fuel.status.{n}"] = value.level if value.level > 4095 else None
            good = value.level != 0xFFFF and (tag == 80 or not value.fourth)
            new[f"fuel.temperature.{n}"] = value.temperature if good else None
            if tag != 80:
                spare = (value.temperature & 255) | value.fourth << 8
                new[f"fuel.temperature.raw.{n}"] = spare if value.fourth else None
        elif tag == 251:
            new = {"device.hardware": value.hardware, "device.firmware": value.software}
        elif tag in scaled:
            name, divisor = scaled[tag]
            new = {name: (value if isinstance(value, int) else value.value) / divisor}
        else:
            new = {f"io.{tag}": value}
        times[identifier] = times.get(identifier, 0) + 1
        if times[identifier] > 1:
            new = {f"io.{identifier}.{times[identifier]}": raw.hex()}
        elif new.keys() & found.keys():
            new = {f"io.{identifier}": raw.hex()}
        found |= new
    if declared["rest"]:
        found["io.0"] = declared["rest"].hex()
    return {
        name: float(value) if isinstance(value, int) else value for name, value in found.items() if value is not None
    }


def _volt(value: int) -> float | None:
    return value / 1000 if value not in (0, 0xFFFF) else None


@examples(60)
@given(st.lists(tags(), min_size=1, max_size=3))
def test_the_decoder_reads_what_the_declaration_says(made: list[bytes]) -> None:
    data = wire.package(3, [wire.record(1_000 + n, one) for n, one in enumerate(made)])
    declared = wire.parse(data)["records"]
    for one, its in zip(declared, made, strict=True):
        if not any(t.tag in (3, 4) and math.isnan(t.value) for t in one["data"]):
            assert wire.tags([(t.tag, t.value) for t in one["data"]]) + one["rest"] == its
    found = all_ways(new_decoder, [Frame(data, len(made))])
    for n, (one, its) in enumerate(zip(found, declared, strict=True)):
        expected = told(its)
        place = {name: expected.pop(f"@{tag}", None) for tag, name in ((3, "lat"), (4, "lon"), (5, "more"))}
        assert differs(one["measures"], expected) == {}
        assert one["time"] == (1_000 + n) * 1_000_000
        more, lat, lon = place["more"], place["lat"], place["lon"]
        fixed = more is None or more.satellites < 0xFE
        valid = fixed and lat is not None and lon is not None and abs(lat) <= 90 and abs(lon) <= 180
        assert (one["lat"], one["lon"]) == ((lat, lon) if valid else (None, None))
        if more is not None:
            assert one["satellites"] == ((more.satellites & 15) + (more.satellites >> 4) if fixed else -1)
            assert one["speed"] == pytest.approx(more.speed * 1.852)
            assert one["altitude"] == more.altitude * 10
            assert one["course"] == (more.course * 2 if more.course <= 180 else None)


@examples(60)
@given(st.lists(tags(), min_size=1, max_size=3), st.data())
def test_any_package_decodes_or_is_refused(made: list[bytes], data: st.DataObject) -> None:
    good = wire.package(3, [wire.record(5, one) for one in made])
    spoilt = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    frames = [Frame(good, len(made)), Frame(bytes(spoilt), 1), Frame(b"", 1), Frame(good, len(made))]
    found = all_ways(new_decoder, frames)
    assert len([one for one in found if one["frame"] in (0, 3)]) == 2 * len(made)


def test_one_record_tells_a_fix_and_its_neighbour_none_of_it() -> None:
    place = [(3, 55.5), (4, 37.5)]
    more = (5, {"course": 1, "altitude": 1, "satellites": 0xFE, "speed": 0})
    with_word, without = (wire.record(5, wire.tags(values)) for values in ([*place, more], place))
    assert [one["lat"] for one in records_of(with_word, without)] == [None, 55.5]


def test_records_before_what_does_not_add_up_are_kept() -> None:
    good = wire.record(5, wire.tags([(56, 7)]))
    data = wire.package(3, [good, good]) + b"\x5d"
    found = new_decoder().decode([Frame(data, 2), Frame(wire.package(3, [good]), 1)])
    assert len(found.batch) == 3
    assert refused(found) == [(0, "structure", b"\x5d")]
    assert PROTOCOL.member(b"\x5d", 0) is not None
    assert PROTOCOL.member(data, 0) is None


# -- the session -------------------------------------------------------------------------------------------------------

RECORD = wire.record(9, wire.tags([(56, 7), (57, {"value": 5, "spare": b"\0\0"})]))
SPOILT = RECORD[:8] + bytes((RECORD[8] ^ 4,)) + RECORD[9:]


def test_the_usual_read_is_a_frame_at_once() -> None:
    session = ArnaviSession()
    assert session.run(wire.package(1, [RECORD])) is None
    feed(session, HEADER, close=False)
    for count in (1, 3):
        data = wire.package(9, [RECORD] * count)
        run = session.run(data)
        assert run == Frame(data, count, run.offset)
        assert session.acknowledge(run) == answer(9)
        for other in (
            wire.package(9, [RECORD] * (count - 1) + [SPOILT]), wire.package(RESULT, [RECORD] * count), data + data,
            wire.package(9, [RECORD] * count + [wire.record(9, b"")]), data[:-1] + b"\x5b",
            wire.package(9, [wire.record(9, wire.tags([(251, {"hardware": 1, "software": 2})]))] * count),
        ):  # fmt: skip
            assert session.run(other) is None
    session.receive_data(data[:5], 0.0)
    assert session.run(data) is None


def test_a_checksum_that_fails_spoils_its_package_and_no_other() -> None:
    session, events = session_of(wire.package(4, [RECORD, SPOILT]) + wire.package(5, [RECORD]))
    damage, frame = events
    assert damage == Malformed("checksum", len(HEADER))
    assert session.acknowledge(frame) == answer(5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00", "login"),
        (b"\xff\x21", "login"),
        (wire.package(1, [RECORD]), "login"),
        (b"\xff\x22" + bytes(8), "login"),
        (b"\xff\x22" + (10**15).to_bytes(8, "little"), "login"),
        (b"$AV,V4", "unsupported"),
        (HEADER + wire.header("861774058127643"), "login"),
        (HEADER + b"\x00", "structure"),
        (HEADER + b"\x5b\x01\x02", "structure"),
        (HEADER + b"\x5b\x01\x01\x01\x10", "structure"),
        (HEADER + b"\x5b\xfd\x00\x01", "structure"),
        (HEADER + wire.package(0, [RECORD]), "structure"),
    ],
)
def test_what_ends_the_connection(data: bytes, reason: str) -> None:
    session = ArnaviSession()
    events = feed(session, data)
    assert [event.reason for event in of_kind(events, Malformed)] == [reason]
    assert isinstance(events[-1], Close)
    assert of_kind(events, Frame) == []
    assert session.receive_data(PACKAGE, 0.0) == ()


@pytest.mark.parametrize("record", [wire.record(9, b"ab", PING), wire.record(9, b"\x38\x07\0\0\0", TEXT)])
def test_kinds_are_under_no_checksum_so_data_called_otherwise_is_not_taken(record: bytes) -> None:
    session, events = session_of(wire.package(4, [RECORD, record]) + wire.package(5, [RECORD]))
    damage, frame = events
    assert damage.reason == "structure"
    assert session.acknowledge(frame) == answer(5)


def test_texts_files_and_bytes_are_evidence_and_the_last_is_the_ack() -> None:
    made = [
        wire.record(9, b"abc", FILE),
        RECORD,
        wire.record(9, b"\x01", BINARY),
        wire.record(9, "Да".encode("cp1251"), TEXT),
    ]
    session, events = session_of(wire.package(4, made))
    frame, *texts = events
    assert [(text.kind, text.text, text.answer) for text in texts] == [
        ("file", None, None), ("binary", None, None), ("text", "Да", True),
    ]  # fmt: skip
    assert [session.acknowledge(item) for item in events] == [b"", b"", b"", answer(4)]
    assert len(new_decoder().decode([frame]).batch) == 1
    session, events = session_of(wire.package(RESULT, [wire.record(9, b"OK", TEXT), RECORD]))
    assert [type(event) for event in events] == [Frame, Message]
    assert [session.acknowledge(item) for item in events] == [b"", b""]
    assert session_of(wire.package(6, []))[1] == [Reply(answer(6))]


def test_commands_have_the_number_of_results() -> None:
    session = ArnaviSession()
    assert session.encode_command("VER") == b""
    feed(session, HEADER, close=False)
    assert session.encode_command("VER") == bytes.fromhex("7b03fd") + bytes((sum(b"VER") & 255,)) + b"VER\x7d"
    assert session.ask_version() == b""


@pytest.mark.parametrize(("text", "fine"), [("SERV10", True), ("", False), ("x" * 256, False), ("Да", False)])
def test_which_text_is_a_command(text: str, fine: bool) -> None:
    assert PROTOCOL.command_problem is not None
    assert (PROTOCOL.command_problem(text) == "") is fine


def test_truncation_is_told_at_every_byte() -> None:
    for size in range(1, len(PACKAGE)):
        assert session_of(PACKAGE[:size])[1] == [Malformed("truncated", len(HEADER))]


def test_buffers_are_bounded() -> None:
    session = ArnaviSession()
    session.receive_data(HEADER, 0.0)
    found: list[Event] = []
    for _ in range(100):
        found += session.receive_data(bytes(1000), 0.0)
    assert [type(event) for event in found] == [Malformed, Close]
    big = wire.record(9, bytes(4095))
    _, events = session_of(b"\x5b\x01" + big * 20)
    assert [event.reason for event in of_kind(events, Malformed)] == ["length"]
    session = ArnaviSession()
    session.receive_data(HEADER, 0.0)
    assert [type(event) for event in session.refuse()] == [Close]
    assert len(big) * 16 > MAX_FRAME


@examples(200)
@given(
    st.lists(st.sampled_from([v.wire for v in vectors.VECTORS]) | st.binary(max_size=30), max_size=5),
    st.sampled_from(CUTS),
)
def test_any_bytes_end_in_events(pieces: list[bytes], step: int) -> None:
    events = feed(ArnaviSession(), b"".join(pieces), step)
    assert of_kind(events, Close) == [] or isinstance(events[-1], Close)
    PROTOCOL.decode(of_kind(events, Frame))


# -- the terminal ------------------------------------------------------------------------------------------------------


def test_the_terminal_s_records_are_the_declaration_s() -> None:
    scenario = Scenario(seed=6, terminals=6, mix={"arnavi": 1})
    tanks = set()
    for spec in make_fleet(scenario):
        vehicle = Vehicle(spec, scenario)
        for versions in (None, (540, 2017)):
            reading = vehicle.read(vehicle.due, 1_790_000_000_000)
            tanks.add(len(reading.fuel))
            on = int(reading.ignition)
            values: list[tuple[int, Any]] = [
                (1, {"battery": reading.battery, "external": reading.external}), (3, reading.lat / 1e7),
                (4, reading.lon / 1e7),
                (5, {
                    "course": reading.course // 2, "altitude": reading.altitude // 10,
                    "satellites": satellites(reading), "speed": knots(reading.speed),
                }),
                (6, {"mode": 1, "number": on, "value": on}),
                (8, {"rssi": reading.gsm * 12, "mcc": 250, "mnc": 1}), (9, 0),
                *(
                    (70 + place, {"level": tank.level, "temperature": tank.temperature, "fourth": 0})
                    for place, tank in enumerate(reading.fuel)
                ),
                (150, reading.odometer // 10), (151, {"value": HDOP, "spare": b"\0\0"}),
            ]  # fmt: skip
            if versions:
                values.append((251, {"hardware": versions[0], "software": versions[1]}))
            assert fast_tags(reading, versions) == wire.tags(values)
    assert tanks == {1, 2}
    assert set(TAGS) | {6, 80} == set(wire.VALUES)


@pytest.mark.parametrize("byte", [0, 1, 0x5D, 0xFF])
def test_the_sum_of_bytes_is_theirs_at_every_length(byte: int) -> None:
    for size in (*range(1, 6), 60, 255, 256, 257, 258, 600):
        data = bytes((byte,)) * size
        assert total(data) == total(bytearray(data)) == byte * size % 256
