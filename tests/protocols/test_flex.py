"""NTCB and FLEX: worked packets value by value, the declaration against the decoder, what answers what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.scenario import Scenario
from protocols.flex import PROTOCOL
from protocols.flex import declaration as wire
from protocols.flex.decoder import new_decoder
from protocols.flex.fields import FIELDS, selected, sizes
from protocols.flex.session import FlexSession
from protocols.flex.terminal import (
    HDOP,
    NOT_INITIALISED,
    PDOP,
    FlexTerminal,
    chosen,
    fast_record,
    signal,
    ten_thousandths,
)
from protocols.flex.wire import ntcb, sealed
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
from tests.protocols.examples import examples
from tests.protocols.flex_vectors import (
    ADDITIONAL,
    ADDITIONAL_ACK,
    AGREED,
    AGREEMENT,
    ANSWER,
    ANSWER_TEXT,
    ARCHIVE,
    ARCHIVE_ACK,
    CURRENT,
    CURRENT_ACK,
    DOWN,
    GREETING,
    HANDSHAKE,
    IMEI,
    LOGIN,
    PING,
    QUESTION,
    URGENT,
    URGENT_ACK,
    VECTORS,
)
from tests.protocols.helpers import CUTS, feed, of_kind
from tests.protocols.learned_checks import all_ways, differs, refused
from tests.protocols.rows import rows_of

MASK = AGREEMENT[26:]


def session_of(data: bytes, step: int = 1 << 20, login: bytes = LOGIN) -> tuple[FlexSession, list[Event]]:
    """A session that was given these bytes behind a login."""
    session = FlexSession()
    assert of_kind(feed(session, login, close=False), Login)
    return session, feed(session, data, step)


def row(found: dict[str, Any], measures: dict[str, Any], **expected: Any) -> None:
    """Every value of a record."""
    assert differs({name: found[name] for name in expected}, expected) == {}
    assert differs(found["measures"], measures) == {}


# -- worked packets ----------------------------------------------------------------------------------------------------

COMMON = {
    "device.status": 128, "alarm": 0, "device.mode": 0, "gsm.registered": 1, "gsm.roaming": 0,
    "gsm.signal": 24 * 100 / 31, "gnss.on": 1, "odometer": 20583750.0, "power.external": 13.912,
    "power.battery": 4.108, "inputs": 3, "engine.seconds": 9403212, "fuel.status.17": 65530, "can.fuel.used": 41873.5,
    "can.odometer": 184223500.0, "fuel.temperature.1": -6, "fuel.temperature.2": -5, "fuel.level.7": 3011,
    "fuel.temperature.7": -7,
}  # fmt: skip
SYSTEMS = ("glonass", "gps", "galileo", "compass", "beidou", "doris", "irnss", "qzss")
MOVES = {
    **COMMON, "modules.1": 0xAB, "ignition": 1, "fuel.level.1": 2317, "fuel.level.2": 1875, "can.fuel.percent": 63,
    "can.engine.rpm": 1387, "can.speed": 48, "hdop": 0.8, "pdop": 1.3,
    **{f"gnss.visible.{name}": n for name, n in zip(SYSTEMS, (6, 9, 3, 0, 2, 0, 0, 0), strict=True)},
}  # fmt: skip
STANDS = {
    **COMMON, "modules.1": 0x2B, "ignition": 0, "fuel.level.1": 2315, "fuel.status.2": 65535, "can.fuel.level": 120.4,
    "can.engine.rpm": 0, "can.speed": 0, "hdop": 25.0, "pdop": 25.0, "gnss.time": 1_743_675_735,
    **{f"gnss.visible.{name}": 0 for name in SYSTEMS},
}  # fmt: skip
PLACE = {"lat": 33450746 / 600_000, "lon": 22571054 / 600_000}


def test_worked_packets_value_by_value() -> None:
    _, events = session_of(ARCHIVE + URGENT + CURRENT + ADDITIONAL)
    first, second, urgent, current, additional = all_ways(new_decoder, of_kind(events, Frame))
    drive = {"altitude": 156.2, "speed": 48.5, "course": 271.0, "satellites": 14}
    flags = VALID | IGNITION_KNOWN | IGNITION_ON | MOVING
    rest = {"lat": None, "lon": None, "altitude": 156.2, "speed": 0.0, "course": 0.0, "satellites": 0}
    row(
        first,
        {**MOVES, "record.number": 218744, "event": 4688},
        time=1_743_675_735_000_000,
        flags=flags,
        **PLACE,
        **drive,
    )
    row(second, {**STANDS, "record.number": 218745, "event": 4679}, time=1_743_675_765_000_000, flags=2, **rest)
    row(urgent, {**STANDS, "record.number": 218746, "event": 6064}, time=1_743_675_776_000_000, flags=2, **rest)
    row(
        current,
        {**MOVES, "record.number": 0, "event": 0xFF00},
        time=1_743_675_795_000_000,
        flags=flags,
        **PLACE,
        **drive,
    )
    row(
        additional,
        {
            "record.number": 218747, "event": 0x2530, "gnss.on": 1, "odometer": 20583750.0,
            "tachograph.card.number": "RUD0000412770000",
        },
        time=1_743_675_825_000_000, flags=VALID, altitude=156.2, speed=0.0, course=0.0, satellites=14, **PLACE,
    )  # fmt: skip


@pytest.mark.parametrize("step", CUTS)
def test_events_do_not_depend_on_how_the_stream_was_cut(step: int) -> None:
    session = FlexSession()
    events = feed(session, HANDSHAKE + AGREEMENT + ARCHIVE + PING + URGENT + CURRENT + ANSWER + ADDITIONAL + PING, step)
    kinds = [Login, Reply, Reply, Frame, Frame, Frame, Message, Identified, Frame]
    assert [type(event) for event in events] == kinds
    assert events[0] == Login(IMEI)
    assert [event.data for event in of_kind(events, Reply)] == [GREETING, AGREED]
    frames = of_kind(events, Frame)
    acks = [session.acknowledge(frame) for frame in frames]
    assert acks == [ARCHIVE_ACK, URGENT_ACK, CURRENT_ACK, ADDITIONAL_ACK]
    assert [frame.records for frame in frames] == [2, 1, 1, 1]
    assert frames[0].offset == len(LOGIN)
    assert PROTOCOL.on_wire(frames[0]).endswith(AGREEMENT[16:] + ARCHIVE)
    assert frames[0].data == bytes((0, 122)) + MASK + ARCHIVE
    (message,) = of_kind(events, Message)
    assert (message.text, message.answer, session.acknowledge(message)) == (ANSWER_TEXT, True, b"")
    assert of_kind(events, Identified) == [Identified("01.12.07", "S-2551")]
    assert session.ask_version() == QUESTION


@pytest.mark.parametrize(
    ("text", "iccid"),
    [
        ("*#ICCID 89701017034562198421", "89701017034562198421"),
        ("*#ICCID:8970101703456219842F", "8970101703456219842"),
        ("*#ICCID", None), ("*#ICCID 897010", None), ("*#S:89701017034562198421", None),
    ],
)  # fmt: skip
def test_the_card_is_told_where_it_was_asked_for(text: str, iccid: str | None) -> None:
    _, events = session_of(ntcb(text.encode()))
    told = of_kind(events, Identified)
    assert [one.iccid for one in told] == ([] if iccid is None else [iccid])


def test_the_usual_read_is_a_frame_at_once() -> None:
    session, (first, *_) = session_of(ARCHIVE)
    session = FlexSession()
    feed(session, LOGIN, close=False)
    assert session.run(ARCHIVE) == first
    assert session.run(ARCHIVE) == Frame(first.data, 2, first.offset + len(ARCHIVE))
    for other in (ARCHIVE[:-1], ARCHIVE + PING, ARCHIVE[:-1] + b"\0", URGENT, b"~A\0" + b"\0"):
        assert session.run(other) is None
    session.receive_data(ARCHIVE[:9], 0.0)
    assert session.run(ARCHIVE) is None


# -- the table of fields -----------------------------------------------------------------------------------------------


def test_sizes_are_the_declaration_s_and_those_of_recorded_versions() -> None:
    assert {n: field.size for n, field in FIELDS.items()} == {n: kind.sizeof() for n, kind in wire.FIELDS.items()}
    assert set(FIELDS) == set(range(1, 256))
    names = [
        name for field in FIELDS.values() for part in field.parts for name in (part[0].name, part[0].status) if name
    ]
    assert len(names) == len(set(names))
    for field in FIELDS.values():
        assert all(offset + size <= field.size for _, offset, size, _ in field.parts)
    assert sum(sizes(selected(122, MASK))) == 84


@st.composite
def choices(draw: st.DrawFn) -> tuple[wire.Selection, list[bytes]]:
    """A choice of fields and records of them, of any bytes."""
    bits = draw(st.sampled_from([69, 122, 255]) | st.integers(1, 255))
    numbers = draw(st.sets(st.integers(1, bits), min_size=1, max_size=30) | st.just(set(range(1, bits + 1))))
    selection = wire.selection(numbers, bits, short=draw(st.booleans()))
    size = sum(wire.field(n, short=selection.short).sizeof() for n in wire.numbers(selection))
    made = [bytes(size), b"\xff" * size]
    dice = draw(st.randoms(use_true_random=False))
    made += [dice.randbytes(size) for _ in range(draw(st.integers(1, 3)))]
    return selection, made


SCALED: dict[int, tuple[str, float, Sequence[float]]] = {
    1: ("record.number", 1, ()), 2: ("event", 1, ()), 14: ("@course", 1, ()), 12: ("@altitude", 10, ()),
    16: ("segment.distance", 0.001, ()), 15: ("odometer", 0.001, ()), 17: ("segment.time", 1, ()),
    18: ("segment.time.valid", 1, ()), 19: ("power.external", 1000, ()), 20: ("power.battery", 1000, ()),
    29: ("inputs", 1, ()), 30: ("inputs.high", 1, ()), 31: ("outputs", 1, ()), 32: ("outputs.high", 1, ()),
    37: ("engine.seconds", 1, ()), 54: ("can.fuel.used", 1, ()), 55: ("can.engine.rpm", 1, (0xFFFF,)),
    56: ("can.coolant.temperature", 1, (-128,)), 57: ("can.odometer", 0.001, ()), 63: ("can.accelerator", 1, (255,)),
    64: ("can.brake", 1, (255,)), 65: ("can.engine.load", 1, (255,)), 67: ("can.engine.hours", 3600, (2**32 - 1,)),
    68: ("can.service.distance", 0.2, (-1,)), 69: ("can.speed", 1, (255,)), 72: ("precise.status", 1, ()),
    74: ("precise.altitude", 1000, ()), 75: ("precise.course", 100, ()), 76: ("precise.speed", 1, ()),
    98: ("tachograph.status", 1, ()), 99: ("tachograph.mode", 1, ()), 100: ("tachograph.flags", 1, ()),
    101: ("tachograph.speed", 1, (255,)), 102: ("tachograph.odometer", 0.01, (2**32 - 1,)),
    103: ("tachograph.time", 1, ()), 104: ("driver.status", 1, ()), 105: ("display.message", 1, ()),
    106: ("time.increment", 100, (65535,)), 108: ("driving.duration", 0.1, (65535,)),
    118: ("autoinformer.status", 1, ()), 119: ("geofence.last", 1, ()), 120: ("stop.last", 1, ()),
    121: ("route.last", 1, ()), 122: ("camera.status", 1, ()), 124: ("modules.3", 1, ()), 126: ("inputs.top", 1, ()),
    139: ("virtual.sensors", 1, ()), 140: ("tilt.vertical", 1, ()), 143: ("driving.vertical", 1000, (-32768,)),
    144: ("driving.maximum.speed", 1, ()), 145: ("driving.thresholds.speed", 1, ()), 171: ("flow.status", 1, ()),
    172: ("flow.faults", 1, ()), 173: ("flow.total", 100, (2**32 - 1,)), 174: ("flow.trip", 100, (2**32 - 1,)),
    175: ("flow.rate", 10, (-32768,)), 176: ("flow.supply.total", 100, (2**32 - 1,)),
    177: ("flow.supply.rate", 10, (-32768,)), 178: ("flow.supply.temperature", 10, (-32768,)),
    179: ("flow.return.total", 100, (2**32 - 1,)), 180: ("flow.return.rate", 10, (-32768,)),
    181: ("flow.return.temperature", 10, (-32768,)), 182: ("refrigerator.status", 1, ()),
    189: ("refrigerator.ambient", 100, (-32768,)), 190: ("refrigerator.coolant", 100, (-32768,)),
    191: ("refrigerator.voltage", 1000, (65535,)), 192: ("refrigerator.current", 1000, (65535,)),
    193: ("refrigerator.hours.engine", 100, (2**32 - 1,)), 194: ("refrigerator.hours.mains", 100, (2**32 - 1,)),
    199: ("refrigerator.compressor", 1, ()), 200: ("geofences", 1, ()), 201: ("can.security", 1, ()),
    202: ("can.event", 1, ()), 203: ("can.lamps", 1, ()), 205: ("engine.seconds.user", 1, ()),
    206: ("diagnosis", 1, ()),
}  # fmt: skip
RANGES: list[tuple[int, int, str, int, float, Sequence[float]]] = [
    (21, 8, "adc", 1, 1000, ()), (33, 2, "pulses", 1, 1, ()), (127, 6, "pulses", 3, 1, ()),
    (35, 2, "frequency", 1, 1, ()), (133, 6, "frequency", 3, 1, ()), (45, 8, "temperature", 1, 1, (-128,)),
    (58, 5, "can.axle", 1, 1, (65535,)), (78, 6, "fuel.temperature", 1, 1, (-128,)),
    (147, 16, "fuel.frequency", 1, 1, (65535,)), (163, 4, "temperature.precise", 1, 20, (-32768,)),
    (167, 4, "humidity", 1, 2, (255,)), (183, 3, "refrigerator.temperature", 1, 100, (-32768,)),
    (186, 3, "refrigerator.setpoint", 1, 100, (-32768,)), (207, 16, "user.byte", 1, 1, ()),
    (223, 15, "user.word", 1, 1, ()), (238, 15, "user.dword", 1, 1, ()), (253, 3, "user.qword", 1, 1, ()),
]  # fmt: skip
for first, count, name, start, divisor, none in RANGES:
    SCALED.update({first + k: (f"{name}.{start + k}", divisor, none) for k in range(count)})


def told(numbers: Sequence[int], values: Any) -> dict[str, Any]:
    """A declared record by the names of the measures: written apart from the decoder's tables."""
    found: dict[str, Any] = {}

    def put(name: str, value: float, divisor: float = 1, none: Sequence[float] = ()) -> None:
        if value not in none:
            found[name] = value if isinstance(value, int) and divisor == 1 else value / divisor

    for n in numbers:
        value = values[f"field_{n}"]
        if n in (13, 15, 16, 54, 57, 76):
            if not 0 <= value <= 1e12:
                continue
            value = float(value)
        if n in SCALED:
            name, divisor, none = SCALED[n]
            put(name, value, divisor, none)
        elif n == 4:
            found |= {"device.status": value, "alarm": value >> 2 & 1, "device.mode": value >> 3 & 3}
        elif n == 5:
            found |= {"modules.1": value, "gsm.registered": value >> 5 & 1, "gsm.roaming": value >> 6 & 1}
            found["ignition"] = value >> 7
        elif n == 6:
            found |= {"modules.2": value, "gsm.jamming.kind": value & 3, "gnss.jamming": value >> 2 & 1}
        elif n == 7 and value <= 31:
            found["gsm.signal"] = value * 100 / 31
        elif n == 8:
            found["gnss.on"] = int(value.on)
        elif n == 9 and not (3 in numbers and values.field_3 == value):
            found["gnss.time"] = value
        elif 38 <= n <= 44:
            fuel(found, 17 if n == 44 else n - 37, value)
        elif n in (53, 66):
            percent, litres = [("can.fuel.percent", "can.fuel.level"), ("adblue.percent", "can.adblue")][n == 66]
            if value >> 15 and value & 0x7FFF <= 100:
                found[percent] = value & 0x7FFF
            elif value < 0x7FFF:
                found[litres] = value / 10
        elif n == 70:
            found |= {f"gnss.visible.{system}": each for system, each in zip(SYSTEMS, value, strict=True)}
        elif n == 71:
            found |= {"hdop": value.hdop / 10, "pdop": value.pdop / 10}
        elif n == 73:
            found |= {"precise.latitude": value.latitude / 6e8, "precise.longitude": value.longitude / 6e8}
        elif n == 77:
            for k, cell in enumerate(value.cells, 1):
                found |= {f"gsm.{name}.{k}": cell[name] for name in ("cell", "area", "mcc", "mnc", "level")}
            found["gsm.cells.time"] = value.time
        elif 84 <= n <= 93:
            fuel(found, n - 77, value.level)
            put(f"fuel.temperature.{n - 77}", value.temperature, 1, (-128,))
        elif 94 <= n <= 97:
            for k, tyre in enumerate(value, {94: 1, 95: 3, 96: 7, 97: 15}[n]):
                put(f"tyre.wheel.{k}", tyre.wheel, 1, (0,))
                put(f"tyre.pressure.{k}", tyre.pressure, 10)
                put(f"tyre.temperature.{k}", tyre.temperature, 1, (-128,))
        elif n == 107:
            for axis, each in zip("xyz", value, strict=True):
                put(f"acceleration.{axis}", each, 1000, (-32768,))
        elif n == 109:
            for what, each in zip(("acceleration", "braking", "cornering"), value, strict=True):
                put(f"driving.{what}", each, 1000, (-32768,))
        elif 110 <= n <= 117:
            for k, each in enumerate(value, 2 * (n - 110) + 1):
                put(f"passengers.count.{k}", each, 1, (255,))
        elif n == 123:
            found |= {"case.status": value, "case.open": value & 1, "antenna.status": value >> 1 & 3}
        elif n == 125:
            found |= {"link.status": value, "link.kind": value & 7}
        elif n == 141:
            found |= {"tilt.pitch": value.pitch, "tilt.roll": value.roll * 1.5}
        elif n == 142:
            found |= {f"tilt.external.{axis}": each for axis, each in zip("xyz", value, strict=True)}
        elif n == 198:
            found |= {"refrigerator.engine.mode": value.mode, "refrigerator.engine.rpm": value.rpm}
        elif n == 204:
            found |= {"can.fault.lamps": value.lamps, "can.fault.code": value.code}
        elif n in (146, 195, 196, 197):
            found[{146: "driving.threshold.acceleration"}.get(n, f"refrigerator.errors.{n - 194}")] = value.hex()
    return {name: float(value) if isinstance(value, int) and value < 2**53 else value for name, value in found.items()}


