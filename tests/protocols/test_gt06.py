"""GT06: worked packets, framing, logins, alarms, information, contents by both ways, commands."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import headed
from protocols.gt06 import PROTOCOL, declaration, wire
from protocols.gt06.decoder import Decoder
from protocols.gt06.session import new_session
from protocols.gt06.terminal import gps
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    TIME_UNKNOWN,
    VALID,
    Close,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Reply,
)
from protocols.terminals import FuelReading, Reading
from tests.protocols import gt06_vectors as v
from tests.protocols import helpers
from tests.protocols.examples import examples, some
from tests.protocols.helpers import CUTS, of_kind, rows

NOON = 1_773_489_600  # 2026-03-14T12:00:00Z
LBS = declaration.cell()


def feed(*given: Any, **options: Any) -> list[Any]:
    """Events whose kinds the tests know."""
    return list(helpers.feed(*given, **options))


def opened(zone: int | None = 0x12C2) -> Any:
    session = new_session()
    feed(session, declaration.login(v.IMEI, zone=zone), close=False)
    return session


def live(n: int, *, again: int = 0, **told: Any) -> bytes:
    place = declaration.place(**{"time": NOON + n, "latitude": 55.75, "longitude": 37.61, "speed": 50} | told)
    return wire.frame(0x22, place + LBS + bytes((1, 0, again)) + (148_356).to_bytes(4, "big"), n)


def read(*frames: bytes, zone: int = 180) -> list[dict[str, Any]]:
    """The rows of whole frames."""
    return rows(PROTOCOL.decode([Frame(data, 1, 0, zone) for data in frames]).batch)


# -- worked packets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", CUTS)
def test_a_session(step: int) -> None:
    session = new_session()
    stream = v.LOGIN + v.HEARTBEAT + v.LOCATION + v.ALARM + v.LOCATION_4G + v.CARDS + v.VOLTAGE + v.FUEL + v.TIME
    events = feed(session, stream, step, now=1_773_469_985.4)
    assert events[0] == Login(v.IMEI)
    assert [event.data for event in of_kind(events, Reply)] == [v.LOGIN_ACK, v.HEARTBEAT_ACK, v.TIME_ACK]
    frames = of_kind(events, Frame)
    assert [frame.data for frame in frames] == [v.LOCATION, v.ALARM, v.LOCATION_4G, v.VOLTAGE, v.FUEL]
    assert [session.acknowledge(frame) for frame in frames] == [b"", v.ALARM_ACK, b"", b"", b""]
    (cards,) = of_kind(events, Message)
    assert cards.text == f"IMEI {v.IMEI}, IMSI 250017034562198, ICCID 8970101703456219842"
    assert session.acknowledge(cards) == b""
    assert of_kind(events, Identified) == [Identified(imei=v.IMEI, imsi="250017034562198", iccid="8970101703456219842")]
    assert of_kind(events, Malformed) == []


def test_places_value_by_value() -> None:
    one, other, alarm, old = read(v.LOCATION, v.LOCATION_4G, v.ALARM, v.LOCATION_OLD)
    assert one == {
        "frame": 0, "position": 0, "time": 1_773_469_613_000_000, "lat": pytest.approx(55.7520122),
        "lon": pytest.approx(37.6175433), "altitude": None, "speed": 61, "course": 274, "satellites": 11,
        "flags": VALID | MOVING | IGNITION_KNOWN | IGNITION_ON,
        "measures": {
            "ignition": 1, "upload.mode": 0, "odometer": 148_356, "gsm.area": 8092, "gsm.cell": 42194,
            "gsm.operator": 25001,
        },
    }  # fmt: skip
    assert other["measures"] == {
        "ignition": 1, "upload.mode": 3, "odometer": 148_401, "gsm.area": 8092, "gsm.cell": 172_829_447,
        "gsm.operator": 25001,
    }  # fmt: skip
    assert other["flags"] == VALID | MOVING | IGNITION_KNOWN | IGNITION_ON | ARCHIVE
    assert (alarm["flags"], alarm["time"]) == (VALID | IGNITION_KNOWN | EVENT, 1_773_469_801_000_000)
    assert alarm["measures"] == {
        "event": 2, "ignition": 0, "terminal.info": 0x54, "battery.grade": 3, "gsm.signal": 100, "gsm.area": 8092,
        "gsm.cell": 42194, "gsm.operator": 25001,
    }  # fmt: skip
    # Not positioned; its clock is that of the login's zone, GMT+3.
    assert (old["lat"], old["flags"], old["course"], old["time"]) == (None, 0, 123, 1_773_469_613_000_000)


def test_information_value_by_value() -> None:
    volts, fuel = read(v.VOLTAGE, v.FUEL)
    assert (volts["time"], volts["measures"]) == (TIME_UNKNOWN, {"power.external": 27.84})
    assert fuel["time"] == 1_773_469_920_000_000
    assert fuel["measures"] == {"fuel.level.1": 45.18, "fuel.temperature.1": 21.5, "fuel.status.1": 0}
    text = b"!AIOIL,02,045.300,-01.500,519J,0210,045.180,0,00,9F"
    (sick,) = read(wire.frame(0x94, b"\x0d" + text, 9))
    assert (sick["time"], sick["measures"]) == (TIME_UNKNOWN, {"fuel.temperature.2": -1.5, "fuel.status.2": 16})
    (door,) = read(wire.frame(0x94, b"\x05\x03", 9))
    assert door["measures"] == {"inputs": 3}


def test_declaration_builds_what_it_parses() -> None:
    for packet in v.VECTORS:
        told = wire.parts_of(packet.wire)
        assert told is not None
        tree = PROTOCOL.tree(Frame(packet.wire))
        form = declaration.CONTENTS.get(told[0])
        if form is not None:
            assert form.build(tree["content"]) == told[1], packet.name
        assert wire.frame(*told, int.from_bytes(packet.wire[-6:-4], "big")) == packet.wire
    assert PROTOCOL.tree(Frame(b"xx")) == {"bytes": "7878"}
    assert PROTOCOL.tree(Frame(wire.frame(0x22, b"\1\2", 1)))["content"] == "0102"


# -- logins ------------------------------------------------------------------------------------------------------------


def test_zones() -> None:
    assert [wire.zone_of(word) for word in (0x3200, 0x4DD8, 0x12C2, 0)] == [480, -765, 180, 0]
    session = opened(0x4DD8)
    (frame,) = of_kind(feed(session, v.LOCATION_OLD), Frame)
    assert frame.variant == -765
    assert read(frame.data, zone=-765)[0]["time"] == (1_773_480_413 + 765 * 60) * 1_000_000
    assert read(v.LOCATION, zone=-765)[0]["time"] == 1_773_469_613_000_000  # which is UTC


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (v.LOCATION, [Malformed, Close]),
        (wire.frame(1, bytes.fromhex("1861472050987321"), 1), [Malformed, Close]),
        (wire.frame(1, bytes.fromhex("08614720509873AF"), 1), [Malformed, Close]),
        (wire.frame(1, b"\x08", 1), [Malformed, Close]),
        (v.LOGIN + v.LOGIN, [Login, Reply, Reply]),
        (v.LOGIN + declaration.login("861472050987339"), [Login, Reply, Malformed, Close]),
    ],
)
def test_who_may_speak(data: bytes, kinds: list[type]) -> None:
    events = feed(new_session(), data)
    assert [type(event) for event in events] == kinds
    assert all(event.reason == "login" for event in of_kind(events, Malformed))


def test_a_refused_terminal_is_told_nothing() -> None:
    session = new_session()
    session.receive_data(v.LOGIN, 0.0)
    assert [type(event) for event in session.refuse()] == [Close]
    assert session.receive_data(v.LOCATION, 0.0) == ()


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (live(5)[:20] + b"\x55" + live(5)[21:], "checksum"),
        (live(5)[:-1] + b"\x0b", "structure"),
        (b"\x78\x78\x04\x22", "length"),
        (b"\x79\x79\xff\xff\x94", "length"),
        (b"noise\r\n", "structure"),
        (live(5)[:2] + b"\x40" + live(5)[3:], "checksum"),  # reaches into its neighbour
        (live(5)[:2] + b"\x20" + live(5)[3:], "checksum"),
        (live(5)[:17], "checksum"),  # cut, and another begins
    ],
)
@pytest.mark.parametrize("step", CUTS)
def test_good_bad_good(damaged: bytes, reason: str, step: int) -> None:
    events = feed(opened(), live(1) + damaged + live(2) + live(3) + live(4), step)
    assert [event.reason for event in of_kind(events, Malformed)] == [reason]
    assert [frame.data for frame in of_kind(events, Frame)] == [live(n) for n in (1, 2, 3, 4)]
    assert of_kind(events, Malformed)[0].offset == 22 + len(live(1))


def test_a_stop_inside_a_content_ends_nothing() -> None:
    data = wire.frame(0x22, live(1)[4:-10] + b"\r\n\r\n", 0x0D0A)
    (frame,) = of_kind(feed(opened(), data, 1), Frame)
    assert frame.data == data


def test_a_flipped_bit_is_never_a_record() -> None:
    for place in range(len(v.ALARM)):
        for bit in range(8):
            spoilt = bytearray(v.ALARM)
            spoilt[place] ^= 1 << bit
            events = feed(opened(), bytes(spoilt))
            assert of_kind(events, Frame) == [], (place, bit)
            assert of_kind(events, Malformed), (place, bit)


def test_a_cut_frame_is_truncated_at_every_byte() -> None:
    for cut in range(1, len(v.LOCATION)):
        (event,) = feed(opened(), v.LOCATION[:cut])
        assert (event.reason, event.offset) == ("truncated", 22)


def test_zeros_cost_one_word_and_no_memory() -> None:
    session = opened()
    events = [event for _ in range(64) for event in session.receive_data(bytes(65536), 0.0)]
    assert [event.reason for event in events] == ["structure"]
    assert not session._buffer
    assert of_kind(feed(session, live(1)), Frame)


def test_nothing_but_damage_is_closed() -> None:
    events = feed(opened(), (live(1)[:20] + b"\x55" + live(1)[21:]) * 40)
    assert [type(event) for event in events] == [Malformed] * 16 + [Close]


def test_a_run_is_what_the_frames_are() -> None:
    stream = b"".join(live(n) for n in range(1, 30))
    session = opened()
    run = session.run(stream)
    assert run is not None
    frames = of_kind(feed(opened(), stream), Frame)
    assert run.singles() == frames
    assert run.variant == 180
    assert rows(PROTOCOL.decode([run]).batch) == rows(PROTOCOL.decode(frames).batch)
    assert session.acknowledge(run) == b""
    for data in (v.HEARTBEAT, live(1)[:-1], live(1) + v.ALARM, v.CARDS, v.VOLTAGE, stream[:-3] + b"\0\r\n", b"xx"):
        assert session.run(data) is None
    assert new_session().run(live(1)) is None


@pytest.mark.parametrize("place", [0, 1, 2, 3, -1, -2, -3, -4, 20])
def test_a_run_has_no_frame_that_differs_where_they_are_alike(place: int) -> None:
    one = live(1)
    for turn in range(3):
        spoilt = bytearray(one)
        spoilt[place] ^= 0x20
        frames = [one] * 3
        frames[turn] = bytes(spoilt)
        assert opened().run(b"".join(frames)) is None
    other = wire.frame(0x26, one[4:-6], 1)
    assert len(other) == len(one)
    assert opened().run(one + other) is None
    assert opened().run(one * 3) is not None


def test_each_alarm_of_a_run_is_answered_by_its_number() -> None:
    alarms = [wire.frame(0x26, v.ALARM[4:-6], n) for n in (7, 8, 9)]
    silent = wire.frame(0x26, v.ALARM[4:-7] + b"\0", 10)
    session = opened()
    run = session.run(b"".join([*alarms[:2], silent, alarms[2]]))
    assert run is not None
    assert run.count == 4
    echoes = [wire.frame(0x26, b"", n) for n in (7, 8, 9)]
    assert session.acknowledge(run) == b"".join(echoes)
    assert [session.acknowledge(single) for single in run.singles()] == [echoes[0], echoes[1], b"", echoes[2]]


def test_frames_and_runs_of_several_sizes_keep_their_places() -> None:
    session = opened()
    run = session.run(live(1) + live(2))
    assert run is not None
    frames = [Frame(v.ALARM, 1, 0, 180), run, Frame(v.LOCATION_4G, 1, 0, 180), Frame(live(3), 1, 0, 180)]
    singles = [single for frame in frames for single in frame.singles()]
    assert rows(PROTOCOL.decode(frames).batch) == rows(PROTOCOL.decode(singles).batch)
    assert [row["frame"] for row in rows(PROTOCOL.decode(frames).batch)] == [0, 1, 2, 3, 4]


# -- contents ----------------------------------------------------------------------------------------------------------


def test_an_alarm_whose_language_is_none_wants_no_answer() -> None:
    session = opened()
    for language, echoed in ((0, False), (1, True), (2, True)):
        content = v.ALARM[4:-6][:-1] + bytes((language,))
        (frame,) = of_kind(feed(session, wire.frame(0x26, content, 5), close=False), Frame)
        assert bool(session.acknowledge(frame)) is echoed


def test_the_same_place_told_again_is_the_same_record() -> None:
    one, again = read(live(7)), read(live(7, again=1)[:-6] + b"")
    assert again == []  # cut: no frame
    first = PROTOCOL.decode([Frame(live(7))]).batch
    resent = wire.frame(0x22, live(7, again=1)[4:-6], 999)
    second = PROTOCOL.decode([Frame(resent)]).batch
    assert first.fingerprint.tolist() == second.fingerprint.tolist()
    assert one[0]["flags"] | ARCHIVE == rows(second)[0]["flags"]
    other = PROTOCOL.decode([Frame(wire.frame(0x22, live(7, speed=51)[4:-6], 999))]).batch
    assert first.fingerprint.tolist() != other.fingerprint.tolist()


@pytest.mark.parametrize(
    ("protocol", "content", "measures"),
    [
        (0x10, b"", {}),
        (0x11, LBS[:5] + (70000).to_bytes(4, "big"), {"gsm.area": 8092, "gsm.cell": 70000, "gsm.operator": 25001}),
        (0x12, LBS + b"\xab\xcd", {"tail": "abcd", "gsm.area": 8092, "gsm.cell": 42194, "gsm.operator": 25001}),
        (0x22, LBS + b"\1\5\0", {"ignition": 1, "upload.mode": 5, "gsm.area": 8092, "gsm.cell": 42194,
                                "gsm.operator": 25001}),
        (0x27, b"\x09" + LBS + b"\x02\x55\x03\x04\x02\x07", {
            "event": 4, "ignition": 1, "terminal.info": 2, "battery.level": 85, "gsm.signal": 75, "fence": 7,
            "gsm.area": 8092, "gsm.cell": 42194, "gsm.operator": 25001}),
        (0x26, b"\x01" + b"\x00\x06\x04\x01\x01", {
            "event": 1, "ignition": 0, "terminal.info": 0, "battery.grade": 6, "gsm.signal": 100}),
        (0xA4, bytes.fromhex("1180fa000100001f9c000000000a4d2b07") + b"\x02\x03\x04\x02\x02\x07", {
            "event": 2, "ignition": 1, "terminal.info": 2, "battery.grade": 3, "gsm.signal": 100, "fence": 7,
            "gsm.area": 8092, "gsm.cell": 172_829_447, "gsm.operator": 25001}),
        (0x2A, bytes(23), {"tail": bytes(23).hex()}),
    ],
)  # fmt: skip
def test_contents(protocol: int, content: bytes, measures: dict[str, Any]) -> None:
    data = wire.frame(protocol, declaration.place(time=NOON, latitude=-34.5, longitude=-58.25) + content, 1)
    (row,) = read(data, zone=0)
    assert (row["lat"], row["lon"], row["time"], row["satellites"]) == (-34.5, -58.25, NOON * 1_000_000, 9)
    assert row["measures"] == measures


def test_cells_without_a_place() -> None:
    content = bytes.fromhex("1a030e0c0000") + LBS[:3] + (LBS[3:] + b"\x40") * 7 + b"\xff\x00\x02"
    (row,) = read(wire.frame(0x28, content, 1))
    assert (row["time"], row["lat"], row["speed"], row["flags"]) == (NOON * 1_000_000, None, None, 0)
    assert {name: row["measures"][name] for name in ("gsm.area", "gsm.cell", "gsm.operator")} == {
        "gsm.area": 8092, "gsm.cell": 42194, "gsm.operator": 25001,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "content", "reason"),
    [
        (0x22, declaration.place(time=NOON)[:-1], "length"),
        (0x22, declaration.place(time=NOON) + LBS, "length"),
        (0x26, declaration.place(time=NOON) + b"\x00" + LBS + bytes(5), "length"),
        (0x26, declaration.place(time=NOON) + b"\xff" + LBS + bytes(5), "length"),
        (0x10, bytes.fromhex("1a0d0e0c0000") + bytes(12), "time"),
        (0x10, bytes.fromhex("1a021e0c0000") + bytes(12), "time"),
        (0x10, bytes(18), "time"),
        (0x94, b"\x0d!AIOIL,x", "structure"),
        (0x94, b"\x0d\x1a\x0d", "time"),
        (0x94, b"\x00\x01", "length"),
    ],
)
def test_what_cannot_be_decoded_is_kept_and_an_alarm_answered(protocol: int, content: bytes, reason: str) -> None:
    data = wire.frame(protocol, content, 3)
    session = opened()
    (frame,) = of_kind(feed(session, data), Frame)
    decoded = PROTOCOL.decode([frame, Frame(live(1))])
    assert [(q.frame, q.reason, q.data) for q in decoded.quarantined] == [(0, reason, None)]
    assert len(decoded.batch) == 1
    assert bool(session.acknowledge(frame, decoded.quarantined)) is (protocol == 0x26)


def test_impossible_places_are_no_fix() -> None:
    for told in ({"fixed": False}, {"latitude": 90.5}, {"longitude": 180.5}):
        (row,) = read(live(1, **told))
        assert row["lat"] is None
        assert not row["flags"] & VALID
    nothing = bytearray(live(1))
    nothing[10] &= 0x0F  # a gps part of no length
    assert read(bytes(nothing))[0]["lat"] is None


CONTENTS = st.tuples(
    st.sampled_from([*sorted(wire.PLACES), 0x28, 0xA1]), st.binary(min_size=6, max_size=50), st.integers(0, 0xFFFF)
)


@examples(200)
@given(st.lists(CONTENTS, min_size=1, max_size=8))
def test_fast_declared_and_plain_agree(data: list[tuple[int, bytes, int]]) -> None:
    frames = [
        Frame(wire.frame(protocol, bytes((26, 3, 1 + n % 28, n % 24, 0, 0)) + content, n), 1, 0, 60)
        for protocol, content, n in data
    ]
    decoder = Decoder()
    first, again = decoder.decode(frames), decoder.decode(frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headed, "_LESSONS", 0)
        plain = Decoder().decode(frames)
    assert rows(first.batch) == rows(again.batch) == rows(plain.batch)
    assert first.quarantined == again.quarantined == plain.quarantined
    assert sorted(first.batch.fingerprint) == sorted(plain.batch.fingerprint)
    for row in rows(first.batch):
        tree = PROTOCOL.tree(frames[row["frame"]])["content"]
        if isinstance(tree, str):
            continue
        assert row["speed"] == tree.gps.speed
        assert row["satellites"] == tree.gps.satellites & 15
        if "odometer" in row["measures"] and "added" in tree:
            assert row["measures"]["odometer"] == tree.added.odometer


def test_mutated_frames_never_raise() -> None:
    dice = random.Random(6)
    base = [packet.wire for packet in v.VECTORS]
    for _ in range(some(3000)):
        data = bytearray(dice.choice(base))
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        decoded = PROTOCOL.decode([Frame(bytes(data))])
        assert len(decoded.batch) + len(decoded.quarantined) == 1
        PROTOCOL.tree(Frame(bytes(data)))
        feed(opened(), bytes(data) + live(1))


# -- commands ----------------------------------------------------------------------------------------------------------


def test_commands_and_their_answers() -> None:
    session = opened()
    data = session.encode_command("VERSION#")
    assert session.encode_command("VERSION") != data  # another flag
    told = wire.parts_of(data)
    assert told == (0x80, b"\x0c\0\0\0\1VERSION#\0\2")
    assert v.COMMAND[4:-6] == b"\x0c\0\0\0\x2aVERSION#\0\2"
    (message, version) = feed(session, v.ANSWER, close=False)
    assert message.answer is True
    assert message.text == f"[VERSION]GT06N_20_61DM2_B25E_R3_V12[IMEI]{v.IMEI}"
    assert version == Identified("GT06N_20_61DM2_B25E_R3_V12")
    short = wire.frame(0x15, b"\x07\0\0\0\2OK!\0\2", 9)
    assert [(m.text, m.answer) for m in feed(session, short, close=False)] == [("OK!", True)]
    wide = wire.frame(0x21, b"\0\0\0\2\2" + "да".encode("utf-16-be"), 9)
    assert [m.text for m in feed(session, wide, close=False)] == ["да"]
    quiet = opened()  # nobody asked
    assert [m.answer for m in of_kind(feed(quiet, short), Message)] == [None]
    assert wire.parts_of(opened().ask_version()) == (0x80, b"\x0c\0\0\0\0VERSION#\0\2")
    assert new_session().ask_version() == new_session().encode_command("x") == b""
    problem = PROTOCOL.command_problem
    assert problem is not None
    assert [bool(problem(text)) for text in ("RESET#", "", "x" * 201, "да", "a\nb")] == [False, True, True, True, True]
    assert len(opened().encode_command("x" * 200)) < 255


def test_modules_are_kept_and_echoed() -> None:
    session = opened()
    (message,) = of_kind(feed(session, wire.frame(0x70, b"\0\3\0\1x", 4)), Message)
    assert session.acknowledge(message)[3] == 0x70


# -- the terminal, and who begins so -----------------------------------------------------------------------------------


def test_the_terminal_builds_what_the_declaration_says() -> None:
    reading = Reading(
        time=NOON * 1000, lat=-345_000_000, lon=582_500_000, altitude=9, speed=61, course=274, satellites=11,
        ignition=True, moving=True, changed=False, external=27_800, battery=4000, gsm=4, odometer=9, step=9, rpm=900,
        fuel=(FuelReading(382, 20),), state="driving",
    )  # fmt: skip
    assert gps(reading) == declaration.place(
        time=NOON, latitude=-34.5, longitude=58.25, satellites=11, speed=61, course=274
    )


def test_beginnings() -> None:
    begins = PROTOCOL.begins
    assert begins is not None
    assert all(begins(packet.wire, "tcp") for packet in v.VECTORS)
    assert [begins(data, "tcp") for data in (b"", b"x", b"xx\x11", b"yy")] == [None] * 4
    assert [begins(data, "tcp") for data in (b"y", b"\0", b"xy", b"xx\x04\x01", b"yy\xff\0")] == [None] + [False] * 4


def test_crc_is_that_of_the_catalogue() -> None:
    assert wire.crc(b"123456789") == 0x906E
