"""Omnicomm: session, decoder, declaration.

Vectors: "E…" were generated from the published protocol description and verified with the public `omnicomm` Python
library; their values stand beside them. Scales: the published message description and SAE J1939-71.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.omnicomm import PROTOCOL, declaration, parser
from protocols.omnicomm.columns import FLAG_BITS, NEW_FLAG_BITS
from protocols.omnicomm.declaration import RecReg
from protocols.omnicomm.decoder import decode
from protocols.omnicomm.fields import EPOCH, MESSAGE, Group, Odd, Scaled
from protocols.omnicomm.framing import MAX_PAYLOAD, checksum, server_frame, stuff, unstuff
from protocols.omnicomm.measures import MEASURES
from protocols.omnicomm.session import OmnicommSession
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MALFORMED_REASONS,
    VALID,
    Close,
    Decoded,
    Event,
    Frame,
    Login,
    Malformed,
    Quarantined,
    Reply,
    fingerprint,
)
from protocols.registry import protocol

NOW = EPOCH + 495_783_642  # 2024-09-17T05:40:42Z

E1 = bytes.fromhex("c080080047dbdddbdc1d38010000296d")
E2 = bytes.fromhex("c0850400111301002061")
E3 = bytes.fromhex(
    "c086c90011130100b00e8d1d0060000a01011308b09db4ec01200728cb1c30e40438c80b409102486450d0016005680470c401142b0886ccde88"
    "0410e0f2ac940418e70420f701280d30ba162c330884de011000180020dcaa03280030003443080d109f091804200b289f0d3004445c00080408"
    "091308ce9db4ec01200728d8093000389606409402486450ca016005680470c401142b08e8dede8804108abfac9404180c20fb01280c30c2162c"
    "330800100018002098b003280030003443080d10001806200b28c50d300444ba61"
)
E4 = bytes.fromhex("c087040011130100c301")
E5 = bytes.fromhex("c0880400111301008b2a")
E6 = bytes.fromhex("c08600004566")
E7 = bytes.fromhex("c0930000edf5")
E8 = bytes.fromhex("c0940400da0e8d1ddadf")
E9 = bytes.fromhex("c095270012130100e20e8d1d001c000a01121308e29db4ec011483010a0b56657233313220525354318401bc5d")
ASK = bytes.fromhex("c0850400000000003125")
LOGIN = Login("499178311", firmware="312")

E3_RECORDS: list[dict[str, Any]] = [
    {
        "time": 495_783_600 + EPOCH,
        "lat": 54.6034435,
        "lon": 55.8210224,
        "altitude": 143.7,
        "speed": 61.5,
        "course": 247.0,
        "satellites": 13,
        "flags": VALID | IGNITION_KNOWN | IGNITION_ON | ARCHIVE,
        "measures": {
            "event": 1,
            "flags": 7,
            "ignition": 1,
            "gsm.registered": 1,
            "gsm.roaming": 0,
            "power.backup": 0,
            "alarm.panic": 0,
            "case.open": 0,
            "output.1": 0,
            "mileage.delta": 3659,
            "speed.sensor": 612,
            "engine.rpm": 1480,
            "power.external": 27.3,
            "battery.level": 100,
            "acceleration": 1.04,
            "acceleration.x": -0.03,
            "acceleration.y": 0.02,
            "acceleration.z": 0.98,
            "universal.1": 14210,
            "universal.2": 0,
            "universal.3": 0,
            "universal.4": 27310,
            "universal.5": 0,
            "universal.6": 0,
            "fuel.temperature.1": -7,
            "fuel.level.1": 1183,
            "fuel.status.1": 2,
            "fuel.temperature.2": -6,
            "fuel.level.2": 1695,
            "fuel.status.2": 2,
        },
    },
    {
        "time": 495_783_630 + EPOCH,
        "lat": 54.6035636,
        "lon": 55.8206917,
        "altitude": 144.1,
        "speed": 1.2,
        "course": 251.0,
        "satellites": 12,
        "flags": VALID | IGNITION_KNOWN | IGNITION_ON | ARCHIVE | EVENT,
        "measures": {
            "event": 4,
            "events": "4,9",
            "flags": 7,
            "ignition": 1,
            "gsm.registered": 1,
            "gsm.roaming": 0,
            "power.backup": 0,
            "alarm.panic": 0,
            "case.open": 0,
            "output.1": 0,
            "mileage.delta": 1240,
            "speed.sensor": 0,
            "engine.rpm": 790,
            "power.external": 27.6,
            "battery.level": 100,
            "acceleration": 1.01,
            "acceleration.x": -0.03,
            "acceleration.y": 0.02,
            "acceleration.z": 0.98,
            "universal.1": 0,
            "universal.2": 0,
            "universal.3": 0,
            "universal.4": 27660,
            "universal.5": 0,
            "universal.6": 0,
            "fuel.temperature.1": -7,
            "fuel.status.1": 3,
            "fuel.temperature.2": -6,
            "fuel.level.2": 1733,
            "fuel.status.2": 2,
        },
    },
]
E9_RECORD = {
    "time": 495_783_650 + EPOCH,
    "lat": None,
    "lon": None,
    "altitude": None,
    "speed": None,
    "course": None,
    "satellites": -1,
    "flags": EVENT,
    "measures": {"event": 18, "log": "Ver312 RST1"},
}


# --- helpers ---------------------------------------------------------------------------------------------------------


def body(wire: bytes) -> bytes:
    return unstuff(wire[1:])


def number(value: float) -> float | None:
    return None if math.isnan(value) else value


def records(decoded: Decoded) -> list[dict[str, Any]]:
    """Rows in wire order, as `dozor decode` tells them."""
    batch = decoded.batch
    measures: list[dict[str, Any]] = [{} for _ in range(len(batch))]
    for group in batch.groups:
        assert group.values.shape == (len(group.rows), len(group.names))
        for row, values in zip(group.rows.tolist(), group.values.tolist(), strict=True):
            assert len(set(group.names)) == len(group.names)
            measures[row] = {n: v for n, v in zip(group.names, values, strict=True) if not math.isnan(v)}
    for row, extra in batch.extra.items():
        measures[row] |= extra
    order = sorted(range(len(batch)), key=lambda i: (batch.frame[i], batch.position[i]))
    return [
        {
            "time": int(batch.time[i]) / 1e6,
            "lat": number(float(batch.lat[i])),
            "lon": number(float(batch.lon[i])),
            "altitude": number(float(str(batch.altitude[i]))),
            "speed": number(float(str(batch.speed[i]))),
            "course": number(float(str(batch.course[i]))),
            "satellites": int(batch.satellites[i]),
            "flags": int(batch.flags[i]),
            "measures": measures[i],
        }
        for i in order
    ]


def decoded_of(*messages: Any, command: int = 0x86, time: int = 495_783_600) -> Decoded:
    return decode([Frame(body(declaration.container(1, time, messages, command=command)))])


def measures_of(message: Any, **more: Any) -> dict[str, Any]:
    (record,) = records(decoded_of(message, **more))
    measures: dict[str, Any] = record["measures"]
    return measures


@dataclass
class Told:
    """What a session told of a stream."""

    events: list[Event] = field(default_factory=list)
    session: OmnicommSession = field(default_factory=lambda: PROTOCOL.new_session(transport="tcp", max_frame=None))

    def feed(self, wire: bytes, step: int = 1 << 30) -> Told:
        for at in range(0, len(wire), step):
            self._take(self.session.receive_data(wire[at : at + step], NOW))
        return self

    def end(self) -> Told:
        self._take(self.session.end_of_stream())
        return self

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Login):
                self._take(self.session.accept(NOW))

    def frames(self) -> list[Frame]:
        return [e for e in self.events if isinstance(e, Frame)]

    def without_close(self) -> list[Event]:
        return [e for e in self.events if not isinstance(e, Close)]


STEPS = [1, 2, 3, 7, 1 << 30]


# --- vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_worked_session_does_not_depend_on_how_the_stream_was_cut(step: int) -> None:
    told = Told().feed(E1 + E3 + E5 + E6 + E7 + E9, step).end()
    archive = Frame(body(E3), records=2, offset=len(E1))
    live = Frame(body(E9), records=1, offset=len(E1 + E3 + E5 + E6 + E7))
    assert told.events == [LOGIN, Reply(ASK), archive, Reply(E8), live]
    assert told.session.acknowledge(archive) == E4
    assert declaration.ServerFrames().feed(told.session.acknowledge(live)) == [(0x87, 70418)]
    assert told.session.ask_version() == b""


def test_archive_vector_value_by_value() -> None:
    decoded = decode([Frame(body(E3), 2)])
    assert decoded.quarantined == []
    assert records(decoded) == E3_RECORDS
    assert decoded.batch.time_digits == 0


def test_live_vector_value_by_value() -> None:
    assert records(decode([Frame(body(E9))])) == [E9_RECORD]


def test_fingerprint_is_that_of_the_message_alone_so_that_a_resend_in_another_container_is_known() -> None:
    message = declaration.message({"mID": [1], "general": {"Time": 5}})
    one = decode([Frame(body(declaration.container(1, 5, [message])))]).batch
    two = decode([Frame(body(declaration.container(9, 6, [b"\x08\x01", message], command=0x95)))]).batch
    assert one.fingerprint[0] == two.fingerprint[list(two.position).index(1)] == fingerprint(message)


def test_builders_make_the_worked_packets() -> None:
    assert declaration.identification(499178311, 312) == E1
    assert server_frame(0x85, (70417).to_bytes(4, "little")) == E2
    assert declaration.delete_confirmation(70417) == E5
    assert declaration.archive_exhausted() == E6
    assert declaration.time_request() == E7
    general = {"Time": 495_783_650}
    log = {"mID": [18], "general": general, "log": {"Debug": [b"Ver312 RST1"]}}
    assert declaration.container(70418, 495_783_650, [log], command=0x95) == E9
    assert declaration.omnicomm_time(NOW) == 495_783_642


def test_simulated_terminal_reads_the_server() -> None:
    server = declaration.ServerFrames()
    found = [pair for byte in ASK + E4 + E8 for pair in server.feed(bytes([byte]))]
    assert found == [(0x85, 0), (0x87, 70417), (0x94, 495_783_642)]
    with pytest.raises(ValueError, match="checksum"):
        declaration.ServerFrames().feed(E5)  # high byte first: no server's frame


def test_tree_shows_everything_and_never_raises() -> None:
    tree = PROTOCOL.tree(Frame(body(E3)))
    assert tree.payload.rec_id == 70417
    assert tree.payload.messages[1].llsdt == {
        "TLLS1": -7, "CLLS1": 0, "FLLS1": 3, "TLLS2": -6, "CLLS2": 1733, "FLLS2": 2,
    }  # fmt: skip
    assert PROTOCOL.tree(Frame(body(E9))).payload.messages[0].log.Debug == [b"Ver312 RST1".hex()]
    assert PROTOCOL.tree(Frame(body(E6))).payload == b""
    for wire in (E1, E5, E7):
        assert PROTOCOL.tree(Frame(body(wire))).command == wire[1]
    broken = PROTOCOL.tree(Frame(body(declaration.container(1, 2, [b"\x13"]))))
    assert broken.payload.messages == ["13"]
    assert PROTOCOL.tree(Frame(b"\x86")).data == b"\x86"


def test_registered() -> None:
    assert protocol("omnicomm") is PROTOCOL
    assert (PROTOCOL.port, PROTOCOL.transports, PROTOCOL.closes_on_damage) == (9977, ("tcp",), True)
    with pytest.raises(ValueError, match="TCP"):
        PROTOCOL.new_session(transport="udp", max_frame=None)


# --- stuffing, checksums, acknowledgements ---------------------------------------------------------------------------


@pytest.mark.parametrize("rec_id", [0xC0, 0xDB, 0xDBDC, 0xDCDB, 0xDDDBC0C0, 0xC0C0C0C0, 0xDBDBDBDB])
@pytest.mark.parametrize(("command", "answer"), [(0x86, 0x87), (0x95, 0x87), (0x9F, 0xA0)])
def test_acks_are_stuffed_and_name_the_container(rec_id: int, command: int, answer: int) -> None:
    wire = declaration.container(rec_id, 0xC0DB, [{"mID": [0xC0, 0xDB]}], command=command)
    told = Told().feed(E1 + wire, 1)
    (frame,) = told.frames()
    ack = told.session.acknowledge(frame, [Quarantined(0, "structure")])
    assert ack.count(b"\xc0") == 1
    assert declaration.ServerFrames().feed(ack) == [(answer, rec_id)]


def test_escapes_in_length_and_checksum() -> None:
    """Lengths of C0 and DB bytes, and both bytes of the checksum escaped somewhere among these."""
    seen = set()
    for rec_id in range(3000):
        wire = declaration.container(rec_id, 1, [b"\x08" + bytes([0x80 | 1] * 4) + b"\x01"])
        seen |= {byte for byte in body(wire)[-2:] if byte in b"\xc0\xdb"}
        if body(wire)[-1] in b"\xc0\xdb" or rec_id < 3:
            assert Told().feed(E1 + wire, 1).frames() == [Frame(body(wire), 1, len(E1))]
    assert seen == {0xC0, 0xDB}
    for size in (0xC0, 0xDB, 0xC0DB, 0xDBC0):
        wire = declaration.frame(0x86, b"\x01" * size)
        assert Told().feed(E1 + wire, 1000).frames()[0].data == body(wire)


@given(st.binary(max_size=300), st.sampled_from([1, 2, 5, 1000]))
@example(b"\xdb\xdc\xdb\xdd\xc0\xdb", 1)
def test_any_payload_survives_stuffing(payload: bytes, step: int) -> None:
    wire = declaration.frame(0x86, payload)
    assert wire.count(b"\xc0") == 1
    expected = [payload] if payload else []
    assert [f.data[3:-2] for f in Told().feed(E1 + wire, step).frames()] == expected


def test_time_request_carries_now_within_the_field() -> None:
    session = PROTOCOL.new_session(transport="tcp", max_frame=None)
    session.receive_data(E1, NOW)
    session.accept(NOW)
    assert session.receive_data(E7, NOW + 0.9) == [Reply(E8)]
    for now, told in ((0, 0), (EPOCH + 2**33, 2**32 - 1)):
        (reply,) = session.receive_data(E7, now)
        assert isinstance(reply, Reply)
        assert declaration.ServerFrames().feed(reply.data) == [(0x94, told)]


# --- the session's states --------------------------------------------------------------------------------------------


def test_login_waits_for_the_verdict_and_what_follows_waits_too() -> None:
    session = PROTOCOL.new_session(transport="tcp", max_frame=None)
    assert session.receive_data(E1 + E7, NOW) == [LOGIN]
    assert session.receive_data(E3, NOW) == []
    assert session.accept(NOW) == [Reply(ASK), Reply(E8), Frame(body(E3), 2, len(E1 + E7))]


def test_refusal_is_silent() -> None:
    session = PROTOCOL.new_session(transport="tcp", max_frame=None)
    session.receive_data(E1 + E3, NOW)
    assert session.refuse() == [Close("refused")]
    assert session.receive_data(E3, NOW) == []
    assert session.end_of_stream() == []


@pytest.mark.parametrize("first", [E3, E5, E6, E7, declaration.frame(0x8A, b"x")])
def test_anything_before_the_login_closes(first: bytes) -> None:
    told = Told().feed(first + E1 + E3)
    assert told.events == [Malformed("login", 0), Close("login")]


def test_same_terminal_may_log_in_again_another_may_not() -> None:
    told = Told().feed(E1 + E1 + E3)
    assert told.events == [LOGIN, Reply(ASK), Reply(ASK), Frame(body(E3), 2, 2 * len(E1))]
    other = declaration.identification(7, 312)
    told = Told().feed(E1 + E3 + other + E3)
    assert told.events == [
        LOGIN,
        Reply(ASK),
        Frame(body(E3), 2, len(E1)),
        Malformed("login", len(E1 + E3)),
        Close("login"),
    ]
    assert told.session.acknowledge(told.frames()[0]) == E4


@pytest.mark.parametrize("command", [0x81, 0x85, 0x87, 0x89, 0x92, 0x96, 0x9E, 0xA0, 0x00, 0xFF])
def test_unknown_commands_are_ignored(command: int) -> None:
    told = Told().feed(E1 + declaration.frame(command, b"abcd") + E3)
    assert told.events[2:] == [Frame(body(E3), 2, len(E1) + 9 + 1)]


def test_time_answer_and_delete_confirmation_are_information() -> None:
    answer = declaration.frame(0x94, bytes(4))
    assert Told().feed(E1 + answer + E5).events == [LOGIN, Reply(ASK)]


@pytest.mark.parametrize("command", [0x86, 0x95, 0x9F])
def test_container_without_messages_is_acknowledged(command: int) -> None:
    wire = declaration.container(5, 6, [], command=command)
    told = Told().feed(E1 + wire)
    (frame,) = told.frames()
    assert frame.records == 0
    assert len(decode([frame]).batch) == 0
    assert declaration.ServerFrames().feed(told.session.acknowledge(frame))[0][1] == 5


# --- damage ----------------------------------------------------------------------------------------------------------

BAD_CRC = E3[:-1] + b"\x62"
DAMAGES = {
    "checksum": (BAD_CRC, "checksum"),
    "swapped checksum": (E3[:-2] + E3[:-3:-1], "checksum"),
    "cut by the next marker": (E3[:50], "truncated"),
    "cut inside an escape": (E1[:6], "truncated"),
    "wrong escape": (E3[:40] + b"\xdb\x01" + E3[42:], "structure"),
    "wrong escape, then cut": (E3[:40] + b"\xdb\x01", "structure"),
    "wrong escape in the header": (b"\xc0\x86\xdb\x00\x00\x00", "structure"),
    "escape after escape": (E3[:40] + b"\xdb\xdb\xdd" + E3[42:], "structure"),
    "bytes outside a frame": (b"GET / HTTP/1.1\r\n\r\n", "structure"),
    "only a marker": (b"\xc0", "truncated"),
    "login of another size": (declaration.frame(0x80, bytes(7)), "length"),
    "time request with payload": (declaration.frame(0x93, b"x"), "length"),
    "confirmation of another size": (declaration.frame(0x88, bytes(5)), "length"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", DAMAGES)
def test_good_bad_good(name: str, step: int) -> None:
    bad, reason = DAMAGES[name]
    told = Told().feed(E1 + E3 + bad + E9 + E3, step)
    first, second, third = told.frames()
    at = len(E1 + E3)
    assert told.without_close() == [LOGIN, Reply(ASK), first, Malformed(reason, at), second, third]
    assert (first.data, second.data, third.data) == (body(E3), body(E9), body(E3))
    assert told.session.acknowledge(first) == E4
    assert told.session.acknowledge(second) == told.session.acknowledge(third) == b""
    assert sum(isinstance(e, Close) for e in told.events) == 1


def test_the_close_comes_after_the_good_frames_already_received() -> None:
    told = Told().feed(E1 + BAD_CRC + E3 + E3)
    assert [type(e) for e in told.events] == [Login, Reply, Malformed, Frame, Frame, Close]


def test_damage_before_the_login() -> None:
    told = Told().feed(b"noise" + E1 + E3)
    frame = Frame(body(E3), 2, 5 + len(E1))
    assert told.without_close() == [Malformed("structure", 0), LOGIN, Reply(ASK), frame]
    assert isinstance(told.events[-1], Close)
    assert told.session.acknowledge(frame) == b""


@pytest.mark.parametrize("step", [1, 4096])
def test_a_run_of_unreadable_bytes_counts_once(step: int) -> None:
    told = Told().feed(bytes(65536), step)
    assert told.without_close() == [Malformed("structure", 0)]
    assert len(told.session._splitter) == 0
    told.end()
    assert len(told.without_close()) == 1


def test_each_damaged_frame_counts_once() -> None:
    told = Told().feed(E1 + BAD_CRC + b"tail" + BAD_CRC + E3 + b"tail")
    assert [e.offset for e in told.events if isinstance(e, Malformed)] == [
        len(E1),
        len(E1 + BAD_CRC) + 4,
        len(E1 + BAD_CRC + BAD_CRC + E3) + 4,
    ]


@pytest.mark.parametrize("cut", range(1, len(E9)))
def test_end_of_stream_inside_a_frame(cut: int) -> None:
    told = Told().feed(E1 + E3 + E9[:cut]).end()
    assert told.events[3] == Malformed("truncated", len(E1 + E3))
    assert told.session.acknowledge(told.frames()[0]) == E4


def test_end_of_stream_while_the_login_is_judged() -> None:
    session = PROTOCOL.new_session(transport="tcp", max_frame=None)
    assert session.receive_data(E1 + E3[:9], NOW) == [LOGIN]
    assert session.end_of_stream() == []
    assert session.accept(NOW)[:2] == [Reply(ASK), Malformed("truncated", len(E1))]


def test_length_is_judged_on_the_header_alone() -> None:
    session = PROTOCOL.new_session(transport="tcp", max_frame=200)
    session.receive_data(E1, NOW)
    session.accept(NOW)
    assert session.receive_data(E3[:3], NOW) == []
    assert session.receive_data(E3[3:4], NOW)[0] == Malformed("length", len(E1))
    assert session.receive_data(E3[4:] + E9, NOW) == [Frame(body(E9), 1, len(E1 + E3))]


def test_largest_frame_passes_and_memory_stays_bounded() -> None:
    payload = b"\xc0" * MAX_PAYLOAD
    wire = declaration.frame(0x86, payload)
    session = PROTOCOL.new_session(transport="tcp", max_frame=None)
    session.receive_data(E1, NOW)
    session.accept(NOW)
    events: list[Event] = []
    for at in range(0, len(wire), 1460):
        events += session.receive_data(wire[at : at + 1460], NOW)
        assert len(session._splitter) <= 2 * (MAX_PAYLOAD + 5) + 1
    (frame,) = events
    assert isinstance(frame, Frame)
    assert frame.data[3:-2] == payload
    assert decode([frame]).quarantined != []


def test_one_that_floods_before_its_login_is_answered_is_closed() -> None:
    session = PROTOCOL.new_session(transport="tcp", max_frame=None)
    session.receive_data(E1, NOW)
    for _ in range(10):
        events = session.receive_data(b"\xc0" * 65536, NOW)
        if events:
            break
    assert events == [Malformed("length", 0), Close("length")]
    assert session.accept(NOW) == []


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_streams_yield_only_documented_events_whatever_the_cuts(data: st.DataObject) -> None:
    wire = bytearray(E3 + E9 + E7 + E3)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at] = data.draw(st.sampled_from([0, 0xC0, 0xDB, 0xDC, 0xFF, wire[at] ^ 1, wire[at] ^ 0x80]))
    whole = Told().feed(E1 + bytes(wire)).end()
    apart = Told().feed(E1 + bytes(wire), data.draw(st.integers(1, 9))).end()
    assert whole.without_close() == apart.without_close()
    for event in whole.events:
        assert not isinstance(event, Malformed) or event.reason in MALFORMED_REASONS
    damaged = min((e.offset for e in whole.events if isinstance(e, Malformed)), default=math.inf)
    for frame in whole.frames():
        assert checksum(frame.data) == 0
        assert bool(whole.session.acknowledge(frame)) == (frame.offset < damaged)
    decode(whole.frames())


# --- what cannot be decoded ------------------------------------------------------------------------------------------

GOOD = {"mID": [1], "general": {"Time": 1000, "FLG": 0}}
BROKEN = {
    "unterminated group": b"\x13\x08\x01",
    "wrong end": b"\x13\x08\x01\x2c",
    "end without start": b"\x14",
    "number beyond ten bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "number without end": b"\x08\xff",
    "no number": b"\x08",
    "string past the end": b"\x13\x1a\x09abc\x14",
    "fixed past the end": b"\x4b\x4b\x0d\x00\x00\x4c\x4c",
    "field number 0": b"\x00\x01",
    "wire type 6": b"\x0e\x01",
    "wire type 7": b"\x0f\x01",
    "five groups deep": b"\x13\x1b\x1b\x1b\x1b\x1c\x1c\x1c\x1c\x14",
    "packed number past its end": b"\x0a\x01\x80",
    "packed floats of odd size": bytes.fromhex("4b3b2203000000") + b"\x3c\x4c",
}


@pytest.mark.parametrize("fill", [1, 30])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_goes_to_quarantine_alone(name: str, fill: int) -> None:
    broken = BROKEN[name]
    decoded = decoded_of(*[GOOD] * fill, broken, *[GOOD] * fill)
    assert decoded.quarantined == [Quarantined(0, "structure", broken)]
    assert sorted(decoded.batch.position.tolist()) == [*range(fill), *range(fill + 1, 2 * fill + 1)]


def test_four_groups_deep_is_read() -> None:
    assert measures_of(b"\x08\x01\x13\x1b\x1b\x1b\x1c\x1c\x1c\x14") == {"event": 1}


@pytest.mark.parametrize("size", range(1, 9))
def test_container_shorter_than_its_header(size: int) -> None:
    told = Told().feed(E1 + declaration.frame(0x86, bytes(range(1, size + 1))) + E3)
    short, good = told.frames()
    decoded = decode([short, good])
    assert decoded.quarantined == [Quarantined(0, "structure")]
    assert len(decoded.batch) == 2
    expected = [(0x87, 0x04030201)] if size >= 4 else []
    assert declaration.ServerFrames().feed(told.session.acknowledge(short)) == expected
    assert told.session.acknowledge(good) == E4


@pytest.mark.parametrize("rest", [b"\x05", b"\x09\x00abc", b"\xff\xff", b"\x00\x00", b"\x00\x00\x02\x00\x08\x01"])
def test_length_past_the_end_keeps_what_stood_before_it(rest: bytes) -> None:
    good = declaration.message(GOOD)
    payload = struct.pack("<IIBH", 1, 2, 0, len(good)) + good + rest
    told = Told().feed(E1 + declaration.frame(0x86, payload))
    decoded = decode(told.frames())
    assert decoded.quarantined == [Quarantined(0, "structure", rest)]
    assert [r["time"] for r in records(decoded)] == [1000 + EPOCH]


# --- core columns ----------------------------------------------------------------------------------------------------

NAV = {"LAT": 546034435, "LON": 558210224, "GPSVel": 615, "GPSDir": 247, "GPSNSat": 13, "GPSAlt": 1437}


@pytest.mark.parametrize(
    ("general", "nav", "valid"),
    [
        ({"FLG": 4}, NAV, True),
        ({"FLG": 3}, NAV, False),
        ({}, NAV, False),
        (None, NAV, False),
        ({"FLG": 4}, None, False),
        *(({"FLG": 4}, {k: v for k, v in NAV.items() if k != missing}, False) for missing in NAV),
        ({"FLG": 4}, NAV | {"LAT": 900_000_001}, False),
        ({"FLG": 4}, NAV | {"LON": -1_800_000_001}, False),
        ({"FLG": 4}, NAV | {"LAT": -900_000_000, "LON": 1_800_000_000}, True),
    ],
)
def test_position_only_with_a_valid_fix(general: Any, nav: Any, valid: bool) -> None:
    content = {name: part for name, part in (("general", general), ("nav", nav)) if part is not None}
    (record,) = records(decoded_of({"mID": [1]} | content))
    assert bool(record["flags"] & VALID) == valid
    assert (record["lat"], record["lon"]) == ((nav["LAT"] / 1e7, nav["LON"] / 1e7) if valid else (None, None))
    told = nav or {}
    assert record["speed"] == (61.5 if "GPSVel" in told else None)
    assert record["altitude"] == (143.7 if "GPSAlt" in told else None)
    assert record["course"] == (247 if "GPSDir" in told else None)
    assert record["satellites"] == told.get("GPSNSat", -1)


def test_no_fix_of_zeros_is_no_position() -> None:
    (record,) = records(decoded_of({"general": {"FLG": 3}, "nav": dict.fromkeys(NAV, 0)}))
    assert (record["lat"], record["lon"], record["satellites"]) == (None, None, 0)


@pytest.mark.parametrize(("command", "archive"), [(0x86, True), (0x9F, True), (0x95, False)])
def test_archive_is_the_wires_own_mark(command: int, archive: bool) -> None:
    assert bool(decoded_of(GOOD, command=command).batch.flags[0] & ARCHIVE) == archive


@pytest.mark.parametrize(
    ("events", "event", "listed"), [([], None, None), ([1], False, None), ([5], True, None), ([1, 8], True, "1,8")]
)
@pytest.mark.parametrize("count", [1, 40])
def test_events(events: list[int], event: bool | None, listed: str | None, count: int) -> None:
    decoded = decoded_of(*[{"mID": events, "general": {"Time": 5}}] * count)
    for record in records(decoded):
        assert bool(record["flags"] & EVENT) == bool(event)
        assert record["measures"].get("events") == listed
        assert record["measures"].get("event") == (events[0] if events else None)


def test_ignition_is_unknown_without_flags() -> None:
    flags = [r["flags"] & (IGNITION_KNOWN | IGNITION_ON) for r in records(
        decoded_of({"mID": [1]}, {"general": {"FLG": 2}}, {"general": {"FLG": 1}})
    )]  # fmt: skip
    assert flags == [0, IGNITION_KNOWN, IGNITION_KNOWN | IGNITION_ON]


def test_time_of_the_header_where_the_message_has_none() -> None:
    assert [r["time"] - EPOCH for r in records(decoded_of({"mID": [1]}, GOOD, time=77))] == [77, 1000]


@pytest.mark.parametrize("time", [0, 1, 2**32 - 1])
def test_absurd_times_are_kept(time: int) -> None:
    (record,) = records(decoded_of({"general": {"Time": time}}))
    assert record["time"] == time + EPOCH


# --- measures --------------------------------------------------------------------------------------------------------

SCALES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("voltage in tenths", {"general": {"Uboard": 126}}, {"power.external": 12.6}),
    ("unit", {"general": {"IDFAS": 2**32 - 1}}, {"unit.id": 2**32 - 1}),
    ("driver", {"general": {"IDDrv": bytes.fromhex("01A0B0C0D0E0F0FF")}}, {"driver.key": "01a0b0c0d0e0f0ff"}),
    ("phone", {"general": {"Phone": b"\x07\x91"}}, {"phone": "0791"}),
    ("card", {"general": {"TachoCardID": b"RUS1"}}, {"driver.card": "52555331"}),
    (
        "newer firmware",
        {"general": {"AccelStatus": 2, "HoursKoef": 3605, "WifiSignalQuality": 3}},
        {"acceleration.status": 2, "engine.time": 3605, "wifi.signal": 60},
    ),
    ("signal in steps", {"general": {"GsmSignalQuality": 4}}, {"gsm.signal": 80}),
    ("signal in percent", {"general": {"GsmSignalQuality": 100}}, {"gsm.signal": 100}),
    ("no signal value", {"general": {"GsmSignalQuality": 255}}, {}),
    ("fix of another time", {"general": {"Time": 50}, "nav": {"GPSTime": 49}}, {"gnss.time": EPOCH + 49}),
    ("fix of the record's time", {"general": {"Time": 50}, "nav": {"GPSTime": 50}}, {}),
    (
        "photo",
        {"photo": {"POSBLK": 2, "SZPHOTO": 9000, "SIZEBLK": 3, "IMGDAT": b"\xff\xd8\x00", "IDPH": 5, "IMGSTAT": 1}},
        {
            "photo.position": 2,
            "photo.size": 9000,
            "photo.block.size": 3,
            "photo.data": "ffd800",
            "photo.id": 5,
            "photo.status": 1,
        },
    ),
    ("inputs", {"unidt": {"UniVal0": -5, "UniVal5": 2**31 - 1}}, {"universal.1": -5, "universal.6": 2**31 - 1}),
    ("1-Wire", {"other": {"onewire": {"OneWire1": -40, "OneWire8": 125}}},
     {"temperature.1": -40, "temperature.8": 125}),
    ("1-Wire without sensor", {"other": {"onewire": {"OneWire2": -128}}}, {}),
    (
        "peripherals",
        {"other": {"pherip": {"PassengerIn": 3, "PassengerOut": 2, "DoorMask": 5, "DriverStatus": 1, "TPMS": b"\1\2",
                              "iQFreeze": b"\3"}}},
        {"passengers.in": 3, "passengers.out": 2, "passengers.doors": 5, "driver.status": 1, "tpms": "0102",
         "refrigerator": "03"},
    ),
    (
        "further CAN",
        {"other": {"excan": {"SPNid": [100, 7], "SPNval": [5, 2**32 - 1], "Adr64TEREX": 2**64 - 1, "Adr69TEREX": 3,
                             "Adr11TEREX": [1, 2**60]}}},
        {"can.spn.100": 5, "can.spn.7": 2**32 - 1, "can.terex.64": 2**64 - 1, "can.terex.69": 3, "can.terex.11.1": 1,
         "can.terex.11.2": 2**60},
    ),
    (
        "further CAN that does not pair",
        {"other": {"excan": {"SPNid": [1, 2], "SPNval": [5]}}},
        {"can.spn.ids": "1,2", "can.spn.values": "5"},
    ),
    (
        "tachograph",
        {"other": {"tahoddd": {"BLKPOS": 1024, "FILEDATA": b"\0\1", "CARDID": b"\xaa", "STATUSDATA": 1}}},
        {"tachograph.position": 1024, "tachograph.data": "0001", "tachograph.card": "aa", "tachograph.status": 1},
    ),
    (
        "counters",
        {"other": {"apc": {"Status1": 3, "Status4": 1, "In1": 5, "Out1": 6, "In4": 11, "Out4": 12}}},
        {"passengers.status.1": 3, "passengers.status.4": 1, "passengers.in.1": 5, "passengers.out.1": 6,
         "passengers.in.4": 11, "passengers.out.4": 12},
    ),
    (
        "driver assistance",
        {"other": {"mobileeye": {"Status": 9, "CAN700": [b"\1", b"\2\3"], "CAN727": [b"\4"], "CAN760": [b"\5"]}}},
        {"mobileye.status": 9, "mobileye.700": "01,0203", "mobileye.727": "04", "mobileye.760": "05"},
    ),
    (
        "driving",
        {"other": {"safedriving": {"EventMask": 3, "SpeedThreshold": 90, "RPMThreshold": 3000,
                                   "AccelThresholds": [0.3, 12.6]}}},
        {"driving.events": 3, "driving.threshold.speed": 90, "driving.threshold.rpm": 3000,
         "driving.threshold.acceleration.1": 0.3, "driving.threshold.acceleration.2": 12.6},
    ),
    (
        "gauge",
        {"other": {"fuelsensormodbus": {"Level": 12.6, "Median": math.nan, "Percent": 40, "Volume": math.inf,
                                        "FuelTemp": -5, "Density": 0.84, "VaporTemp": -6, "PointTemp": [-1, 2]}}},
        {"gauge.level": 12.6, "gauge.percent": 40, "gauge.temperature": -5, "gauge.density": 0.84,
         "gauge.vapour.temperature": -6, "gauge.point.temperature.1": -1, "gauge.point.temperature.2": 2},
    ),
    (
        "weights",
        {"other": {"weightcontrol": {"AxleWeight": [1.5, 2.25], "AxleLimit": [8.1], "TotalWeight": 3.75,
                                     "TotalLimit": -math.inf}}},
        {"axle.weight.1": 1.5, "axle.weight.2": 2.25, "axle.limit.1": 8.1, "weight.total": 3.75},
    ),
    (
        "display",
        {"icondt": {"Status": "Погрузка".encode() + bytes(4), "StatusID": 2, "GroupID": 1, "MsgID": 2**63 + 1,
                    "MsgStatus": 4, "StatDate": 10, "StatusPrev": b"\xff\xfe", "Active": 1}},
        {"display.status": "Погрузка", "display.status.id": 2, "display.group": 1, "display.message": 2**63 + 1,
         "display.message.status": 4, "display.message.time": EPOCH + 10, "display.status.previous": "fffe",
         "display.active": 1},
    ),
    (
        "OBD",
        {"obddt": {"Speed": 0xFF50, "Distance": 0x3412, "Minutes": 0x0201, "Voltage": 0x1736, "RPM": 0xF81A,
                   "FuelLevel": 51, "FuelRate": 0x6400, "OilTemp": 130, "CoolantTemp": 0, "Monitor": 0x81,
                   "VIN": b"XTA210990Y2765499\0", "Samples": 4}},
        {"obd.speed": 0x50, "obd.distance": 0x1234, "obd.engine.minutes": 0x0102, "obd.voltage": 13.847,
         "obd.engine.rpm": 1726, "obd.fuel.level": 20, "obd.fuel.rate": 5, "obd.oil.temperature": 90,
         "obd.coolant.temperature": -40, "obd.monitor": 0x81, "vin": "XTA210990Y2765499", "obd.samples": 4},
    ),
    ("no VIN", {"obddt": {"VIN": b"\0\0"}}, {}),
    (
        "log",
        {"log": {"Debug": [b"Ver308\r\n", b"a\0b"], "LLSRefNum": 3, "LLSRefLevelBef": [1, 2], "LLSRefLevelAfter": [3],
                 "LLSRefKoef": [4], "LLSRefSens": [5], "LLSRefTemp": [6]}},
        {"log": "Ver308\r\n\n610062", "fuel.reference.sensors": 3, "fuel.reference.before.1": 1,
         "fuel.reference.before.2": 2, "fuel.reference.after.1": 3, "fuel.reference.coefficient.1": 4,
         "fuel.reference.sensitivity.1": 5, "fuel.reference.temperature.1": 6},
    ),
    ("coefficients", {"llsdt": {"LLSRefKoef": [100] * 8}}, {f"fuel.coefficient.{n}": 100 for n in range(1, 9)}),
    ("too many for columns", {"llsdt": {"LLSRefKoef": [1] * 65}}, {"fuel.coefficient": ",".join("1" * 65)}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "measures"), [s[1:] for s in SCALES], ids=[s[0] for s in SCALES])
def test_measures(message: dict[str, Any], measures: dict[str, Any]) -> None:
    assert measures_of(message) == measures


def test_generator_block_is_kept_as_bytes() -> None:
    block = bytes.fromhex("08051dcdcccc41")
    assert measures_of(b"\x4b\x43" + block + b"\x44\x4c") == {"generator.data": block.hex()}


# SPN, raw, measure, value; then the raw values that mean "error" or "not available"
CAN = [
    (70, 1, "can.parking_brake", 1, [2, 3]),
    (91, 36, "can.accelerator", 14.4, [254, 255]),
    (96, 250, "can.fuel.level", 100, [251, 252, 254, 255]),
    (100, 100, "can.oil.pressure", 400, [254, 255]),
    (110, 0, "can.coolant.temperature", -40, [254, 255]),
    (174, 65, "can.fuel.temperature", 25, [254, 255]),
    (175, 11936, "can.oil.temperature", 100, [65024, 65535]),
    (182, 3, "can.trip.fuel", 1.5, [0xFE000000, 0xFFFFFFFF]),
    (184, 1024, "can.fuel.economy", 2, [65024, 65280]),
    (190, 6001, "can.engine.rpm", 750.125, [65024, 65535]),
    (244, 1, "can.trip.distance", 0.125, [0xFE000000]),
    (245, 0xFDFFFFFF, "can.distance", 532676607.875, [0xFE000000, 0xFF000000]),
    (247, 3, "can.engine.hours", 0.15, [0xFE000000]),
    (250, 7, "can.fuel.used", 3.5, [0xFE000000]),
    (521, 1, "can.brake", 0.4, [254, 255]),
    (522, 250, "can.clutch", 100, [254, 255]),
    (527, 6, "can.cruise.state", 6, [7]),
    (597, 0, "can.brake.switch", 0, [2, 3]),
    (598, 1, "can.clutch.switch", 1, [2, 3]),
    (914, 32000, "can.service.distance", -635, [65024, 65535]),
    (916, 32127, "can.service.hours", 0, [65024, 65535]),
    (1624, 384, "can.speed", 1.5, [65024, 65535]),
    (1821, 2, "can.doors", 2, [14, 15]),
    (1856, 1, "can.seat_belt", 1, [2, 3]),
]


@pytest.mark.parametrize(("spn", "raw", "measure", "value", "absent"), CAN)
def test_can(spn: int, raw: int, measure: str, value: float, absent: list[int]) -> None:
    assert measures_of({"candt": {f"SPN{spn}": raw}}) == {measure: value}
    for code in absent:
        assert measures_of({"candt": {f"SPN{spn}": code}}) == {}


def test_axles_pair_by_place() -> None:
    assert measures_of({"candt": {"SPN582": [9001, 65535, 4], "SPN928": [0, 1, 255]}}) == {
        "can.axle.weight.1": 4500.5,
        "can.axle.weight.3": 2,
        "can.axle.location.1": 0,
        "can.axle.location.2": 1,
    }


@pytest.mark.parametrize("sensor", range(1, 9))
@pytest.mark.parametrize(
    ("status", "level", "good", "assumed"),
    [
        (2, 0, True, False),
        (2, 2110, True, False),
        (1, 2110, False, False),
        (3, 2110, False, False),
        (0, 2110, True, True),
        (0, 0, False, False),
        (-1, 4095, True, True),
        (7, 4096, False, False),
        (None, 4095, True, True),
        (None, 0, False, False),
    ],
)
def test_fuel_level_stands_only_where_its_status_allows(
    sensor: int, status: int | None, level: int, good: bool, assumed: bool
) -> None:
    part = {f"TLLS{sensor}": -7, f"CLLS{sensor}": level} | ({} if status is None else {f"FLLS{sensor}": status})
    expected = {f"fuel.temperature.{sensor}": -7}
    if status is not None:
        expected[f"fuel.status.{sensor}"] = status
    if good:
        expected[f"fuel.level.{sensor}"] = level
    if assumed:
        expected[f"fuel.assumed.{sensor}"] = 1
    assert measures_of({"llsdt": part}) == expected


@pytest.mark.parametrize("bit", range(12))
def test_status_bits(bit: int) -> None:
    got = measures_of({"general": {"FLG": 1 << bit}})
    names = FLAG_BITS | (NEW_FLAG_BITS if bit >= 8 else {})
    assert got == {"flags": 1 << bit} | {name: int(place == bit) for name, place in names.items()}


def test_rows_with_rare_measures_stand_apart_and_none_is_lost() -> None:
    messages = [
        {"general": {"Time": n, "FLG": 1 << (n % 12)}, "llsdt": {"CLLS1": 5, "FLLS1": n % 4}} for n in range(48)
    ]
    got = records(decoded_of(*messages))
    assert [r["measures"] for r in got] == [measures_of(m) for m in messages]


def test_unknown_fields_and_wire_types_are_skipped() -> None:
    unknown = bytes.fromhex("980601 a20602ffff ad0601020304 a1060102030405060708 ab06 0801 ac06 1805 2d00000000")
    assert measures_of(b"\x08\x01" + unknown.replace(b" ", b"")) == {"event": 1}


def test_every_measure_is_in_the_dictionary() -> None:
    def names(group: Group) -> set[str]:
        found = set()
        for entry in group.fields.values():
            if isinstance(entry, Group):
                found |= names(entry)
            elif entry.measure:
                repeated = isinstance(entry, Odd) and entry.kind in ("numbers", "floats")
                found.add(entry.measure + ".1" if repeated else entry.measure)
        return found

    produced = names(MESSAGE) | set(FLAG_BITS) | set(NEW_FLAG_BITS) | {"fuel.level.1", "fuel.assumed.1"}
    produced |= {"gsm.signal", "wifi.signal", "gnss.time", "events", "flags"}
    known = set(MEASURES)
    for name in produced:
        pattern = ".".join("N" if part.isdigit() else part for part in name.split("."))
        last = ".".join([*name.split(".")[:-1], "N"])
        assert known & {name, pattern, last}, name
    assert all(len(entry) == 2 and entry[1] for entry in MEASURES.values())


# --- the decoder against the declaration -----------------------------------------------------------------------------


def _paths(group: Group, path: tuple[int, ...] = ()) -> dict[Scaled | Odd, tuple[int, ...]]:
    found: dict[Scaled | Odd, tuple[int, ...]] = {}
    for place, entry in group.fields.items():
        if isinstance(entry, Group):
            found |= _paths(entry, (*path, place))
        else:
            found[entry] = (*path, place)
    return found


PATHS = _paths(MESSAGE)


def by_decoder(data: bytes) -> dict[tuple[int, ...], Any] | None:
    """All fields of a message as the parser reads them; None if it is broken."""
    try:
        parsed = parser.parse(data)
    except parser.BrokenError:
        return None
    found: dict[tuple[int, ...], Any] = {}
    for scaled, value in parsed.scaled.items():
        found[PATHS[scaled]] = (value >> 1) ^ -(value & 1) if scaled.signed else value
    for odd, values in parsed.odd.items():
        if odd.signed:
            values = [(int(v) >> 1) ^ -(int(v) & 1) for v in values]
        if odd.kind == "group":
            found[PATHS[odd]] = b"".join(bytes(v) for v in values)
        elif odd.kind in ("hex", "text", "number", "float"):
            found[PATHS[odd]] = values[-1]
        elif values:
            found[PATHS[odd]] = list(values)
    return found


def by_declaration(data: bytes) -> dict[tuple[int, ...], Any] | None:
    message = declaration.read_message(data)
    return None if message is None or _depth(UnknownFieldSet(message)) > 4 or _deep(message) else _flat(message)


def _deep(message: Message, above: int = 0) -> bool:
    if above + _depth(UnknownFieldSet(message)) > parser.MAX_DEPTH:
        return True
    return any(
        _deep(value, above + 1) for descriptor, value in message.ListFields() if descriptor.message_type is not None
    )


def _depth(unknown: Any) -> int:
    return max((1 + _depth(f.data) for f in unknown if f.wire_type == 3), default=0)


def _flat(message: Message, path: tuple[int, ...] = ()) -> dict[tuple[int, ...], Any]:
    found: dict[tuple[int, ...], Any] = {}
    for descriptor, value in message.ListFields():
        here = (*path, descriptor.number)
        if descriptor.message_type is not None:
            if descriptor.name == "gencomm":
                found[here] = value.SerializeToString()
            else:
                found |= _flat(value, here)
        elif descriptor.cpp_type == descriptor.CPPTYPE_FLOAT:
            found[here] = [struct.pack("<f", v) for v in value] if descriptor.is_repeated else struct.pack("<f", value)
        elif descriptor.is_repeated:
            found[here] = list(value)
        else:
            found[here] = value
    return found


def random_message(chance: random.Random, descriptor: Any = RecReg.DESCRIPTOR, share: float | None = None) -> Any:
    """A message with a random share of all fields, extremes included."""
    share = chance.choice([0.05, 0.3, 0.9]) if share is None else share
    content: dict[str, Any] = {}
    for item in descriptor.fields:
        if chance.random() > share:
            continue
        if item.message_type is not None:
            content[item.name] = random_message(chance, item.message_type, share)
        elif item.is_repeated:
            content[item.name] = [_random_value(chance, item) for _ in range(chance.randrange(1, 5))]
        else:
            content[item.name] = _random_value(chance, item)
    return content


def _random_value(chance: random.Random, item: Any) -> Any:
    if item.cpp_type == item.CPPTYPE_STRING:
        return chance.randbytes(chance.randrange(20))
    if item.cpp_type == item.CPPTYPE_FLOAT:
        return chance.choice([0.0, 12.6, -1.5, 3.4e38])
    bits = 64 if item.cpp_type == item.CPPTYPE_UINT64 else 32
    value = chance.choice([0, 1, chance.getrandbits(7), chance.getrandbits(16), chance.getrandbits(bits), 2**bits - 1])
    return value - 2 ** (bits - 1) if item.cpp_type == item.CPPTYPE_INT32 else value


seeds = st.integers(0, 2**32)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_random_messages_read_as_the_declaration_reads_them(seed: int) -> None:
    chance = random.Random(seed)
    data = declaration.message(random_message(chance))
    assert by_decoder(data) == by_declaration(data)
    merged = data + declaration.message(random_message(chance))  # two of a group merge, the last value wins
    assert by_decoder(merged) == by_declaration(merged)


@settings(max_examples=400, deadline=None)
@given(seeds)
def test_mutated_messages_read_as_the_declaration_reads_them(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(declaration.message(random_message(chance, share=0.1)) or b"\x08\x01")
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.choice([0, 0x0B, 0x0C, 0x13, 0x14, 0x7F, 0x80, 0xFF])
            case 2:
                del data[at : at + chance.randrange(1, 4)]
                data = data or bytearray(b"\x08")
            case _:
                data[at:at] = chance.choice([b"\x13", b"\x14", b"\x80", b"\xff" * 11, b"\x4b\x43"])
    assert by_decoder(bytes(data)) == by_declaration(bytes(data))


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_columns_learned_structures_agree_with_messages_read_one_by_one(seed: int) -> None:
    """Batches of a few kinds of messages, many of each, values and some bytes changed."""
    chance = random.Random(seed)
    kinds = [random_message(chance, share=chance.choice([0.1, 0.5])) for _ in range(3)]
    for kind in kinds[:2]:
        kind["mID"] = [chance.randrange(20) for _ in range(chance.randrange(3))]
    for kind in kinds:
        if "general" in kind and chance.random() < 0.7:
            kind["general"]["IDDrv"] = bytes(8)
    messages = []
    for _ in range(60):
        data = bytearray(declaration.message(_vary(chance, chance.choice(kinds))) or b"\x08\x01")
        if chance.random() < 0.2:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        messages.append(bytes(data))
    frames = [
        Frame(body(declaration.container(i, 1000 + i, messages[i : i + 20], command=chance.choice([0x86, 0x95]))))
        for i in range(0, 60, 20)
    ]
    together = decode(frames)
    alone: list[dict[str, Any]] = []
    quarantined: list[bytes | None] = []
    for i, data in enumerate(messages):
        (kind,) = (f.data[0] for f in frames[i // 20 : i // 20 + 1])
        single = decode([Frame(body(declaration.container(1, 1000 + i // 20 * 20, [data], command=kind)))])
        alone += records(single)
        quarantined += [q.data for q in single.quarantined]
    assert records(together) == alone
    assert sorted(q.data or b"" for q in together.quarantined) == sorted(q or b"" for q in quarantined)
    assert sorted(together.batch.fingerprint.tolist()) == sorted(
        fingerprint(m) for m in messages if m not in quarantined
    )


def test_drivers_keys_in_every_record() -> None:
    keys = [bytes([n, 0x80 | n, 0x1A, 0x08, 0xFF, n, 0, n]) for n in range(40)]
    messages = [{"mID": [1], "general": {"Time": 1000 + n, "IDDrv": key, "FLG": 1}} for n, key in enumerate(keys)]
    got = records(decoded_of(*messages))
    assert [r["measures"]["driver.key"] for r in got] == [key.hex() for key in keys]
    assert [r["measures"] for r in got] == [measures_of(m) for m in messages]


@pytest.mark.parametrize(
    "like",
    [
        bytes.fromhex("081a0801") + bytes.fromhex("0802") * 6,  # event 26, then event 1
        bytes.fromhex("131a08010203040506070814"),  # a true key …
        bytes.fromhex("131a080102030405060708" + "1a081112131415161718" + "14"),  # … twice: the last one wins
        bytes.fromhex("231a0801020304050607081424"),  # the same bytes under a picture: not a size
        bytes.fromhex("13" + "3d00001a08" + "1a080102030405060708" + "14"),  # behind an unknown number that looks alike
    ],
)
def test_what_looks_like_a_drivers_key(like: bytes) -> None:
    decoded = decoded_of(*[like] * 30)
    alone = decoded_of(like)
    assert records(decoded) == records(alone) * 30
    assert len(decoded.quarantined) == 30 * len(alone.quarantined)


def test_packed_events_that_look_like_a_drivers_key_keep_their_numbers() -> None:
    plain, alike = [*range(1, 13)], [26, 8, *range(1, 11)]
    got = records(decoded_of(*[{"mID": plain}] * 20, *[{"mID": alike}] * 20))
    assert [r["measures"]["events"] for r in got] == [",".join(map(str, e)) for e in [plain] * 20 + [alike] * 20]


def test_packed_events_of_another_width_do_not_pass_for_those_learned() -> None:
    learned, wider = bytes.fromhex("0a0201020805"), bytes.fromhex("0a0281010a0805")  # as many numbers, other ends
    decoded = decoded_of(*[learned] * 20, wider)
    assert decoded.quarantined == [Quarantined(0, "structure", wider)]
    assert [r["measures"] for r in records(decoded)] == [{"event": 1, "events": "1,2,5"}] * 20


def _vary(chance: random.Random, content: dict[str, Any]) -> dict[str, Any]:
    """The same fields with other values."""
    varied: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            varied[name] = _vary(chance, value)
        elif isinstance(value, int) and chance.random() < 0.5:
            varied[name] = chance.randrange(abs(value) + 1) if value >= 0 else -chance.randrange(-value + 1)
        elif name == "IDDrv":
            varied[name] = chance.choice([chance.randbytes(8), b"\x1a\x08\x80\xff\x14\x1a\x08\xc0", value])
        else:
            varied[name] = value
    return varied


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from([0x86, 0x95, 0x9F]))
def test_any_bytes_behind_a_good_checksum_end_as_records_or_in_quarantine(parts: list[bytes], command: int) -> None:
    raw = struct.pack("<IIB", 1, 2, 0) + b"".join(len(p).to_bytes(2, "little") + p for p in parts)
    frame = Frame(body(declaration.frame(command, raw)))
    decoded = decode([frame, Frame(body(declaration.frame(command, b"".join(parts) or b"x")))])
    lost = [q for q in decoded.quarantined if q.frame == 0]
    rows = int(np.count_nonzero(decoded.batch.frame == 0))
    if b"" in parts:
        assert lost[-1].reason == "structure"
    else:
        assert rows + len(lost) == len(parts)
    assert all(q.reason == "structure" for q in decoded.quarantined)
    PROTOCOL.tree(frame)


def test_nothing_decodes_to_nothing() -> None:
    assert len(decode([]).batch) == 0
    assert stuff(b"") == b"\xc0"
