"""Galileosky: worked packets value by value, the declaration against the decoder, what answers what."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from construct import ConstructError
from hypothesis import given
from hypothesis import strategies as st

from protocols.galileosky import PROTOCOL
from protocols.galileosky import declaration as wire
from protocols.galileosky.decoder import new_decoder
from protocols.galileosky.measures import TAGS
from protocols.galileosky.session import MAX_FRAME, GalileoskySession
from protocols.galileosky.terminal import _NUMBER, fast_record, microdegrees, quality
from protocols.records import (
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    TIME_UNKNOWN,
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
from tests.protocols.galileosky_vectors import (
    ANSWER,
    ANSWER_TEXT,
    COMMAND,
    COMPRESSED,
    DATA,
    DATA_ACK,
    EXTENDED,
    HEAD,
    HEAD_ACK,
    IMEI,
    RECEIVED,
    VECTORS,
)
from tests.protocols.helpers import CUTS, feed, of_kind, rows
from tests.protocols.learned_checks import all_ways, differs, refused
from tests.protocols.rows import rows_of

ON = VALID | IGNITION_KNOWN | IGNITION_ON | MOVING


def session_of(data: bytes, step: int = 1 << 20) -> tuple[GalileoskySession, list[Event]]:
    """A session that was given these bytes behind a head packet."""
    session = GalileoskySession()
    assert of_kind(feed(session, HEAD, close=False), Login)
    return session, feed(session, data, step, now=RECEIVED)


def decoded(*packets: bytes) -> list[dict[str, Any]]:
    """The records of data packets."""
    _, events = session_of(b"".join(packets))
    return all_ways(new_decoder, of_kind(events, Frame))


def row(found: dict[str, Any], **expected: Any) -> None:
    """Every value of a record."""
    measures = {name.replace("__", "."): value for name, value in expected.pop("measures").items()}
    names = ("time", "lat", "lon", "altitude", "speed", "course", "satellites", "flags")
    assert differs({name: found[name] for name in names}, expected) == {}
    assert differs(found["measures"], measures) == {}


# -- worked packets ---------------------------------------------------------------------------------------------------


def test_two_records() -> None:
    first, second = decoded(DATA)
    row(
        first,
        time=1_738_996_880_000_000,
        lat=55.021847, lon=82.934112, altitude=163.0, speed=46.3, course=187.4, satellites=12, flags=ON,
        measures={
            "device__number": 417, "record__number": 61207, "gnss__source": 0, "hdop": 0.8, "status": 0x3301,
            "movement": 1, "ignition": 1, "alarm": 0, "gsm__signal": 100.0, "power__external": 13.76,
            "power__battery": 4.085, "board__temperature": -19, "outputs": 1, "inputs": 2, "input__value__1": 27480,
            "fuel__level__1": 1904, "fuel__temperature__1": -20, "fuel__level__2": 2655, "fuel__level__4": 3011,
            "fuel__temperature__4": -21, "can__fuel__used": 41873.5, "can__fuel__percent": 62.4,
            "can__coolant__temperature": 81, "can__engine__rpm": 1350, "can__odometer": 184223415, "odometer": 96213,
        },
    )  # fmt: skip
    row(
        second,
        time=1_738_996_910_000_000,
        lat=None, lon=None, altitude=160.0, speed=0.0, course=0.0, satellites=0, flags=IGNITION_KNOWN | IGNITION_ON,
        measures={
            "device__number": 417, "record__number": 61208, "gnss__source": 1, "hdop": 9.9, "status": 0x2300,
            "movement": 0, "ignition": 1, "alarm": 0, "gsm__signal": 200 / 3, "power__external": 12.41,
            "power__battery": 4.08, "board__temperature": -19, "outputs": 0, "inputs": 0, "input__value__1": 12390,
            "fuel__level__1": 1901, "fuel__temperature__1": -20, "fuel__status__2": 65530, "fuel__level__4": 3009,
            "fuel__temperature__4": -21, "can__fuel__used": 41873.5, "can__fuel__percent": 62.0,
            "can__coolant__temperature": 80, "can__engine__rpm": 0, "can__odometer": 184223900, "odometer": 96240,
        },
    )  # fmt: skip


def test_a_place_by_cells_and_extended_tags() -> None:
    (found,) = decoded(EXTENDED)
    row(
        found,
        time=1_738_996_940_000_000,
        lat=55.019, lon=82.93, altitude=None, speed=None, course=None, satellites=0, flags=VALID,
        measures={
            "record__number": 61209, "gnss__source": 2, "gnss__error": 520, "status__extended": 3, "gsm__jamming": 0,
            "bluetooth__1": 0x12345678, "gsm__cell": 20311, "gsm__area": 7715, "gsm__mcc": 250, "gsm__mnc": 1,
            "gsm__rssi": 71,
        },
    )  # fmt: skip


def test_compressed() -> None:
    first, second = decoded(COMPRESSED)
    row(
        first,
        time=1_738_996_970_000_000,
        lat=55.01884460449219, lon=82.93055534362793, altitude=None, speed=31.2, course=187.5, satellites=-1,
        flags=VALID | MOVING,
        measures={"alarm": 0, "user__tag": 291, "power__external": 13.744, "fuel__level__1": 1899},
    )  # fmt: skip
    row(
        second,
        time=1_738_996_985_000_000,
        lat=-33.44718933105469, lon=-70.66886901855469, altitude=None, speed=0.0, course=0.0, satellites=-1,
        flags=VALID,
        measures={"alarm": 1, "user__tag": 0, "power__external": 13.73, "fuel__level__1": 1898},
    )  # fmt: skip


@pytest.mark.parametrize("step", CUTS)
def test_events_do_not_depend_on_how_the_stream_was_cut(step: int) -> None:
    session = GalileoskySession()
    events = feed(session, HEAD + DATA + COMPRESSED + ANSWER + EXTENDED, step, now=RECEIVED)
    kinds = [Login, Reply, Frame, Frame, Message, Identified, Frame]
    assert [type(event) for event in events] == kinds
    login, reply, *_ = events
    assert login == Login(IMEI, firmware="39", model="Dev154")
    assert reply == Reply(HEAD_ACK)
    two, compressed, one = of_kind(events, Frame)
    assert (two.records, two.offset, two.data) == (2, len(HEAD), DATA)
    assert (compressed.records, compressed.variant) == (2, RECEIVED // 86_400)
    assert session.acknowledge(two) == DATA_ACK
    assert session.acknowledge(compressed) == b"\x02" + COMPRESSED[-2:]
    (answer,) = of_kind(events, Message)
    assert (answer.text, answer.answer) == (ANSWER_TEXT, None)  # to what this connection never asked
    assert session.acknowledge(answer) == b"\x02" + ANSWER[-2:]
    assert session.acknowledge(one) == b"\x02" + EXTENDED[-2:]


# -- the year of a compressed packet ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("received", "seconds", "time"),
    [
        (1_735_689_600 + 60, 10, 1_735_689_610),  # 2025 began a minute ago
        (1_735_689_600 + 60, 31_622_399, 1_735_689_599),  # the last second of 2024, sent late
        (1_735_689_600 + 60, 86_430, 1_735_689_600 + 86_430),  # a clock that is fast by less than a day
    ],
)
def test_seconds_count_from_the_year_in_which_it_is_received(received: int, seconds: int, time: int) -> None:
    values = {"seconds": seconds, "invalid": False, "longitude": 0, "latitude": 0, "alarm": False, "user": 0}
    session = GalileoskySession()
    events = feed(session, HEAD + wire.compressed([], [(values, [])]), now=received)
    (found,) = rows(PROTOCOL.decode(of_kind(events, Frame)).batch)
    assert found["time"] == time * 1_000_000


# -- the decoder and the declaration ----------------------------------------------------------------------------------

_PLAIN = [tag for tag, known in TAGS.items() if known.size > 0]


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Records of any tags in order, of any values."""
    out = b""
    for _ in range(draw(st.integers(1, 4))):
        chosen = sorted(
            draw(st.sets(st.sampled_from([*_PLAIN, 0xE1, 0xEA, 0xEB, 0xFE, 0x5B]), min_size=1, max_size=12))
        )
        for tag in chosen:
            out += bytes((tag,))
            if tag in (0xE1, 0xEA, 0xEB):
                value = draw(st.binary(max_size=9))
                out += bytes((len(value),)) + value
            elif tag == 0x5B:
                flags = draw(st.integers(0, 0xFFFF))
                out += wire.REFRIGERATOR.build(
                    {
                        "type": 1,
                        "flags": flags,
                        "inputs": [0] * 4,
                        "rest": draw(_bytes(wire._refrigerator_rest(_F(flags)))),
                    }
                )
            elif tag == 0xFE:
                codes = draw(st.lists(st.sampled_from([1, 32, 33, 96, 97, 128, 129, 132, 133]), max_size=4))
                rest = draw(st.sampled_from([b"", b"\x00\x02abc", b"\x01"]))
                inner = b"".join(
                    code.to_bytes(2, "little") + draw(_bytes(wire.EXTENDED_SIZES[code].sizeof())) for code in codes
                )
                out += (len(inner) + len(rest)).to_bytes(2, "little") + inner + rest
            else:
                out += draw(_bytes(TAGS[tag].size))
    return out


