"""Wialon Retranslator: many objects on one connection, values by type, damage; the decoder against the declaration."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import pytest

from bench.samples import wire_frames
from gateway.simulator.truth import Truth
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
    Malformed,
)
from protocols.terminals import TerminalSpec
from protocols.wialon_retranslator import PROTOCOL, wire
from protocols.wialon_retranslator import declaration as d
from protocols.wialon_retranslator.decoder import MAX_BINARY, Decoder, decode
from protocols.wialon_retranslator.measures import measure
from protocols.wialon_retranslator.session import RetranslatorSession
from protocols.wialon_retranslator.terminal import RetranslatorTerminal
from tests.protocols.helpers import CUTS, feed, of_kind, rows
from tests.protocols.wialon_retranslator_vectors import ALARM, POSITION, SOUTH_WEST

UID = "861472050987321"


def message(*content: bytes, uid: str = "A", time: int = 1_700_000_000, flags: int = 0) -> bytes:
    return wire.packet(uid, time, flags, content)


def read(*packets: bytes) -> list[dict[str, Any]]:
    found = decode([Frame(one) for one in packets])
    assert not found.quarantined
    return rows(found.batch)


@pytest.mark.parametrize("step", CUTS)
def test_a_connection_of_several_objects(step: int) -> None:
    session = RetranslatorSession()
    events = feed(session, POSITION + ALARM + SOUTH_WEST, step)
    assert [(one.terminal, one.offset, one.data) for one in of_kind(events, Frame)] == [
        (UID, 0, POSITION), ("KT20X-0007", 164, ALARM), (UID, 251, SOUTH_WEST),
    ]  # fmt: skip
    assert of_kind(events, Identified) == [Identified("3.4.19", None, 1_773_480_473_000_000, "KT20X-0007")]
    assert not of_kind(events, Malformed)
    assert [session.acknowledge(one) for one in of_kind(events, Frame)] == [b"\x11"] * 3


def test_packets_of_one_object_and_size_are_a_run() -> None:
    packets = [message(wire.block("pwr_ext", *wire.number(12.5 + n)), time=1_700_000_000 + n) for n in range(4)]
    session = RetranslatorSession()
    assert session.run(packets[0]) is None, "who it is, is read the exact way once"
    session.receive_data(packets[0], 0.0)
    run = session.run(b"".join(packets[1:]))
    assert run is not None
    assert (run.terminal, run.count, run.offset) == ("A", 3, len(packets[0]))
    assert [single.data for single in run.singles()] == packets[1:]
    assert session.acknowledge(run) == b"\x11" * 3
    whole = decode([Frame(packets[0]), run])
    assert rows(whole.batch) == read(*packets)
    tells = message(wire.block("fw", wire.TEXT, b"1.2\0"))
    other = message(wire.block("pwr_ext", *wire.number(1.5)), uid="B")
    session.receive_data(other, 0.0)
    for data in (packets[1][:-1], packets[1] + packets[2][:-1], tells, packets[1] + tells, packets[1] + other, b""):
        assert session.run(data) is None
    session.receive_data(packets[1][:9], 0.0)
    assert session.run(packets[2]) is None, "there is the begin of another packet"


def test_the_worked_packets_value_by_value() -> None:
    first, second, third = read(POSITION, ALARM, SOUTH_WEST)
    assert (first["lat"], first["lon"], first["altitude"]) == (55.7520123, 37.6175432, 168)
    assert (first["speed"], first["course"], first["satellites"], first["time"]) == (61, 274, 11, 1_773_480_413_000_000)
    assert first["flags"] == VALID | MOVING
    assert first["measures"] == {
        "power.external": 27.84, "inputs": 1, "fuel.level.1": 1893, "fuel.temperature.1": -7,
    }  # fmt: skip
    assert (second["lat"], second["speed"], second["satellites"], second["flags"]) == (None, None, -1, EVENT)
    assert second["measures"] == {"param.fw": "3.4.19", "odometer": 148_356_210, "fuel.status.1": -1, "alarm": 1}
    assert (third["lat"], third["lon"], third["course"]) == (-34.6037345, -58.3815591, 359)
    assert third["measures"] == {"driver.key": "0000A1B2C3D4"}
    batch = decode([Frame(SOUTH_WEST)]).batch
    assert sum(len(group.rows) for group in batch.groups) == 1, "the store keeps records by layout"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ((13).to_bytes(4, "little") + bytes(13), "length"),
        (len(POSITION).to_bytes(4, "big") + POSITION[4:], "length"),
        ((20).to_bytes(4, "little") + b"\0" + bytes(19), "structure"),
        ((20).to_bytes(4, "little") + b"abc\x01" + bytes(16), "structure"),
        ((20).to_bytes(4, "little") + "я".encode() + bytes(18), "structure"),
        ((80).to_bytes(4, "little") + b"a" * 80, "structure"),
        ((14).to_bytes(4, "little") + b"a" * 8 + bytes(6), "structure"),
        ((20).to_bytes(4, "little") + b"   \0" + bytes(16), "structure"),
    ],
)
def test_what_is_no_packet_ends_the_connection_unanswered(data: bytes, reason: str) -> None:
    for step in CUTS:
        session = RetranslatorSession()
        events = feed(session, POSITION + data + ALARM, step)
        assert of_kind(events, Malformed) == [Malformed(reason, len(POSITION))]
        assert len(of_kind(events, Frame)) == len(of_kind(events, Close)) == 1
        assert session.receive_data(ALARM, 0.0) == ()


def test_a_cut_is_told_at_every_byte_and_zeros_at_once() -> None:
    for size in range(1, len(POSITION)):
        assert feed(RetranslatorSession(), POSITION[:size]) == [Malformed("truncated", 0)], size
    assert [one.reason for one in of_kind(feed(RetranslatorSession(), bytes(65536), 4096), Malformed)] == ["length"]
    small = RetranslatorSession(max_frame=100)
    assert of_kind(feed(small, POSITION), Malformed) == [Malformed("length", 0)]


def test_a_version_is_told_once_until_it_changes() -> None:
    def told(text: str, name: str = "fw") -> bytes:
        return message(wire.block(name, wire.TEXT, text.encode() + b"\0"))

    events = feed(RetranslatorSession(), told("1") + told("1") + told("2") + told("X7", "hw") + told("\1"))
    assert [one.facts for one in of_kind(events, Identified)] == [{"firmware": "1"}, {"firmware": "2"}, {"model": "X7"}]
    cards = told("356938035643809", "imei") + told("89701017034562198421", "iccid") + told("1", "iccidx")
    assert [one.facts for one in of_kind(feed(RetranslatorSession(), cards), Identified)] == [
        {"imei": "356938035643809"}, {"iccid": "89701017034562198421"},
    ]  # fmt: skip
    broken = message(wire.block("fw", wire.TEXT, b"1\0") + b"\0")
    assert not of_kind(feed(RetranslatorSession(), broken), Identified)


# -- values -------------------------------------------------------------------------------------------------------


def test_values_of_each_type() -> None:
    (row,) = read(
        message(
            wire.block("t", wire.TEXT, "Ж\0".encode()), wire.block("c", wire.TEXT, b"\xc6\0"),
            wire.block("b", wire.BINARY, b"\1\2"), wire.block("i", *wire.number(-5)),
            wire.block("l", *wire.number(1 << 40)), wire.block("big", wire.LONG, ((1 << 60) + 1).to_bytes(8, "big")),
            wire.block("f", *wire.number(0.1)), wire.block("nan", *wire.number(math.nan)),
            wire.block("inf", *wire.number(math.inf)), wire.block("odd", 9, b"\7"), wire.block("e", wire.TEXT, b""),
            wire.block("avl_inputs", wire.INT, b"\xff\xff\xff\xff"), wire.block("avl_outputs", *wire.number(2)),
            wire.block("adc2", *wire.number(1.5)), wire.block("i", *wire.number(6)),
        )
    )  # fmt: skip
    assert row["measures"] == {
        "param.t": "Ж", "param.c": "c6", "param.b": "0102", "param.i": -5, "param.l": 1 << 40,
        "param.big": (1 << 60) + 1, "param.f": 0.1, "param.odd": "07", "param.e": "", "inputs": 0xFFFFFFFF,
        "outputs": 2, "adc.2": 1.5, "again.param.i.2": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameter", "called"),
    [("pwr_int", "power.battery"), ("ign", "ignition"), ("adc0", "param.adc0"), ("rs485_t16", "fuel.temperature.16"),
     ("rs485_lls", "param.rs485_lls"), ("gsm", "param.gsm")],
)  # fmt: skip
def test_customary_parameters_are_measures_that_others_tell_too(parameter: str, called: str) -> None:
    assert measure(parameter) == called


@pytest.mark.parametrize(("code", "level"), [(0, 0), (4095, 4095), (4096, None), (-1, None), (65535, None)])
def test_what_is_no_level_is_the_code_of_an_error(code: int, level: int | None) -> None:
    (row,) = read(message(wire.block("rs485_lls3", *wire.number(code))))
    assert row["measures"] == ({"fuel.status.3": code} if level is None else {"fuel.level.3": level})


@pytest.mark.parametrize("place", [(0.0, 0.0), (181.0, 5.0), (5.0, -90.5), (math.nan, 1.0), (math.inf, 1.0)])
def test_a_place_that_is_none_costs_the_place_alone(place: tuple[float, float]) -> None:
    block = wire.block("posinfo", wire.BINARY, wire.posinfo(*place, 1e300, 7, 90, 5), hidden=True)
    (row,) = read(message(block, wire.block("ign", *wire.number(1))))
    assert (row["lat"], row["lon"], row["altitude"], row["speed"], row["satellites"]) == (None, None, None, 7, 5)
    assert row["flags"] == IGNITION_KNOWN | IGNITION_ON


@pytest.mark.parametrize(
    "content",
    [
        b"\0", b"\x0b\xbc" + wire.block("a", *wire.number(1))[2:], wire.block("a", *wire.number(1))[:-1],
        wire.block("a", wire.INT, b"\0\0\0"), b"\x0b\xbb\0\0\0\2\0\3", b"\x0b\xbb\0\0\0\4\0\3ab",
        wire.block("posinfo", wire.BINARY, bytes(28)), b"\x0b\xbb\xff\xff\xff\xff\0\3a\0",
        b"\x0b\xbb\0\0\0\5\0\1\xff\0a",
    ],
)  # fmt: skip
def test_blocks_that_are_none_are_kept_whole_and_their_neighbours_read(content: bytes) -> None:
    found = decode([Frame(POSITION), Frame(message(content)), Frame(ALARM)])
    assert [(one.frame, one.reason, one.data) for one in found.quarantined] == [(1, "structure", None)]
    assert [row["frame"] for row in rows(found.batch)] == [0, 2]
    assert "error" in PROTOCOL.tree(Frame(message(content))) or content[:2] == b"\x0b\xbb"


@pytest.mark.parametrize("size", [MAX_BINARY + 1, 200_000])
def test_a_picture_is_kept_beside_the_record(size: int) -> None:
    picture = wire.block("imag", wire.PICTURE, bytes(size))
    found = decode([Frame(message(wire.block("ign", *wire.number(0)), picture))])
    assert [(one.reason, one.data) for one in found.quarantined] == [("unsupported", picture)]
    assert rows(found.batch)[0]["measures"] == {"ignition": 0}
    assert PROTOCOL.member(picture, 0)["content"]["name"] == "imag"
    assert PROTOCOL.member(POSITION, 0) is None
    spoilt = decode([Frame(message(picture) + b"\0")])
    assert [one.reason for one in spoilt.quarantined] == ["structure"]


def test_any_bytes_are_a_record_or_quarantine() -> None:
    dice = random.Random(9)
    decoder = Decoder()
    for _ in range(300):
        spoilt = bytearray(dice.choice((POSITION, ALARM, SOUTH_WEST)))
        for _ in range(dice.randrange(1, 5)):
            spoilt[dice.randrange(4, len(spoilt))] = dice.randrange(256)
        found = decoder.decode([Frame(bytes(spoilt)), Frame(POSITION), Frame(dice.randbytes(dice.randrange(60)))])
        assert 1 in [row["frame"] for row in rows(found.batch)]


def test_structures_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.wialon_retranslator.decoder.MAX_STRUCTURES", 5)
    decoder = Decoder()
    for n in range(40):
        decoder.decode([Frame(message(wire.block(f"p{n:02}", *wire.number(n))))])
    assert len(decoder._by_key) == sum(map(len, decoder._by_length.values())) == 5
    assert decoder._weight == sum(one.weight for one in decoder._by_key.values())


# -- against the declaration --------------------------------------------------------------------------------------


def oracle(packet: bytes) -> dict[str, Any]:
    """What a message says, through the declaration."""
    told = d.parse(packet)
    row: dict[str, Any] = {"time": told.time * 1_000_000, "lat": None, "measures": {}}
    for one in [block.content for block in told.blocks]:
        if one.name == "posinfo":
            row["lat"], row["lon"] = one.value.lat, one.value.lon
            row["speed"], row["satellites"] = one.value.speed, one.value.satellites
        elif one.type == wire.TEXT:
            row["measures"][measure(one.name)] = one.value.decode()
        else:
            row["measures"][measure(one.name)] = one.value
    return row


def test_random_messages_say_what_the_declaration_says() -> None:
    dice = random.Random(4)
    decoder = Decoder()
    packets = []
    for _ in range(300):
        content = [
            wire.block("posinfo", wire.BINARY, wire.posinfo(
                dice.uniform(-180, 180), dice.uniform(-90, 90), dice.uniform(-100, 5000), dice.randrange(200),
                dice.randrange(360), dice.randrange(20)), hidden=True),
            wire.block("pwr_ext", *wire.number(dice.uniform(0, 30))),
            wire.block("odom_m", wire.LONG, struct.pack(">q", dice.randrange(-(1 << 63), 1 << 63))),
            wire.block("count", *wire.number(dice.randrange(-(1 << 31), 1 << 31))),
            wire.block("note", wire.TEXT, dice.choice((b"a", b"bc")) + b"\0"),
        ]  # fmt: skip
        packets.append(message(*dice.sample(content, dice.randrange(6)), uid=f"u{dice.randrange(2000)}",
                               time=dice.randrange(1 << 32)))  # fmt: skip
    for row, packet in zip(rows(decoder.decode([Frame(one) for one in packets]).batch), packets, strict=True):
        want = oracle(packet)
        assert (row["time"], row["measures"], row["lat"]) == (want["time"], want["measures"], want["lat"])
        if want["lat"] is not None:
            assert all(row[name] == want[name] for name in ("lon", "speed", "satellites"))
        assert not row["flags"] & ARCHIVE
        assert d.build(d.parse(packet)) == packet


# -- the registry's ends ------------------------------------------------------------------------------------------


def test_beginnings() -> None:
    begins = PROTOCOL.begins
    assert begins is not None
    for packet in (POSITION, ALARM):
        mark = packet.index(b"\x0b\xbb")
        told = [begins(packet[:n], "tcp") for n in range(mark + 3)]
        assert told == [None] * (mark + 2) + [True]
    assert begins(message(uid="ABCDE"), "tcp") is True
    assert begins(POSITION[:29] + b"\0", "tcp") is False
    assert begins(b"\x0e\0\0\0\xff", "tcp") is False
    assert begins(bytes(4), "tcp") is False


def test_the_terminals_side_hears_only_what_it_is_owed() -> None:
    spec = TerminalSpec(
        0, "wialon-retranslator", RetranslatorTerminal.identity(1), "protocol:wialon-retranslator", "town"
    )
    terminal = RetranslatorTerminal(spec, Truth(), firmware="1.1.3")
    terminal.connect(0.0)
    assert terminal.ready
    terminal.receive(b"\x11", 0.0)
    assert terminal.wants_close
    _, frames = wire_frames("wialon-retranslator", 2)
    assert all(len(of_kind(feed(RetranslatorSession(), frame), Frame)) == 20 for frame in frames)


def test_there_are_no_commands_and_no_logins() -> None:
    session = RetranslatorSession()
    assert (session.ask_version(), session.encode_command("x"), session.run(POSITION)) == (b"", b"", None)
    assert PROTOCOL.command_problem is None
    assert PROTOCOL.missing_login(POSITION) == b""
