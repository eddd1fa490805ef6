"""JT/T 808: worked packets, sessions, packages, locations by both ways, commands."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import headed
from protocols.jt808 import PROTOCOL, commands, declaration
from protocols.jt808.decoder import MEMBERS, Decoder, parts
from protocols.jt808.packages import MAX_MESSAGE, MAX_OPEN, PATIENCE, Assembly, Shelf
from protocols.jt808.session import auth_code, new_session
from protocols.jt808.terminal import Jt808Terminal, body_of
from protocols.jt808.wire import MAX_ESCAPED, escape, head_of, package, packages, phone_of, unescape, xor
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    VALID,
    Close,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Reply,
)
from protocols.structures import Rows
from protocols.terminals import FuelReading, Reading
from tests.protocols import helpers
from tests.protocols import jt808_vectors as v
from tests.protocols.examples import examples, some
from tests.protocols.helpers import CUTS, of_kind, rows

SECRET = b"of this instance"
PHONE = bytes.fromhex(v.PHONE)
AUTH = declaration.frame(0x0102, PHONE, 1, auth_code(SECRET, v.PHONE).encode())
NOON = 1_773_489_600  # 2026-03-14T12:00:00Z


def feed(*given: Any, **options: Any) -> list[Any]:
    """Events whose kinds the tests know."""
    return list(helpers.feed(*given, **options))


def opened(**options: Any) -> Any:
    """A session behind its login."""
    session = new_session(**options)
    feed(session, AUTH, close=False)
    return session


def bodies(replies: bytes) -> list[tuple[int, bytes]]:
    """Message and body of each of the server's words, all of them whole."""
    found = []
    for segment in replies.split(b"~"):
        if segment:
            data = unescape(segment)
            assert data is not None
            assert xor(data) == 0
            head = head_of(data)
            assert head is not None
            assert head.size == len(data)
            found.append((head.id, data[head.start : -1]))
    return found


def said(events: list[Any]) -> list[tuple[int, bytes]]:
    return bodies(b"".join(event.data for event in of_kind(events, Reply)))


def location(**told: Any) -> bytes:
    return declaration.location(**{"time": NOON, "status": 3, "latitude": 55.75, "longitude": 37.61} | told)


# -- worked packets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", CUTS)
def test_a_location_value_by_value(step: int) -> None:
    session = new_session()
    events = feed(session, PROTOCOL.missing_login(v.LOCATION) + v.LOCATION, step)
    (frame,) = of_kind(events, Frame)
    assert rows(PROTOCOL.decode([frame]).batch) == [
        {
            "frame": 0, "position": 0, "time": 1_773_480_413_000_000, "lat": 22.540126, "lon": 114.058989,
            "altitude": 38.0, "speed": pytest.approx(61.3), "course": 274.0, "satellites": 11,
            "flags": VALID | IGNITION_KNOWN | IGNITION_ON | MOVING,
            "measures": {
                "ignition": 1, "alarms": 0, "status": 0x40003, "odometer": 14_835_600, "fuel.gauge": 38.2,
                "tacho.speed": 60.5, "vehicle.signals": 0x11, "sleep": 0, "analog.1": 3000, "analog.2": 2000,
                "gsm.strength": 23,
            },
        }
    ]  # fmt: skip
    assert bodies(session.acknowledge(frame)) == [(0x8001, bytes.fromhex("0003020000"))]


def test_a_batch_value_by_value() -> None:
    session = new_session()
    (frame,) = of_kind(feed(session, PROTOCOL.missing_login(v.BATCH) + v.BATCH), Frame)
    assert frame.records == 2
    first, second = rows(PROTOCOL.decode([frame]).batch)
    assert (first["lat"], first["lon"], first["satellites"], first["time"]) == (
        -34.603734, -58.381559, 7, 1_773_479_400_000_000,
    )  # fmt: skip
    assert first["flags"] == VALID | IGNITION_KNOWN | IGNITION_ON | ARCHIVE
    assert second["flags"] == VALID | IGNITION_KNOWN | EVENT | ARCHIVE
    assert second["measures"] == {
        "ignition": 0, "alarms": 1 << 8 | 1 << 25, "status": 0x4000E, "odometer": 14_830_000, "fuel.gauge": 40.2,
    }  # fmt: skip
    assert bodies(session.acknowledge(frame)) == [(0x8001, bytes.fromhex("0004070400"))]