def fuel(found: dict[str, Any], n: int, level: int) -> None:
    found[f"fuel.{'level' if level < 65_500 else 'status'}.{n}"] = level


@examples(60)
@given(choices())
def test_the_decoder_reads_what_the_declaration_says(choice: tuple[wire.Selection, list[bytes]]) -> None:
    selection, made = choice
    frame = Frame(selection.prefix + wire.archive(made), len(made))
    declared = wire.parse(frame.data)["records"]
    fields = wire.numbers(selection)
    for its, bytes_ in zip(declared, made, strict=True):
        if not any(isinstance(its[f"field_{n}"], float) and math.isnan(its[f"field_{n}"]) for n in fields):
            assert wire.record(selection, {n: its[f"field_{n}"] for n in fields}) == bytes_
    found = all_ways(new_decoder, [frame])
    for one, its in zip(found, declared, strict=True):
        expected = told(fields, its)
        altitude, course = expected.pop("@altitude", None), expected.pop("@course", None)
        assert differs(one["measures"], expected) == {}
        if 3 in fields:
            assert one["time"] == its.field_3 * 1_000_000
        assert one["altitude"] == (pytest.approx(altitude, rel=1e-6) if altitude is not None else None)
        assert one["course"] == (course if course is not None and course <= 360 else None)
        if {8, 10, 11} <= set(fields):
            valid = its.field_8.valid and abs(its.field_10) <= 54_000_000 and abs(its.field_11) <= 108_000_000
            assert (one["lat"] is not None) is bool(valid)
            assert one["satellites"] == its.field_8.satellites
            if valid:
                assert (one["lat"], one["lon"]) == (its.field_10 / 600_000, its.field_11 / 600_000)
        if 13 in fields:
            assert (one["speed"] is not None) is (0 <= its.field_13 <= 1e12)