class _F:
    def __init__(self, flags: int) -> None:
        self.flags = flags


def _bytes(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size) | st.just(bytes(size)) | st.just(b"\xff" * size)


def _told(values: Iterable[Any]) -> dict[str, Any]:
    """A declared record's values by the names of the measures: written apart from the decoder's tables."""
    found: dict[str, Any] = {}
    seen: dict[int, Any] = {tag.tag: tag.value for tag in values}
    source = seen[0x30].head.validity if 0x30 in seen else None
    simple = {
        0x01: ("device.hardware", 1), 0x02: ("device.firmware", 1), 0x04: ("device.number", 1),
        0x10: ("record.number", 1), 0x41: ("power.external", 1000), 0x42: ("power.battery", 1000),
        0x43: ("board.temperature", 1), 0x45: ("outputs", 1), 0x46: ("inputs", 1), 0x5A: ("energy.meter", 1),
        0x88: ("fuel.temperature.17", 1), 0x89: ("fuel.temperature.18", 1), 0x8A: ("fuel.temperature.1", 1),
        0x8B: ("fuel.temperature.2", 1), 0x8C: ("fuel.temperature.3", 1), 0xC0: ("can.fuel.used", 2),
        0xC2: ("can.odometer", 0.2), 0xC3: ("can.b1", 1), 0xD4: ("odometer", 1), 0xD5: ("driver.keys", 1),
        0xE0: ("command.number", 1),
    }  # fmt: skip
    for tag, value in seen.items():
        match tag:
            case _ if tag in simple:
                name, divisor = simple[tag]
                found[name] = value / divisor
            case 0x30:
                found["gnss.source"] = source
            case 0x35:
                found |= {"gnss.error": value * 10} if source == 2 else {"hdop": value / 10}
            case 0x40:
                found |= {"status": value, "movement": value & 1, "ignition": value >> 9 & 1, "alarm": value >> 15}
                found["gsm.signal"] = (value >> 12 & 3) * 100 / 3
            case 0x44:
                found |= {
                    f"acceleration.{axis}": ((value >> 10 * k & 1023) - 512) / 186 for k, axis in enumerate("xyz")
                }
            case 0x47:
                names = ("acceleration", "braking", "cornering", "bump")
                found |= {f"driving.{name}": one / 100 for name, one in zip(names, value, strict=True)}
            case 0x48:
                found |= {"status.extended": value, "gsm.jamming": value >> 2 & 1}
            case _ if 0x50 <= tag < 0x58:
                found[f"input.value.{tag - 0x4F}"] = value
            case 0x58 | 0x59:
                _fuel(found, tag - 0x58 + 17, value)
            case 0x60 | 0x61 | 0x62:
                _fuel(found, tag - 0x5F, value)
            case _ if 0x63 <= tag < 0x70:
                _fuel(found, tag - 0x5F, value.level)
                found[f"fuel.temperature.{tag - 0x5F}"] = value.temperature
            case 0x5B:
                found["refrigerator"] = wire.REFRIGERATOR.build(value).hex()
            case 0x5C | 0x5D | 0xFA | 0xFD:
                found[{0x5C: "tpms", 0x5D: "dosimeter", 0xFA: "io.250", 0xFD: "io.253"}[tag]] = value.hex()
            case _ if 0x70 <= tag < 0x78:
                found[f"temperature.id.{tag - 0x6F}"] = value.id
                if value.temperature != -128:
                    found[f"temperature.{tag - 0x6F}"] = value.temperature
            case _ if 0x80 <= tag < 0x88:
                n = tag - 0x7F
                found |= {f"climate.id.{n}": value.id, f"climate.temperature.{n}": value.temperature}
                found[f"climate.humidity.{n}"] = value.humidity * 100 / 255
            case 0x90 | 0xD3 if value:
                found["driver.key" + (".2" if tag == 0xD3 else "")] = f"{value:08x}"
            case 0xC1:
                found |= {"can.fuel.percent": value.level * 0.4, "can.coolant.temperature": value.coolant - 40}
                found["can.engine.rpm"] = value.rpm * 0.125
            case 0xE1 if value.strip(b"\0"):
                try:
                    text = value.rstrip(b"\0").decode("cp1251")
                except UnicodeDecodeError:
                    text = ""
                found["command.text"] = text if text and text.isprintable() else value.hex()
            case 0xEA | 0xEB if value:
                found["user.array" if tag == 0xEA else "command.data"] = value.hex()
            case _ if 0xE2 <= tag < 0xEA:
                found[f"user.{tag - 0xE1}"] = value
            case 0xFE:
                _extended(found, value)
            case _:
                for first, count, name, start in (
                    (0xA0, 16, "can.byte", 16), (0xC4, 15, "can.byte", 1), (0xB0, 10, "can.word", 6),
                    (0xD6, 5, "can.word", 1), (0xDB, 5, "can.dword", 1), (0xF0, 10, "can.dword", 6),
                ):  # fmt: skip
                    if first <= tag < first + count:
                        found[f"{name}.{tag - first + start}"] = value
    return {name: float(value) if not isinstance(value, str) else value for name, value in found.items()}