def test_who_it_is_comes_from_registration_authentication_and_attributes() -> None:
    events = feed(new_session(), v.REGISTER_2013)
    assert events[0] == Login(v.PHONE, model="KT-20X")
    events = feed(new_session(), v.AUTH_2019)
    assert events[0] == Login(v.PHONE_2019, firmware="KT40E_V2.3.07")
    assert of_kind(events, Identified) == [Identified("KT40E_V2.3.07", imei="861472050987321")]
    assert feed(new_session(), v.REGISTER_2019)[0] == Login(v.PHONE_2019, model="KT-40E")
    for wire, firmware, model, iccid in (
        (v.ATTRIBUTES_2013, "KT20X-FW3.4.19", "KT-20X", "89860402102090977002"),
        (v.ATTRIBUTES_2019, "2.3.07", "KT-40E", "89701017034562198421"),
    ):
        session = new_session()
        events = feed(session, PROTOCOL.missing_login(wire) + wire)
        assert of_kind(events, Identified) == [Identified(firmware, model, iccid=iccid)]
        (message,) = of_kind(events, Message)
        assert "ICCID 89" in message.text
        assert bodies(session.acknowledge(message)) == [(0x8001, bytes.fromhex("0007010700"))]
    told = declaration.attributes_of(_eleven(), new=True)  # as some servers write the maker
    assert told.firmware == b"2.3.07"


def _eleven() -> bytes:
    """The body of 2019 with a maker's number of eleven bytes."""
    body = packages(unescape(v.ATTRIBUTES_2019[1:-1]) or b"")
    assert body is not None
    return body[0][1][:2] + b"440300" + body[0][1][2:]


def test_declaration_builds_what_it_parses() -> None:
    for wire in (v.LOCATION, v.BATCH):
        data = unescape(wire[1:-1]) or b""
        ((head, body),) = packages(data) or []
        tree = PROTOCOL.tree(Frame(data))
        form = declaration.BATCH_BODY if head.id == 0x0704 else declaration.LOCATION_BODY
        assert form.build(tree["body"]) == body
        assert PROTOCOL.on_wire(Frame(data)) == wire
    for body in (b"", b"\1", bytes(27)):
        assert PROTOCOL.tree(Frame(package(0x0200, PHONE, 1, body)))["body"] == body.hex()
    assert PROTOCOL.tree(Frame(b"\1\2")) == {"bytes": "0102"}


# -- the login -------------------------------------------------------------------------------------------------------


def test_registering_gives_a_code_that_opens_the_next_connection() -> None:
    session = new_session(secret=SECRET, check_auth=True)
    events = feed(session, v.REGISTER_2013, close=False)
    ((message, body),) = said(events)
    assert (message, body[:3]) == (0x8100, bytes.fromhex("000100"))
    code = body[3:]
    events = feed(session, declaration.frame(0x0102, PHONE, 2, code), close=False)
    assert said(events) == [(0x8001, bytes.fromhex("0002010200"))]
    assert of_kind(events, Login) == []  # it is the same terminal
    (frame,) = of_kind(feed(session, v.LOCATION), Frame)
    assert bodies(session.acknowledge(frame)) == [(0x8001, bytes.fromhex("0003020000"))]

    again = new_session(secret=SECRET, check_auth=True)
    events = feed(again, declaration.frame(0x0102, PHONE, 1, code) + v.LOCATION)
    assert [type(event) for event in events] == [Login, Reply, Frame]


@pytest.mark.parametrize("shown", [b"", b"0" * 16, auth_code(b"another instance", v.PHONE).encode(), b"\xff" * 200])
def test_a_wrong_code_is_refused(shown: bytes) -> None:
    session = new_session(secret=SECRET, check_auth=True)
    events = feed(session, declaration.frame(0x0102, PHONE, 1, shown) + v.LOCATION)
    assert [type(event) for event in events] == [Malformed, Reply, Close]
    assert events[0].reason == "login"
    assert said(events) == [(0x8001, bytes.fromhex("0001010201"))]