@examples(60)
@given(choices(), st.binary(max_size=6), st.integers(0, 40))
def test_any_frame_decodes_or_is_refused(choice: tuple[wire.Selection, list[bytes]], other: bytes, at: int) -> None:
    selection, made = choice
    good = selection.prefix + wire.archive(made)
    spoilt = bytearray(good)
    spoilt[at % len(spoilt) : at % len(spoilt) + len(other)] = other
    frames = [Frame(good, len(made)), Frame(bytes(spoilt), len(made)), Frame(other, 1), Frame(good, len(made))]
    found = all_ways(new_decoder, frames)
    assert len([one for one in found if one["frame"] in (0, 3)]) == 2 * len(made)


def static(number: int = 7) -> dict[str, Any]:
    values = {"field_1": number, "field_2": 1, "field_3": 9, "field_8": {"satellites": 5, "valid": True, "on": True}}
    return {**values, **{f"field_{n}": 0 for n in (9, 10, 11, 12, 13, 14, 15)}}


def extra(*parts: tuple[int, bytes], number: int = 7, more: bytes = b"") -> bytes:
    """An additional record."""
    return wire.ADDITIONAL.build(
        {
            "version": 10, "static": {"known": static(number), "more": more},
            "parts": [{"kind": kind, "data": data} for kind, data in parts],
        }
    )  # fmt: skip