def _fuel(found: dict[str, Any], n: int, level: int) -> None:
    found[f"fuel.{'level' if level <= 4095 else 'status'}.{n}"] = level


def _extended(found: dict[str, Any], value: Any) -> None:
    times: dict[int, int] = {}
    told, rest = wire.extended_tags(value)
    for code, one in told:
        times[code] = times.get(code, 0) + 1
        size = wire.EXTENDED_SIZES[code].sizeof()
        if times[code] > 1:
            found[f"io.{0x10000 + code}.{times[code]}"] = one.to_bytes(size, "little").hex()
        elif code < 0x21:
            found[f"modbus.{code}"] = one
        elif code < 0x61:
            found[f"bluetooth.{code - 0x20}"] = one
        elif code < 0x81:
            found[f"modbus.{code - 0x40}"] = one
        else:
            found[("gsm.cell", "gsm.area", "gsm.mcc", "gsm.mnc", "gsm.rssi")[code - 0x81]] = one
    if rest:
        found["io.254"] = rest.hex()


@examples(80)
@given(records())
def test_the_decoder_reads_what_the_declaration_says(body: bytes) -> None:
    data = wire.packet(body)
    declared = wire.parse(data)["records"]
    assert b"".join(wire.record([(tag.tag, tag.value) for tag in one]) for one in declared) == body
    found = all_ways(new_decoder, [Frame(data, len(declared))])
    assert len(found) == len(declared)
    for one, values in zip(found, declared, strict=True):
        assert differs(one["measures"], _told(values)) == {}
        seen = {tag.tag: tag.value for tag in values}
        assert one["time"] == (seen[0x20] * 1_000_000 if 0x20 in seen else TIME_UNKNOWN)
        place = seen.get(0x30)
        valid = bool(
            place
            and place.head.validity in (0, 2)
            and abs(place.latitude) <= 90_000_000
            and abs(place.longitude) <= 180_000_000
        )
        assert (one["lat"], one["lon"]) == ((place.latitude / 1e6, place.longitude / 1e6) if valid else (None, None))
        assert one["satellites"] == (place.head.satellites if place else -1)
        assert one["altitude"] == seen.get(0x34)
        motion = seen.get(0x33)
        assert one["speed"] == (pytest.approx(motion.speed / 10) if motion else None)
        assert one["course"] == (pytest.approx(motion.course / 10) if motion and motion.course <= 3600 else None)
        assert bool(one["flags"] & VALID) is valid