def test_codes_are_a_terminals_own() -> None:
    assert auth_code(SECRET, v.PHONE) != auth_code(SECRET, v.PHONE_2019)
    assert auth_code(SECRET, v.PHONE) != auth_code(b"other", v.PHONE)


def test_nothing_is_taken_before_the_authentication_unless_it_is_not_checked() -> None:
    events = feed(new_session(secret=SECRET, check_auth=True), v.LOCATION)
    assert [type(event) for event in events] == [Malformed, Reply, Close]
    session = new_session(secret=SECRET, check_auth=True)  # registered is not authenticated
    events = feed(session, v.REGISTER_2013 + v.LOCATION)
    assert [type(event) for event in events] == [Login, Reply, Malformed, Reply, Close]
    events = feed(new_session(), v.LOCATION)
    assert [type(event) for event in events] == [Login, Frame]


def test_refusals_have_the_protocols_word() -> None:
    for wire, word in ((v.REGISTER_2013, (0x8100, "000104")), (AUTH, (0x8001, "0001010201"))):
        session = new_session(secret=SECRET, check_auth=True)
        session.receive_data(wire, 0.0)
        reply, close = list[Any](session.refuse())
        assert bodies(reply.data) == [(word[0], bytes.fromhex(word[1]))]
        assert isinstance(close, Close)


def test_another_phone_number_on_the_connection_ends_it() -> None:
    events = feed(opened(), declaration.frame(0x0002, phone_of("1"), 2))
    assert [type(event) for event in events] == [Malformed, Close]
    assert events[0].reason == "login"


# -- frames ----------------------------------------------------------------------------------------------------------


def test_escapes_and_shared_flags() -> None:
    for body in (b"~", b"}", b"}\x01", b"}\x02~}", bytes(range(256)) * 3):
        data = package(0x0900, PHONE, 0x7E7D, body)
        assert unescape(escape(data)[1:-1]) == data
        assert escape(data).count(b"~") == 2
        (message,) = of_kind(feed(opened(), escape(data), 1), Message)
        assert message.data == data
    beat = v.HEARTBEAT
    for stream in (beat + beat, beat + beat[1:], b"~~~" + beat + b"~" + beat):
        assert len(said(feed(opened(), stream))) == 2
    assert unescape(b"}") is None
    assert unescape(b"}}\x02") is None