def test_parts_of_additional_records() -> None:
    made = [
        extra((1, bytes(range(8))), number=1),
        extra((1, bytes(8)), (9, b"\x01\x02"), number=2),
        extra((3, b"\x05" * 8), (3, b"\x06" * 8), number=3, more=b"\xaa\xbb"),
        extra((1, b"short"), number=4),
        extra(number=5),
    ]
    _, (frame, *_) = session_of(wire.additional(made))
    assert frame.records == 5
    found = all_ways(new_decoder, [frame])
    own = [
        {k: v for k, v in one["measures"].items() if k not in ("event", "gnss.on", "gnss.time", "odometer")}
        for one in found
    ]
    assert own == [
        {"record.number": 1, "driver.key": "0706050403020100"},
        {"record.number": 2, "part.9": "0102"},  # no key on the reader
        {"record.number": 3, "rfid": "05" * 8, "io.259.2": "06" * 8},
        {"record.number": 4, "part.1": b"short".hex()},
        {"record.number": 5},
    ]
    urgent = sealed(b"~X\x05\0\0\0" + made[0])
    session, (frame, *_) = session_of(urgent)
    assert session.acknowledge(frame) == sealed(b"~X\x05\0\0\0")
    broken = frame.data[:-1].replace(bytes((1, 8)), bytes((1, 9)), 1) + b"\0"
    assert refused(new_decoder().decode([Frame(broken, 1)]))[0][1] == "structure"