@examples(80)
@given(records(), st.data())
def test_damaged_packets_are_the_same_on_all_ways_and_never_raise(body: bytes, data: st.DataObject) -> None:
    spoilt = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    header = data.draw(st.sampled_from([1, 8]))
    frames = [Frame(wire.packet(one, header), 1, 0, 20_000) for one in (body, bytes(spoilt), body)]
    found = all_ways(new_decoder, frames)
    try:
        declared = wire.parse(frames[1].data)["records"]
    except (ConstructError, IndexError, KeyError):
        return
    assert len([one for one in found if one["frame"] == 1]) == len(declared)


def test_what_lies_where_behind_a_refrigerator_depends_on_its_flags() -> None:
    """Two records of one length and the same bytes where the first has its codes."""
    sensor = bytes.fromhex("5b 01 1000 00000000 8805 a007")  # one sensor's two bytes belong to the unit
    none = bytes.fromhex("5b 01 0000 00000000 8805 a007")  # none: they are a tag
    decoder = new_decoder()
    for _ in range(2):
        found = rows_of(decoder.decode([Frame(wire.packet(sensor), 1), Frame(wire.packet(none), 1)]).batch)
        assert [sorted(one["measures"]) for one in found] == [
            ["can.byte.16", "refrigerator"], ["can.byte.16", "fuel.temperature.17", "refrigerator"],
        ]  # fmt: skip