LONGER = package(0x0200, PHONE, 3, bytes(28))[:-1] + b"\0"  # than its header says


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (v.LOCATION[:20] + b"\x55" + v.LOCATION[21:], "checksum"),
        (v.LOCATION[:20] + b"}\x03" + v.LOCATION[21:], "structure"),
        (b"~\x00\x02~", "length"),
        (escape(LONGER + bytes((xor(LONGER),))), "length"),
        (b"~" + bytes(MAX_ESCAPED + 1) + b"~", "length"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", CUTS)
def test_good_bad_good(damaged: bytes, reason: str, step: int) -> None:
    session = opened()
    events = feed(session, v.LOCATION + damaged + v.LOCATION, step)
    assert [getattr(event, "reason", "") for event in events] == ["", reason, ""]
    assert events[1].offset == len(AUTH) + len(v.LOCATION)
    for frame in of_kind(events, Frame):
        assert bodies(session.acknowledge(frame)) == [(0x8001, bytes.fromhex("0003020000"))]


@pytest.mark.parametrize("step", CUTS)
def test_bytes_before_the_first_flag_are_one_damage(step: int) -> None:
    events = feed(new_session(), b"\r\nnoise" + v.LOCATION, step)
    assert [type(event) for event in events] == [Malformed, Login, Frame]
    assert (events[0].reason, events[0].offset) == ("structure", 0)


def test_zeros_cost_one_word_and_no_memory() -> None:
    session = new_session()
    events: list[Any] = [event for _ in range(64) for event in session.receive_data(bytes(65536), 0.0)]
    assert [event.reason for event in events] == ["structure"]
    assert len(session._buffer) <= MAX_ESCAPED


def test_a_connection_of_nothing_but_damage_is_closed() -> None:
    events = feed(new_session(), b"~\x01\x02" * 100)
    assert [type(event) for event in events] == [Malformed] * 16 + [Close]


def test_a_cut_frame_is_truncated_at_every_byte() -> None:
    for cut in range(1, len(v.LOCATION)):
        events = feed(opened(), v.LOCATION[:cut])
        assert [type(event) for event in events] == ([Malformed] if cut > 1 else []), cut
        if cut > 1:
            assert (events[0].reason, events[0].offset) == ("truncated", len(AUTH))


def test_a_flipped_bit_is_never_a_record() -> None:
    for place in range(len(v.LOCATION)):
        for bit in range(8):
            spoilt = bytearray(v.LOCATION)
            spoilt[place] ^= 1 << bit
            events = feed(opened(), bytes(spoilt))
            assert of_kind(events, Frame) == [], (place, bit)
            assert of_kind(events, Malformed), (place, bit)


# -- runs ------------------------------------------------------------------------------------------------------------


def live(serial: int, speed: int) -> bytes:
    return declaration.frame(0x0200, PHONE, serial, location(speed=speed, items=[(0x31, b"\x09")]))


def test_a_run_is_what_the_frames_are() -> None:
    wires = [live(n, n) for n in range(1, 60) if b"}" not in live(n, n) and xor(live(n, n)[1:-2]) != 0x7E]
    session, other = opened(), opened()
    run = session.run(b"".join(wires))
    assert run is not None
    assert run.count == len(wires)
    frames = of_kind(feed(other, b"".join(wires)), Frame)
    assert [one.data for one in run.singles()] == [one.data for one in frames]
    assert rows(PROTOCOL.decode([run]).batch) == rows(PROTOCOL.decode(frames).batch)
    assert session.acknowledge(run) == b"".join(other.acknowledge(frame) for frame in frames)
    single = session.run(wires[0])
    assert single is not None
    assert single.offset == len(AUTH) + len(b"".join(wires))


@pytest.mark.parametrize(
    "data",
    [
        v.LOCATION + v.LOCATION,  # escaped
        v.HEARTBEAT,
        live(1, 1)[:-1],
        live(1, 1) + b"~",
        live(1, 1)[:30] + b"\x55" + live(1, 1)[31:],
        live(1, 1) + live(2, 2)[:-3] + b"\x00\x00~",
        declaration.frame(0x0200, phone_of("2"), 1, location()),
        declaration.frame(0x0200, phone_of(v.PHONE, new=True), 1, location(), version=1),
        declaration.frame(0x0200, PHONE, 1, bytes(20)),
        escape(package(0x0200, PHONE, 1, location(), total=2, index=1)),
    ],
)
def test_what_is_no_run_is_left_alone(data: bytes) -> None:
    session = opened()
    assert session.run(data) is None
    assert session.run(live(3, 3)) is not None  # and nothing of it was consumed


# -- packages --------------------------------------------------------------------------------------------------------


def big(count: int = 60, serial: int = 100) -> list[bytes]:
    body = declaration.batch([location(time=NOON + n, items=[(1, bytes(4))]) for n in range(count)])
    return declaration.frames(0x0704, PHONE, serial, body)


@pytest.mark.parametrize("order", ["straight", "backwards", "twice"])
def test_a_message_in_packages_is_one_frame_and_each_is_acknowledged_after_it(order: str) -> None:
    wires = big()
    sent = {"straight": wires, "backwards": wires[::-1], "twice": [w for w in wires for _ in range(2)]}[order]
    session = opened()
    events: list[Any] = []
    for at, wire in enumerate(sent, 1):
        events += session.receive_data(wire, 0.0)
        if at < len(sent) - (order == "twice"):
            assert of_kind(events, Frame) == []
    (frame, *more) = of_kind(events, Frame)
    assert more == []
    assert frame.records == 60
    decoded = PROTOCOL.decode([frame])
    assert [row["time"] for row in rows(decoded.batch)] == [(NOON + n) * 1_000_000 for n in range(60)]
    acks = bodies(session.acknowledge(frame))
    assert acks == [(0x8001, (100 + n).to_bytes(2, "big") + b"\x07\x04\x00") for n in range(len(wires))]
    assert PROTOCOL.on_wire(frame) == b"".join(wires)
    split = parts(frame, 7)
    assert [part.records for part in split] == [7] * 8 + [4]
    again = [dict(row, frame=0, position=n) for n, row in enumerate(rows(PROTOCOL.decode(split).batch))]
    assert again == rows(decoded.batch)
    assert all(part.variant == MEMBERS for part in split)


def test_what_is_missing_is_asked_for() -> None:
    wires = big()
    session = opened()
    events = feed(session, wires[0] + wires[-1], close=False)
    count = len(wires) - 2
    assert said(events) == [
        (
            0x8003,
            (100).to_bytes(2, "big") + bytes((count,)) + b"".join(n.to_bytes(2, "big") for n in range(2, count + 2)),
        )
    ]
    assert len(of_kind(feed(session, b"".join(wires[1:-1])), Frame)) == 1


def test_packages_of_no_message_are_refused() -> None:
    for total, index in ((1, 2), (2, 0), (0xFFFF, 1)):
        events = feed(opened(), escape(package(0x0704, PHONE, 9, b"x", total=total, index=index)))
        assert [type(event) for event in events] == [Malformed, Reply]
        assert said(events) == [(0x8001, bytes.fromhex("0009070402"))]


def test_unfinished_messages_are_bounded_in_number_size_and_time() -> None:
    shelf = Shelf(most=300_000)
    assemblies = [Assembly(MAX_MESSAGE, shelf) for _ in range(4)]

    def put(assembly: Assembly, serial: int, index: int, total: int = 1000, now: float = 0.0) -> Any:
        data = package(0x0801, PHONE, serial, bytes(1000), total=total, index=index)
        head = head_of(data)
        assert head is not None
        return assembly.take(head, data, 0, now)

    for index in range(1, 200):
        for assembly in assemblies:
            put(assembly, index, index)
    assert shelf.size <= 300_000 + 2000
    assert sum(len(assembly) for assembly in assemblies) <= 4
    for number in range(MAX_OPEN + 3):
        put(assemblies[0], number * 5000, 1)
    assert len(assemblies[0]) <= MAX_OPEN
    put(assemblies[1], 9, 1, now=PATIENCE + 1)
    assert shelf.size < 1100  # what waited too long is gone
    for assembly in assemblies:
        assembly.clear()
    assert shelf.size == 0
    alone = Assembly(5000, Shelf())
    told = [put(alone, index, index) for index in range(1, 7)]
    assert told[:4] == [[], [], [], []]
    assert None in told


# -- what is kept as it is -------------------------------------------------------------------------------------------


def test_pictures_are_kept_whole_and_answered_by_their_number() -> None:
    body = bytes.fromhex("0000002a00000001") + location() + bytes(range(256)) * 10
    session = opened()
    events = feed(session, b"".join(declaration.frames(0x0801, PHONE, 50, body)))
    (message,) = of_kind(events, Message)
    assert b"".join(part for _, part in packages(message.data) or []) == body
    assert bodies(session.acknowledge(message)) == [(0x8800, bytes.fromhex("0000002a"))]


def test_what_cannot_be_read_is_kept_and_said_to_be_unsupported() -> None:
    encrypted = bytearray(package(0x0200, PHONE, 5, bytes(40)))
    encrypted[2] |= 0x04
    encrypted[-1] ^= 0x04
    for data in (bytes(encrypted), package(0x0F07, PHONE, 5, b"x"), package(0x5501, PHONE, 5, b"x")):
        session = opened()
        (message,) = of_kind(feed(session, escape(data)), Message)
        ((_, body),) = bodies(session.acknowledge(message))
        assert body[4] == (0 if data[0] == 0x0F else 3)


def test_heartbeat_time_and_logout() -> None:
    session = opened()
    events = feed(session, v.HEARTBEAT + declaration.frame(0x0004, PHONE, 9), now=1_773_480_413.7, close=False)
    assert said(events) == [(0x8001, bytes.fromhex("0008000200")), (0x8004, bytes.fromhex("260314092653"))]
    events = feed(session, declaration.frame(0x0003, PHONE, 10) + v.LOCATION)
    assert [type(event) for event in events] == [Reply, Close]


def test_a_store_that_refuses_makes_the_terminal_keep_its_data() -> None:
    session = opened()
    frames = of_kind(feed(session, live(4, 4) + v.BATCH, close=False), Frame)
    run = session.run(live(6, 6) + live(7, 7))
    assert run is not None
    session.acknowledge(frames[0])
    refused = bodies(session.decline())
    assert refused == [(0x8001, bytes.fromhex(told)) for told in ("0004070401", "0006020001", "0007020001")]
    assert session.decline() == b""


# -- locations -------------------------------------------------------------------------------------------------------


def test_whatever_cannot_be_decoded_goes_to_quarantine_alone() -> None:
    good = location(items=[(0x31, b"\x09")])
    for bad, reason in (
        (good[:22] + bytes.fromhex("261314120000") + good[28:], "time"),
        (good[:22] + bytes.fromhex("26031412000A") + good[28:], "time"),
        (good[:22] + bytes.fromhex("260230120000") + good[28:], "time"),
        (good[:22] + bytes.fromhex("260314240000") + good[28:], "time"),
        (good + b"\x01", "structure"),
        (good + b"\x01\x05abcd", "structure"),
        (good[:20], "length"),
    ):
        session = opened()
        (frame,) = of_kind(feed(session, declaration.frame(0x0200, PHONE, 3, bad)), Frame)
        decoded = PROTOCOL.decode([frame])
        assert [q.reason for q in decoded.quarantined] == [reason]
        assert len(decoded.batch) == 0
        assert bodies(session.acknowledge(frame, decoded.quarantined)) == [(0x8001, bytes.fromhex("0003020002"))]
        (frame,) = of_kind(
            feed(opened(), declaration.frame(0x0704, PHONE, 3, declaration.batch([good, bad, good]))), Frame
        )
        decoded = PROTOCOL.decode([frame])
        assert [(q.frame, q.reason, q.data) for q in decoded.quarantined] == [(0, reason, bad)]
        assert [row["position"] for row in rows(decoded.batch)] == [0, 2]
        assert bodies(session.acknowledge(frame, decoded.quarantined)) == [(0x8001, bytes.fromhex("0003070400"))]
        assert PROTOCOL.member(bad, 0) is not None
    for body in (b"", b"\0\1\0", b"\0\2\1" + b"\0\x1e" + good, b"\0\1\1\0\x20" + good):
        (frame,) = of_kind(feed(opened(), declaration.frame(0x0704, PHONE, 3, body)), Frame)
        assert [q.data for q in PROTOCOL.decode([frame]).quarantined] == [None]
    assert PROTOCOL.member(package(0x0200, PHONE, 1, good), 0) is None
    assert PROTOCOL.member(b"\1\2", 0) == {"bytes": "0102"}


ITEMS = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 5, 6, 0x11, 0x12, 0x13, 0x2B, 0x30, 0x31, 0xE1, 0xEB]), st.binary(max_size=8)),
    max_size=6,
)