# -- field 100 has had two sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("step", CUTS)
def test_the_first_checksum_tells_how_long_field_100_is(short: bool, step: int) -> None:
    selection = wire.selection((1, 3, 100, 101), 122, short=short)
    login = HANDSHAKE + wire.agreement(selection, 0x14)
    record = wire.record(selection, {1: 5, 3: 6, 100: 7, 101: 8})
    session, events = session_of(wire.archive([record, record]) + wire.urgent(9, record), step, login)
    first, second = of_kind(events, Frame)
    assert of_kind(events, Malformed) == []
    found = all_ways(new_decoder, [first, second])
    assert [one["measures"] for one in found] == [
        {"record.number": 5, "tachograph.flags": 7, "tachograph.speed": 8}
    ] * 3
    assert session.acknowledge(second) == sealed(b"~T\x09\0\0\0")


# -- the session -------------------------------------------------------------------------------------------------------

UNSEALED = ARCHIVE[:-1] + bytes((ARCHIVE[-1] ^ 1,))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / ", "login"),
        (b"~A", "login"),
        (PING, "login"),
        (ntcb(b"*>S:86177405812763X"), "login"),
        (ntcb(b"*>S:86177405812"), "login"),
        (ntcb(b"*?V"), "login"),
        (HANDSHAKE + ntcb(b"*>S:861774058127643"), "login"),
        (HANDSHAKE[:15] + b"\0" + HANDSHAKE[16:], "checksum"),
        (HANDSHAKE[:-1] + b"6", "checksum"),
        (HANDSHAKE + ntcb(bytes(4097)), "length"),
        (HANDSHAKE + ARCHIVE, "structure"),  # before the agreement
        (HANDSHAKE + b"$", "structure"),
        (HANDSHAKE + b"@NTX", "structure"),
        (HANDSHAKE + ntcb(b"*>FLEX\xb0\x14\x14\x00"), "structure"),
        (HANDSHAKE + ntcb(b"*>FLEX\xb1\x14\x14\x08\xff"), "structure"),
        (HANDSHAKE + ntcb(b"*>FLEX\xb0\x14\x14\x08\xff\xff"), "structure"),
        (HANDSHAKE + ntcb(b"*>FLEX\xb0\x14\x14\x08\x00"), "structure"),
        (HANDSHAKE + ntcb(b"*>FLEX"), "structure"),
        (LOGIN + b"~A\x00\x00", "structure"),
        (LOGIN + b"~E\x01\x05\x00", "structure"),
        (LOGIN + b"~Q\x01", "unsupported"),
        (LOGIN + b"~Z\x01", "structure"),
        (LOGIN + UNSEALED + ARCHIVE, "checksum"),
        (LOGIN + b"#\x01", "structure"),
    ],
)
def test_what_ends_the_connection(data: bytes, reason: str) -> None:
    session = FlexSession()
    events = feed(session, data)
    assert [event.reason for event in of_kind(events, Malformed)] == [reason]
    assert isinstance(events[-1], Close)
    assert of_kind(events, Frame) == []
    assert session.encode_command("*?V") == b""
    assert session.receive_data(ARCHIVE, 0.0) == ()