def test_what_stands_before_an_unknown_tag_is_kept_and_the_rest_is_too() -> None:
    good = wire.record([(0x10, 1), (0x20, 5)])
    bad = wire.record([(0x10, 2), (0x20, 6)]) + b"\xfb\x01"
    data = wire.packet(good + good.replace(b"\x01", b"\x03") + bad + good)
    _, events = session_of(data)
    (frame,) = of_kind(events, Frame)
    assert frame.records == 3
    decoded = new_decoder().decode([frame])
    assert [one["measures"]["record.number"] for one in rows_of(decoded.batch)] == [1, 3]
    assert refused(decoded) == [(0, "tag", bad + good)]
    assert PROTOCOL.member(bad + good, 0)["record.number"] == 2
    assert PROTOCOL.member(data, 0) is None


def test_neighbours_of_a_damaged_packet_are_read() -> None:
    bad = wire.packet(b"\x10\x01\x00\xfb")
    found = new_decoder().decode([Frame(DATA, 2), Frame(bad, 2), Frame(EXTENDED, 1)])
    assert [one["frame"] for one in rows_of(found.batch)] == [0, 0, 2]
    assert refused(found) == [(1, "tag", b"\x10\x01\x00\xfb")]


# -- the session ------------------------------------------------------------------------------------------------------