@examples(150)
@given(data=st.lists(st.tuples(ITEMS, st.integers(0, 2**32 - 1), st.booleans()), min_size=1, max_size=6))
def test_fast_declared_and_plain_agree(data: list[tuple[Any, int, bool]]) -> None:
    frames = []
    for n, (items, status, cut) in enumerate(data):
        record = location(time=NOON + n, items=items, status=status, alarms=n % 2)
        frames.append(Frame(package(0x0200, PHONE, n, record[: len(record) - cut])))
    decoder = Decoder()
    first, again = decoder.decode(frames), decoder.decode(frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headed, "_LESSONS", 0)
        plain = Decoder().decode(frames)
    assert rows(first.batch) == rows(again.batch) == rows(plain.batch)
    assert sorted(first.batch.fingerprint) == sorted(plain.batch.fingerprint)
    assert first.quarantined == again.quarantined == plain.quarantined
    found = {row["frame"]: row for row in rows(first.batch)}
    for n, frame in enumerate(frames):
        tree = PROTOCOL.tree(frame)["body"]
        assert (n in found) == (not isinstance(tree, str))
        if n in found:
            told = {1: ("odometer", 100, 4), 3: ("tacho.speed", 0.1, 2), 0x30: ("gsm.strength", 1, 1)}
            for identifier, (name, scale, size) in told.items():
                its = [item.value for item in tree["items"] if item.id == identifier]
                if its and len(its[0]) == size:
                    assert found[n]["measures"][name] == pytest.approx(int.from_bytes(its[0], "big") * scale)
            assert found[n]["measures"]["status"] == tree.status