def test_what_came_before_the_damage_is_acknowledged_still() -> None:
    session, events = session_of(ARCHIVE + UNSEALED + URGENT)
    assert [type(event) for event in events] == [Frame, Malformed, Close]
    assert events[1] == Malformed("checksum", len(LOGIN) + len(ARCHIVE))
    assert session.acknowledge(events[0]) == ARCHIVE_ACK


@pytest.mark.parametrize(
    ("body", "reason", "reply"),
    [
        (b"*>CODE\x01" + bytes(16), "unsupported", b"*<CODE\0"),
        (b"*>A\x01", "unsupported", b""),
        (b"*>T\x01", "unsupported", b""),
    ],
)
def test_what_is_not_spoken_but_does_no_harm(body: bytes, reason: str, reply: bytes) -> None:
    _, events = session_of(ntcb(body) + ARCHIVE)
    assert [event.reason for event in of_kind(events, Malformed)] == [reason]
    assert [event.data for event in of_kind(events, Reply)] == ([ntcb(reply, 0, 1)] if reply else [])
    assert len(of_kind(events, Frame)) == 1


def test_a_damaged_message_gets_no_answer_and_harms_nothing_behind_it() -> None:
    spoilt = ANSWER[:-1] + b"?"
    _, events = session_of(spoilt + ARCHIVE)
    assert [type(event) for event in events] == [Malformed, Frame]


