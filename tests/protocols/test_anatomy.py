"""Every byte has a name, whatever the bytes; what is well made has no remainder; beginnings are told apart."""

from __future__ import annotations

import random
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.samples import RECORDS, wire_frames
from protocols.anatomy import Unit
from protocols.auto import Begun, begun, told_apart
from protocols.omnicomm.declaration import container, identification
from protocols.records import Frame, Login, Malformed
from protocols.registry import PROTOCOLS, protocol
from protocols.teltonika.declaration import CODEC_8, CODEC_8E, CODEC_16, avl_payload, avl_record, tcp_frame
from tests.protocols.examples import examples, some
from tests.protocols.teltonika_vectors import UDP_8E
from tests.protocols.wialon_ips_vectors import W11

NAMED = [name for name in PROTOCOLS if protocol(name).anatomy is not None]
VECTORS = [
    (name, vector.name, vector.wire)
    for name in NAMED
    for vector in import_module(f"tests.protocols.{name.replace('-', '_')}_vectors").VECTORS
]
DATAGRAMS = (UDP_8E.wire, W11)


def units(name: str, data: bytes, *, udp: bool = False) -> list[Unit]:
    """The units of a stream, which they tile."""
    anatomy = protocol(name).anatomy
    assert anatomy is not None
    found = list(anatomy(data, udp=udp))
    assert sum(unit.size for unit in found) == len(data)
    assert all(span.size > 0 and span.name for unit in found for span in unit.spans)
    return found


def told(name: str, data: bytes, *, udp: bool = False) -> dict[str, object]:
    """Field to value; the last of a name counts."""
    return {span.name: span.value for unit in units(name, data, udp=udp) for span in unit.spans}


def remainders(found: list[Unit]) -> list[str]:
    return [span.name for unit in found for span in unit.spans if span.name.endswith("remainder")]


def heard(name: str, data: bytes) -> list[object]:
    """What a session makes of a connection's bytes, behind a login if they lack one."""
    wire = protocol(name)
    session = wire.new_session(transport="tcp", max_frame=None)
    events: list[object] = []
    for piece in (wire.missing_login(data), data):
        new = list(session.receive_data(piece, 0.0))
        while new:
            events += new
            new = list(session.accept(0.0)) if any(isinstance(event, Login) for event in new) else []
    return events