def test_a_share_is_no_litres() -> None:
    for raw, told in ((382, {"fuel.gauge": 38.2}), (0x8000 | 55, {"fuel.gauge.percent": 55})):
        frame = Frame(package(0x0200, PHONE, 1, location(items=[(2, raw.to_bytes(2, "big"))])))
        measures = rows(PROTOCOL.decode([frame]).batch)[0]["measures"]
        assert {name: value for name, value in measures.items() if "fuel" in name} == told


def test_encrypted_and_impossible_places_are_no_fix() -> None:
    for told in ({"status": 1}, {"status": 3 | 32}, {"latitude": 90.5}, {"longitude": 180.5}):
        row = rows(PROTOCOL.decode([Frame(package(0x0200, PHONE, 1, location(**told)))]).batch)[0]
        assert row["lat"] is None
        assert not row["flags"] & VALID


def test_a_resend_in_a_batch_is_the_same_record() -> None:
    one = location(items=[(1, b"\0\0\1\2")])
    alone = PROTOCOL.decode([Frame(package(0x0200, PHONE, 1, one))]).batch
    within = PROTOCOL.decode([Frame(package(0x0704, PHONE, 9, declaration.batch([one])))]).batch
    asked = PROTOCOL.decode([Frame(package(0x0201, PHONE, 9, b"\0\1" + one))]).batch
    assert alone.fingerprint.tolist() == within.fingerprint.tolist() == asked.fingerprint.tolist()
    assert alone.fingerprint.tolist() == Rows.of([one]).fingerprints().tolist()