def test_a_checksum_that_fails_is_no_record_and_gets_no_ack() -> None:
    spoilt = bytearray(DATA)
    spoilt[40] ^= 4
    session, events = session_of(bytes(spoilt) + EXTENDED)
    damage, good = events
    assert damage == Malformed("checksum", len(HEAD))
    assert session.acknowledge(good) == b"\x02" + EXTENDED[-2:]  # names its own packet: releases no other
    _, events = session_of(bytes(spoilt) * 5)
    assert [type(event) for event in events] == [Malformed] * 3 + [Close]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x55" + HEAD, "structure"),
        (b"\x01\x00\x00", "length"),
        (b"\x01\x01\x10", "length"),
        (DATA, "login"),  # nobody has said who this is
        (wire.packet(b"\x03" + b"86177405812763A"), "login"),
        (HEAD + wire.head("861774058127643"), "login"),
        (HEAD[:-1] + b"\x00", "checksum"),
    ],
)
def test_what_is_refused(data: bytes, reason: str) -> None:
    events = feed(GalileoskySession(), data)
    assert [event.reason for event in of_kind(events, Malformed)] == [reason]
    assert isinstance(events[-1], Close)


def test_an_imei_among_the_data_is_a_login_too() -> None:
    record = wire.record([(3, IMEI.encode()), (0x10, 7), (0x20, 9)])
    session = GalileoskySession()
    events = feed(session, wire.packet(record))
    assert [type(event) for event in events] == [Login, Frame]
    (found,) = rows(PROTOCOL.decode(of_kind(events, Frame)).batch)
    assert found["measures"] == {"record.number": 7}
    session = GalileoskySession()
    listed = wire.compressed([3, 0x20], [(None, [IMEI.encode(), 5]), (None, [IMEI.encode(), 6])])
    events = feed(session, listed)
    assert of_kind(events, Login) == [Login(IMEI)]
    assert [one["time"] for one in rows(PROTOCOL.decode(of_kind(events, Frame)).batch)] == [5_000_000, 6_000_000]


def test_garmin_and_photos_are_evidence() -> None:
    garmin, photo = wire.packet(b"abc", 6), wire.packet(b"\x01\xff\xd8", 7)
    session, events = session_of(garmin + photo + DATA)
    first, second, third = events
    assert (first.kind, second.kind) == ("garmin", "photo")
    assert session.acknowledge(first) == b""
    assert session.acknowledge(second) == b"\x07" + photo[-2:]
    assert session.acknowledge(third) == DATA_ACK


def test_a_truncated_packet_is_told() -> None:
    for size in range(1, len(DATA)):
        _, events = session_of(DATA[:size])
        assert events == [Malformed("truncated", len(HEAD))]


def test_a_login_nobody_answered_is_no_damage_and_bounded() -> None:
    session = GalileoskySession()
    assert of_kind(list(session.receive_data(HEAD, 0.0)), Login)
    assert session.end_of_stream() == ()
    session = GalileoskySession()
    session.receive_data(HEAD, 0.0)
    found: list[Event] = []
    for _ in range(100):
        found += session.receive_data(bytes(MAX_FRAME), 0.0)
    assert [type(event) for event in found] == [Malformed, Close]


def test_the_usual_read_is_a_frame_at_once() -> None:
    record = wire.record([(0x10, 7), (0x20, 9), (0x41, 12_000)])
    data = wire.packet(record * 3)
    session, _ = session_of(b"")
    session = GalileoskySession()
    feed(session, HEAD, close=False)
    assert session.run(data) is None  # nothing like it has come yet
    (first,) = session.receive_data(data, 0.0)
    again = session.run(data)
    assert again == Frame(data, 3, first.offset + len(data))
    spoilt = data[:-1] + bytes((data[-1] ^ 1,))
    for other in (spoilt, data[:-1], data + data, EXTENDED, ANSWER, wire.packet(record + b"\x10\x01")):
        assert session.run(other) is None
    session.receive_data(data[:5], 0.0)
    assert session.run(data) is None