def test_empty_messages_and_handshakes_again() -> None:
    _, events = session_of(ntcb(b"") + HANDSHAKE + PING * 3)
    assert events == [Reply(GREETING)]


def test_an_unknown_version_is_offered_the_newest_once() -> None:
    odd = ntcb(b"*>FLEX\xb0\x28\x28\x08\xff")
    session = FlexSession()
    events = feed(session, HANDSHAKE + odd, close=False)
    assert of_kind(events, Reply)[-1].data == ntcb(b"*<FLEX\xb0\x1e\x1e", 0, 1)
    (damage, _) = session.receive_data(odd, 0.0)
    assert damage.reason == "unsupported"
    older = ntcb(b"*>FLEX\xb0\x0a\x0a\x08\xff")
    session = FlexSession()
    assert of_kind(feed(session, HANDSHAKE + odd + older, close=False), Reply)[-1].data == DOWN


def test_ids_are_the_login_s_the_other_way_round() -> None:
    session = FlexSession()
    events = feed(session, wire.handshake(IMEI, 77, 4_000_000_000), close=False)
    assert of_kind(events, Reply)[0].data == ntcb(b"*<S", 4_000_000_000, 77)
    assert session.encode_command("*?S") == ntcb(b"*?S", 4_000_000_000, 77)


def test_a_new_agreement_holds_for_what_follows() -> None:
    selection = wire.selection((1, 3), 69)
    record = wire.record(selection, {1: 5, 3: 6})
    _, events = session_of(ARCHIVE + wire.agreement(selection, 0x0A) + wire.archive([record]))
    first, second = of_kind(events, Frame)
    found = all_ways(new_decoder, [second, first])
    assert len(found[0]["measures"]) == 1
    assert found[0]["time"] == 6_000_000