@examples(200)
@given(st.lists(st.binary(max_size=80), max_size=5), st.integers(0, 3))
def test_any_frames_are_decoded_or_refused(datas: list[bytes], variant: int) -> None:
    decoded = PROTOCOL.decode([Frame(data, 1, 0, variant) for data in datas])
    assert len(decoded.batch) + len(decoded.quarantined) >= len(datas)


def test_mutated_frames_never_raise() -> None:
    dice = random.Random(8)
    base = [unescape(w[1:-1]) or b"" for w in (v.LOCATION, v.BATCH)]
    for _ in range(some(3000)):
        data = bytearray(dice.choice(base))
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        frame = Frame(bytes(data))
        decoded = PROTOCOL.decode([frame])
        assert len(decoded.batch) or decoded.quarantined
        PROTOCOL.tree(frame)


# -- commands --------------------------------------------------------------------------------------------------------


def test_commands_are_messages_and_their_answers_are_told_by_number() -> None:
    session = opened()
    ((message, body),) = bodies(session.encode_command("VERSION,привет"))
    assert (message, body[1:]) == (0x8300, "VERSION,привет".encode("gbk"))
    serial = session._serial.to_bytes(2, "big")
    wrong = declaration.frame(0x0001, PHONE, 20, b"\xff\xff\x83\x00\x00")
    right = declaration.frame(0x0001, PHONE, 21, serial + b"\x83\x00\x00")
    told = of_kind(feed(session, wrong + right, close=False), Message)
    assert [message.answer for message in told] == [None, True]
    assert told[1].text == "0x8300: done"
    session.encode_command("control 4")
    refused = declaration.frame(0x0001, PHONE, 22, session._serial.to_bytes(2, "big") + b"\x81\x05\x03")
    assert [message.answer for message in of_kind(feed(session, refused, close=False), Message)] == [False]
    session.encode_command("parameters")
    serial = session._serial.to_bytes(2, "big")
    ok = declaration.frame(0x0001, PHONE, 23, serial + b"\x81\x04\x00")  # its own answer is still to come
    answer = declaration.frame(0x0104, PHONE, 24, serial + bytes.fromhex("03") + v.PARAMETERS[16:-2])
    told = of_kind(feed(session, ok + answer, close=False), Message)
    assert [message.answer for message in told] == [None, True]
    assert told[1].text == "0x0001=60 0x0002=10 0x0013=gw.example.io"
    session.encode_command("locate")
    place = declaration.frame(0x0201, PHONE, 25, session._serial.to_bytes(2, "big") + location())
    frame, message = feed(session, place, close=False)
    assert isinstance(frame, Frame)
    assert message.answer is True
    assert bodies(session.acknowledge(frame)) == [(0x8001, bytes.fromhex("0019020100"))]
    assert session.acknowledge(message) == b""
    assert bodies(session.encode_command("set 0x0029=30 0x0013=a.b")) == [
        (0x8103, bytes.fromhex("0200000029040000001e0000001303") + b"a.b")
    ]
    assert bodies(session.ask_version()) == [(0x8107, b"")]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("attributes", ""), ("parameters 0x01 2a", ""), ("set 0x84=2", ""), ("control 4;x;y", ""), ("anything", ""),
        ("set", "is written"), ("set 0x29", "ID=VALUE"), ("set 0x29=abc", "whole number"), ("set zz=1", "hexadecimal"),
        ("set 0x84=256", "below 256"), ("control x", "0 to 255"), ("control 256", "0 to 255"),
        ("locate now", "is written"),
        ("parameters q", "hexadecimal"), ("", "has a text"), ("x" * 513, "512"), ("a\nb", "one line"), ("€🙂", "GBK"),
        ("set 0x13=" + "x" * 256, "255 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_command_is_told(text: str, wrong: str) -> None:
    problem = commands.problem(text)
    assert (wrong in problem) if wrong else problem == ""


def test_no_commands_before_the_login() -> None:
    session = new_session(secret=SECRET, check_auth=True)
    assert session.encode_command("attributes") == session.ask_version() == b""


# -- the terminal, and who begins so ---------------------------------------------------------------------------------


def test_the_terminal_builds_what_the_declaration_says() -> None:
    reading = Reading(
        time=1_773_480_413_000, lat=-346_037_340, lon=1_140_589_890, altitude=-3, speed=61, course=274, satellites=11,
        ignition=True, moving=True, changed=False, external=27_800, battery=4000, gsm=4, odometer=14_835_600, step=9,
        rpm=900, fuel=(FuelReading(382, 20),), state="driving",
    )  # fmt: skip
    items = [(1, (148356).to_bytes(4, "big")), (2, (382).to_bytes(2, "big")), (0x30, b"\x18"), (0x31, b"\x0b")]
    assert body_of(reading) == declaration.location(
        time=1_773_480_413, latitude=-34.603734, longitude=114.058989, status=0x40003, altitude=-3, speed=610,
        direction=274, items=items,
    )  # fmt: skip
    assert Jt808Terminal.identity(0) == "00000000013900000000"
    assert Jt808Terminal.identity(1) == "013900000001"


def test_beginnings() -> None:
    begins = PROTOCOL.begins
    assert begins is not None
    for packet in v.VECTORS:
        if packet.name != "parameters":  # an answer: nobody begins with one
            assert begins(packet.wire, "tcp"), packet.name
            assert begins(b"~" + packet.wire[:3], "tcp")
    assert [begins(data, "tcp") for data in (b"", b"~", b"~~", b"~\x01")] == [None] * 4
    assert [begins(data, "tcp") for data in (b"~A", b"\x01", b"~\x01\x01", b"~\x0f")] == [False] * 4


def test_xor_is_that_of_the_catalogue() -> None:
    assert xor(b"123456789") == 0x31
    dice = random.Random(3)
    for size in (*range(70), 255, 1044):
        data = dice.randbytes(size)
        told = 0
        for byte in data:
            told ^= byte
        assert xor(data) == told


def test_quarantine_of_a_run_is_answered_frame_by_frame() -> None:
    session = opened()
    (frame,) = of_kind(feed(session, live(3, 3)), Frame)
    assert bodies(session.acknowledge(frame, [Quarantined(0, "time", b"x")]))[0][1][4] == 2