@pytest.mark.parametrize(("name", "vector", "wire"), VECTORS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_worked_packet_is_named_whole(name: str, vector: str, wire: bytes) -> None:
    udp = wire in DATAGRAMS
    login = b"" if udp else protocol(name).missing_login(wire)  # it tells the version of what follows
    found = units(name, login + wire, udp=udp)
    assert remainders(found) == []
    checks = [span.value for unit in found for span in unit.spans if span.name in ("crc", "checksum")]
    assert all(check == "right" or str(check).endswith("of the block") for check in checks)


@pytest.mark.parametrize("name", NAMED)
def test_what_terminals_send_is_named_whole_and_as_it_is_heard(name: str) -> None:
    login, frames = wire_frames(name, 40)
    stream = login + b"".join(frames)
    found = units(name, stream)
    assert remainders(found) == []
    at, places = 0, []
    for unit in found:
        if unit.kind == "frame":
            places.append(at)
        at += unit.size
    heard_at = [event.offset for event in heard(name, stream) if isinstance(event, Frame) for event in event.singles()]
    assert places == heard_at
    assert len(places) in (len(frames), RECORDS * len(frames))  # some protocols have a record a frame


@pytest.mark.parametrize("name", NAMED)
def test_damage_ends_in_a_remainder_or_a_wrong_checksum(name: str) -> None:
    dice = random.Random(5)
    login, frames = wire_frames(name, 6)
    missed = 0
    for frame in frames:
        for _ in range(some(60)):
            spoilt = bytearray(frame)
            match dice.randrange(3):
                case 0:
                    spoilt[dice.randrange(len(spoilt))] ^= 1 << dice.randrange(8)
                case 1:
                    del spoilt[dice.randrange(1, len(spoilt)) :]
                case _:
                    spoilt.insert(dice.randrange(len(spoilt)), dice.randrange(256))
            found = units(name, login + bytes(spoilt))
            if any(isinstance(event, Malformed) for event in heard(name, login + bytes(spoilt))):
                values = [str(span.value) for unit in found for span in unit.spans]
                shown = remainders(found) or any(v.startswith(("wrong", "no checksum")) for v in values)
                missed += not (shown or any(unit.kind == "unreadable" for unit in found))
    assert missed == 0


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("udp", [False, True])
@examples(150)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_bytes_are_named(name: str, udp: bool, seed: int) -> None:
    dice = random.Random(seed)
    mine = [wire for its, _, wire in VECTORS if its == name]
    noise = bytearray(b"".join(dice.choices(mine, k=dice.randint(0, 4))) + dice.randbytes(dice.randint(0, 40)))
    for _ in range(dice.randint(0, 4) if noise else 0):
        noise[dice.randrange(len(noise))] = dice.choice((0, 255, dice.randrange(256)))
    units(name, bytes(noise), udp=udp)


def test_teltonika_values_say_what_the_decoder_says() -> None:
    items = [(21, b"\x03"), (66, b"\x5e\x0f"), (66, b"\0\1"), (241, b"\0\0\x60\x1a"), (999, bytes(8)), (385, b"abc")]
    record = avl_record(timestamp=1_560_161_086_000, longitude=376_834_000, latitude=-10_000_000, speed=5, items=items)
    fields = told("teltonika", tcp_frame(avl_payload(CODEC_8E, [record, record])))
    told_of = {
        field.removeprefix("record.2."): value for field, value in fields.items() if field.startswith("record.2.")
    }
    assert (told_of["longitude"], told_of["latitude"], told_of["speed"]) == (37.6834, -1.0, 5)
    assert told_of["timestamp"] == "2019-06-10T10:04:46.000Z"
    assert (told_of["gsm.signal"], told_of["power.external"], told_of["gsm.operator"]) == (60, 24.079, 24602)
    assert (told_of["io.66.2"], told_of["io.999"], told_of["io.66.2.id"]) == (1, 0, 66)
    assert fields["count"] == fields["count.again"] == 2
    for codec in (CODEC_8, CODEC_16):
        assert "record.1.total" in told(
            "teltonika", tcp_frame(avl_payload(codec, [avl_record(timestamp=1, generation=0)]))
        )


def test_omnicomm_messages_by_the_names_of_their_fields() -> None:
    content = {"mID": [1, 300], "general": {"Time": 5, "Uboard": 0xC0}, "nav": {"LAT": -5}, "llsdt": {"CLLS1": 0xDB}}
    content["other"] = {"weightcontrol": {"AxleWeight": [1.5, 2.5]}}
    wire = identification(7, 300) + container(9, 10, [content, b"\x08"])
    fields = told("omnicomm", wire)
    assert (fields["reg_id"], fields["firmware"], fields["rec_id"]) == (7, 300, 9)
    assert fields["time"] == "2009-01-01T00:00:10Z"
    assert (fields["message.1.mID"], fields["message.1.General.Uboard"]) == ([1, 300], 0xC0)
    assert (fields["message.1.NAV.LAT"], fields["message.1.LLSDt.CLLS1"]) == (-5, 0xDB)
    assert fields["message.1.Other.WeightControl.AxleWeight"] == 2.5
    assert "message.1.Other.end" in fields
    spans = [span for unit in units("omnicomm", wire) for span in unit.spans]
    (escaped,) = [span for span in spans if span.name == "message.1.General.Uboard"]
    assert escaped.size == 3  # the value has two bytes, and one of them is escaped
    assert fields["checksum"] == "right"


def test_a_password_has_no_value() -> None:
    for line in (b"#L#imei;secret\r\n", b"#L#2.0;imei;secret;ABCD\r\n"):
        assert told("wialon-ips", line)["password"] is None


def test_parameters_and_numbers_of_wialon() -> None:
    fields = told("wialon-ips", b"#D#NA;101010;NA;NA;NA;NA;5;;120;9;1.1;0;0;1,2;NA;lls1:1:500,x:3:NA,odd,y:2:1.5\r\n")
    assert (fields["message.date"], fields["message.time"], fields["message.course"]) == (None, 101010, None)
    assert (fields["message.param.lls1"], fields["message.param.x"], fields["message.param.y"]) == (500, "NA", 1.5)
    assert fields["message.parameter"] == "odd"


BEGINNINGS = [
    ("teltonika", "tcp", b"\x00\x0f356307042441013", 16),
    ("teltonika", "tcp", tcp_frame(avl_payload(CODEC_8, [avl_record(timestamp=1)])), 8),
    ("teltonika", "udp", UDP_8E.wire, None),
    ("omnicomm", "tcp", identification(7, 300), 3),
    ("omnicomm", "tcp", container(9, 10, [{}]), 1),
    ("wialon-ips", "tcp", b"#L#imei;NA\r\n", 2),
    ("wialon-ips", "tcp", b"#IT#1;2\r\n", 3),
    ("wialon-ips", "udp", W11, None),
]


@pytest.mark.parametrize(
    ("name", "transport", "wire", "undecided"), BEGINNINGS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_beginning_is_told_when_it_is_certain_and_not_before(
    name: str, transport: str, wire: bytes, undecided: int | None
) -> None:
    assert begun(wire, transport).name == name
    for size in range(len(wire)) if undecided is not None else ():
        seen = begun(wire[:size], transport)
        if size <= (undecided or 0):
            assert seen.name is None, size
            assert name in seen.may
        else:
            assert seen.name == name, size


def test_what_nobody_begins_with_is_nobody_s() -> None:
    for data in (
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0",
        b"\x00\x00\x00\x01rest",
        b"\xc0\x00\x05",
        b"##",
    ):
        assert begun(data).hopeless
        assert begun(data, "udp").hopeless
    assert set(told_apart()) <= set(PROTOCOLS)


def test_what_two_begin_with_or_may_begin_with_is_not_told() -> None:
    assert Begun(("teltonika",), ()).name == "teltonika"
    for undecided in (
        Begun(("teltonika",), ("omnicomm",)),
        Begun(("teltonika", "omnicomm"), ()),
        Begun((), ("omnicomm",)),
    ):
        assert undecided.name is None
        assert not undecided.hopeless


@pytest.mark.parametrize("name", told_apart())
def test_no_protocol_s_beginning_is_another_s(name: str) -> None:
    login, frames = wire_frames(name, 5)
    for data in filter(None, (login, *frames)):  # a relay's connection may have none
        assert begun(data).name == name
        assert all(begun(data, among=[other]).hopeless for other in told_apart() if other != name)


def _first(name: str) -> bytes:
    """What a connection begins with."""
    login, frames = wire_frames(name, 1)
    return login or frames[0]


@examples(60)
@given(data=st.data())
def test_what_was_told_of_a_beginning_stays_told(data: st.DataObject) -> None:
    """A verdict is for the whole connection: no byte that follows may turn it, whatever the first ones were."""
    name = data.draw(st.sampled_from(told_apart()))
    wire = bytearray(_first(name) + data.draw(st.binary(max_size=20)))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(wire) - 1), st.integers(0, 255)), max_size=2)):
        wire[at] = byte
    for one in told_apart():
        begins = protocol(one).begins
        assert begins is not None
        told = [begins(bytes(wire[:size]), "tcp") for size in range(min(len(wire), 64) + 1)]
        decided = [verdict for verdict in told if verdict is not None]
        assert len(set(decided)) <= 1, (one, wire.hex())
        assert told[: len(told) - len(decided)] == [None] * (len(told) - len(decided)), "and is not taken back"