@pytest.mark.parametrize(
    ("body", "answer", "text"),
    [
        (b"*@SETOUT OK,1Y", True, "*@SETOUT OK,1Y"),
        (b"*Z:*?X", False, "*Z:*?X"),
        (b"*>NOTE", None, "*>NOTE"),
        (b"\x00\x01", None, None),
    ],
)
def test_what_answers_a_command(body: bytes, answer: bool | None, text: str | None) -> None:
    _, (message, *_) = session_of(ntcb(body))
    assert (message.answer, message.text, message.data) == (answer, text, body)


@pytest.mark.parametrize(
    ("text", "fine"), [("*?V", True), ("*!SETOUT 1Y", True), ("V", False), ("", False), ("*?é", False)]
)
def test_which_text_is_a_command(text: str, fine: bool) -> None:
    assert PROTOCOL.command_problem is not None
    assert (PROTOCOL.command_problem(text) == "") is fine


def test_an_archive_is_asked_again_as_the_maker_says() -> None:
    """Source: Navtelecom's wiki, standard commands, "Re-Upload Telemetry"."""
    assert PROTOCOL.archive_command is not None
    text = PROTOCOL.archive_command(1_523_278_859.9, 1_523_329_199.1)
    assert text == "*!REP_FL 1,09.04.18/13:00:59,10.04.18/03:00:00"
    assert PROTOCOL.command_problem is not None
    assert PROTOCOL.command_problem(text) == ""


def test_truncation_is_told_at_every_byte() -> None:
    for data in (ARCHIVE, URGENT, ADDITIONAL, ANSWER):
        for size in range(1, len(data)):
            _, events = session_of(data[:size])
            assert events == [Malformed("truncated", len(LOGIN))]


def test_a_login_nobody_answers_is_bounded() -> None:
    session = FlexSession()
    session.receive_data(HANDSHAKE, 0.0)
    found: list[Event] = []
    for _ in range(30):
        found += session.receive_data(bytes(1000), 0.0)
    assert [type(event) for event in found] == [Malformed, Close]
    session = FlexSession()
    session.receive_data(HANDSHAKE, 0.0)
    assert [type(event) for event in session.refuse()] == [Close]


@examples(200)
@given(st.lists(st.sampled_from([v.wire for v in VECTORS]) | st.binary(max_size=30), max_size=5), st.sampled_from(CUTS))
def test_any_bytes_end_in_events(pieces: list[bytes], step: int) -> None:
    events = feed(FlexSession(), b"".join(pieces), step)
    assert of_kind(events, Close) == [] or isinstance(events[-1], Close)
    PROTOCOL.decode(of_kind(events, Frame))


# -- the terminal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", FlexTerminal.models)
def test_the_terminal_s_records_are_the_declaration_s(model: str) -> None:
    scenario = Scenario(seed=6, terminals=6, mix={"flex": 1})
    tanks = set()
    for spec in make_fleet(scenario):
        vehicle = Vehicle(spec, scenario)
        for _ in range(5):
            reading = vehicle.read(vehicle.due, 1_790_000_000_000)
            tanks.add(len(reading.fuel))
            second = reading.fuel[1] if len(reading.fuel) > 1 else None
            event = (6064 if reading.ignition else 6065) if reading.changed else 4688
            values = {
                1: 99, 2: event, 3: reading.time // 1000, 5: 0x20 | 0x80 * reading.ignition, 7: signal(reading.gsm),
                8: {"satellites": reading.satellites, "valid": reading.satellites > 0, "on": True}, 9: 77,
                10: ten_thousandths(reading.lat), 11: ten_thousandths(reading.lon), 12: reading.altitude * 10,
                13: reading.speed, 14: reading.course, 15: reading.odometer / 1000, 19: reading.external,
                20: reading.battery, 29: int(reading.ignition), 38: reading.fuel[0].level,
                39: second.level if second else NOT_INITIALISED, 55: reading.rpm, 71: {"hdop": HDOP, "pdop": PDOP},
                78: reading.fuel[0].temperature, 79: second.temperature if second else -128,
            }  # fmt: skip
            assert fast_record(model, reading, 99, 77) == wire.record(chosen(model), values)
    assert tanks == {1, 2}


def test_rows_of_a_frame_are_those_of_its_records() -> None:
    _, (frame, *_) = session_of(ARCHIVE)
    assert [one["position"] for one in rows_of(PROTOCOL.decode([frame]).batch)] == [0, 1]