def test_commands_and_their_answers() -> None:
    session = GalileoskySession()
    assert session.encode_command("status") == b""
    feed(session, HEAD, close=False)
    assert session.ask_version() == b""  # the head packet told
    words = session.encode_command("Status")
    told = wire.parse(words)["records"][0]
    assert {tag.tag: tag.value for tag in told} == {3: IMEI.encode(), 4: 417, 0xE0: 1, 0xE1: b"Status"}
    assert words == wire.packet(wire.record([(tag.tag, tag.value) for tag in told]))

    def answer(number: int) -> Message:
        packet = wire.packet(wire.record([(3, IMEI.encode()), (4, 417), (0xE0, number), (0xE1, "Да".encode("cp1251"))]))
        (found,) = of_kind(list(session.receive_data(packet, 0.0)), Message)
        assert session.acknowledge(found) == b"\x02" + packet[-2:]
        return found

    assert (answer(1).answer, answer(1).text) == (True, "Да")
    session.encode_command("Reset")
    assert answer(1).answer is None  # comes late: to the command before
    assert answer(2).answer is True


def test_a_terminal_that_did_not_tell_its_firmware_is_asked() -> None:
    session = GalileoskySession()
    feed(session, wire.packet(b"\x03" + IMEI.encode()), close=False)
    asked = session.ask_version()
    assert asked == COMMAND.replace(COMMAND[23:27], bytes(4))[:-2] + asked[-2:]
    packet = wire.packet(wire.record([(3, IMEI.encode()), (0xE0, 0), (0xE1, ANSWER_TEXT.encode())]))
    message, identified = session.receive_data(packet, 0.0)
    assert (message.answer, identified) == (True, Identified("39", "Dev154"))
    assert session.ask_version() == asked


@pytest.mark.parametrize(
    ("text", "fine"), [("status", True), ("Имя", True), ("", False), ("x" * 256, False), ("é", False)]
)
def test_which_text_is_a_command(text: str, fine: bool) -> None:
    assert PROTOCOL.command_problem is not None
    assert (PROTOCOL.command_problem(text) == "") is fine


@examples(200)
@given(st.lists(st.sampled_from([v.wire for v in VECTORS]) | st.binary(max_size=30), max_size=5), st.sampled_from(CUTS))
def test_any_bytes_end_in_events(pieces: list[bytes], step: int) -> None:
    events = feed(GalileoskySession(), b"".join(pieces), step)
    assert of_kind(events, Close) == [] or isinstance(events[-1], Close)
    PROTOCOL.decode(of_kind(events, Frame))


# -- the terminal -----------------------------------------------------------------------------------------------------


def test_the_terminal_s_records_are_the_declaration_s() -> None:
    from gateway.simulator.fleet import Vehicle, make_fleet
    from gateway.simulator.scenario import Scenario

    scenario = Scenario(seed=6, terminals=6, mix={"galileosky": 1})
    dice = random.Random(3)
    tanks = set()
    for spec in make_fleet(scenario):
        vehicle = Vehicle(spec, scenario)
        for _ in range(6):
            reading, number = vehicle.read(vehicle.due, 1_790_000_000_000), dice.randrange(100_000)
            tanks.add(len(reading.fuel))
            fixed = reading.satellites > 0
            values: list[tuple[int, Any]] = [
                (0x10, number & 0xFFFF), (0x20, reading.time // 1000),
                (0x30, {
                    "head": {"validity": 0 if fixed else 1, "satellites": min(15, reading.satellites)},
                    "latitude": microdegrees(reading.lat), "longitude": microdegrees(reading.lon),
                }),
                (0x33, {"speed": reading.speed * 10, "course": reading.course * 10}), (0x34, reading.altitude),
                (0x35, 9), (0x40, reading.ignition << 9 | reading.moving | quality(reading.gsm) << 12),
                (0x41, reading.external), (0x42, reading.battery), (0xD4, reading.odometer),
            ]  # fmt: skip
            for place, tank in enumerate(reading.fuel):
                values += [(0x60 + place, tank.level), (0x8A + place, tank.temperature)]
            assert fast_record(reading, number) == wire.record(values)
    assert tanks == {1, 2}
    assert _NUMBER == 7
