"""Teltonika: vectors, sessions over TCP and UDP, damage. The decoder's differential tests stand beside."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.records import Close, Event, Frame, Identified, Login, Malformed, Message, Reply
from protocols.registry import protocol
from protocols.teltonika import declaration as d
from protocols.teltonika.decoder import decode
from protocols.teltonika.session import MAX_FRAME, TeltonikaDatagram, TeltonikaSession
from tests.protocols.examples import examples
from tests.protocols.helpers import CUTS, feed, of_kind, rows
from tests.protocols.teltonika_vectors import (
    AVL,
    CODEC_8,
    CODEC_8E,
    CODEC_13,
    CODEC_14_COMMAND,
    CODEC_14_REFUSAL,
    CODEC_15,
    CODEC_16,
    GETVER,
    GETVER_REPLY,
    GETVER_TEXT,
    IMEI,
    LOGIN,
    UDP_8E,
    AvlVector,
)

WELCOME = [Login(IMEI), Reply(b"\x01")]


def logged_in(**limits: int) -> TeltonikaSession:
    session = TeltonikaSession(**limits)
    assert feed(session, LOGIN, close=False) == WELCOME
    return session


def spoilt(wire: bytes) -> bytes:
    """The frame with one bit of its last IO value turned."""
    return wire[:-8] + bytes([wire[-8] ^ 1]) + wire[-7:]


@pytest.mark.parametrize("step", CUTS)
@pytest.mark.parametrize("v", AVL, ids=lambda v: v.name)
def test_a_data_frame_reads_value_by_value(v: AvlVector, step: int) -> None:
    session = TeltonikaSession()
    events = feed(session, LOGIN + v.wire, step)
    frame = Frame(v.wire, len(v.records), len(LOGIN))
    assert events == [*WELCOME, frame]
    decoded = decode([frame])
    assert rows(decoded.batch) == v.records
    assert decoded.quarantined == []
    assert decoded.batch.time_digits == 3
    assert session.acknowledge(frame) == v.ack


@pytest.mark.parametrize("v", AVL, ids=lambda v: v.name)
def test_the_declaration_builds_what_it_reads(v: AvlVector) -> None:
    payload = v.wire[8:-4]
    parsed = d.parse_avl(payload)
    assert d.AVL.build(parsed) == payload
    assert d.tcp_frame(payload) == v.wire
    assert protocol("teltonika").tree(Frame(v.wire, 1)).count == len(v.records)


def test_the_declaration_builds_login_command_and_datagram() -> None:
    assert d.login(IMEI) == LOGIN
    assert d.command("getver") == GETVER
    assert d.command(GETVER_TEXT, kind=d.RESPONSE) == GETVER_REPLY
    assert d.udp_datagram(UDP_8E.wire[23:], IMEI, packet_id=0xCAFE, avl_id=0x2A) == UDP_8E.wire


@pytest.mark.parametrize("step", CUTS)
def test_an_answer_to_getver_identifies_the_terminal(step: int) -> None:
    session = logged_in()
    assert session.ask_version() == GETVER
    message, identified = feed(session, GETVER_REPLY, step)
    assert message == Message(GETVER_TEXT.encode(), GETVER_TEXT, "codec 12", len(LOGIN))
    assert identified == Identified("03.29.00_05", "FMC130")
    assert session.acknowledge(message) == b""


@pytest.mark.parametrize("step", CUTS)
def test_a_command_is_codec_12_and_its_response_the_answer(step: int) -> None:
    session = TeltonikaSession()
    assert session.encode_command("getver") == b"", "nobody is there yet"
    session.receive_data(LOGIN, 0)
    assert session.encode_command("getver") == b"", "not accepted yet"
    session.accept(0)
    assert session.encode_command("getver") == GETVER
    assert d.TEXT.parse(session.encode_command("setdigout 1? ?")[8:-4]).body == b"setdigout 1? ?"
    other = d.tcp_frame(d.TEXT.build({"codec": d.CODEC_12, "type": 0x0D, "body": b"camera"}))
    told = feed(session, GETVER_REPLY + other + CODEC_13 + d.command("", kind=d.RESPONSE), step)
    assert [event.answer for event in told if isinstance(event, Message)] == [True, None, None, True]
    assert session.encode_command("getver") != b""
    session.receive_data(b"\xff" * 3 + b"\x01" * 8, 0)  # damage: it is to be closed
    assert session.encode_command("getver") == b""
    assert TeltonikaDatagram().encode_command("getver") == b""


@pytest.mark.parametrize("step", CUTS)
def test_codec_13_carries_the_line_s_own_bytes(step: int) -> None:
    assert feed(logged_in(), CODEC_13, step) == [
        Message(b"LVL=1893;T=-7\r\n", "LVL=1893;T=-7\r\n", "codec 13", len(LOGIN))
    ]


def test_binary_in_a_text_codec_is_kept_without_text() -> None:
    body = b"\x01\x03\x00\x01\xd5\xc5"  # a serial device's answer
    wire = d.tcp_frame(d.TEXT.build({"codec": d.CODEC_12, "type": d.RESPONSE, "body": body}))
    assert feed(logged_in(), wire) == [Message(body, None, "codec 12", len(LOGIN))]


@pytest.mark.parametrize("wire", [CODEC_14_COMMAND, CODEC_14_REFUSAL, CODEC_15], ids=["14 command", "14 refusal", "15"])
@pytest.mark.parametrize("step", CUTS)
def test_codecs_14_and_15_are_unsupported_and_the_connection_goes_on(wire: bytes, step: int) -> None:
    session = logged_in()
    damage, frame = feed(session, wire + CODEC_8.wire, step)
    assert damage == Malformed("unsupported", len(LOGIN))
    assert frame == Frame(CODEC_8.wire, 1, len(LOGIN) + len(wire))
    assert session.acknowledge(frame) == CODEC_8.ack


@pytest.mark.parametrize(
    "payload",
    [
        b"\x0c\x01\x06",  # ends before its size
        b"\x0c\x01\x06\x00\x00\x00\x09short\x01",  # size beyond the frame
        b"\x0c\x01\x06\x00\x00\x00\x05short\x02",  # counts differ
        b"\x0d\x01\x06\x00\x00\x00\x02ab\x01",  # no room for the time
        b"\x0c\x01\x06\xff\xff\xff\xffshort\x01",
    ],
)
def test_a_text_frame_whose_sizes_disagree_is_damage_and_the_stream_goes_on(payload: bytes) -> None:
    session = logged_in()
    damage, frame = feed(session, d.tcp_frame(payload) + CODEC_8.wire)
    assert damage == Malformed("structure", len(LOGIN))
    assert session.acknowledge(frame) == CODEC_8.ack


# --- damage -----------------------------------------------------------------------------------------------------


def test_behind_a_wrong_checksum_frames_are_kept_and_not_acknowledged() -> None:
    session = logged_in()
    wire = CODEC_8.wire + spoilt(CODEC_8E.wire) + CODEC_16.wire
    first, damage, second, end = session.receive_data(wire, 0.0)
    at = len(LOGIN)
    assert first == Frame(CODEC_8.wire, 1, at)
    assert damage == Malformed("checksum", at + len(CODEC_8.wire))
    assert second == Frame(CODEC_16.wire, 1, at + len(CODEC_8.wire) + len(CODEC_8E.wire))
    assert isinstance(end, Close)
    assert session.acknowledge(first) == CODEC_8.ack
    assert session.acknowledge(second) == b""
    assert session.receive_data(CODEC_8.wire, 0.0) == ()  # nothing more is read
    assert session.end_of_stream() == ()
    assert session.ask_version() == b""
    assert [r["measures"] for r in rows(decode([first, second]).batch)] == [
        CODEC_8.records[0]["measures"],
        CODEC_16.records[0]["measures"],
    ]


@pytest.mark.parametrize("step", [1, 3])
def test_a_wrong_checksum_closes_however_the_stream_was_cut(step: int) -> None:
    session = logged_in()
    events = feed(session, CODEC_8.wire + spoilt(CODEC_8E.wire) + CODEC_16.wire, step)
    assert events[:2] == [Frame(CODEC_8.wire, 1, len(LOGIN)), Malformed("checksum", len(LOGIN) + len(CODEC_8.wire))]
    assert isinstance(events[2], Close)
    assert session.acknowledge(events[0]) == CODEC_8.ack


def test_the_upper_half_of_the_checksum_must_be_zero() -> None:
    wire = CODEC_8.wire[:-4] + b"\x00\x01" + CODEC_8.wire[-2:]
    assert of_kind(feed(logged_in(), wire), Malformed) == [Malformed("checksum", len(LOGIN))]


def test_a_wrong_checksum_is_named_whatever_else_is_wrong() -> None:
    for wire in (CODEC_15, CODEC_13, d.tcp_frame(b"\x07\x01\x00"), d.tcp_frame(b"\x08\x02" + bytes(30) + b"\x01")):
        assert feed(logged_in(), wire[:-1] + bytes([wire[-1] ^ 1]))[0] == Malformed("checksum", len(LOGIN))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("0000000000000002", "length"),
        ("0000000000000000", "length"),
        ("000000000000FFF5", "length"),  # one more than 64 KiB holds
        ("00000000FFFFFFFF", "length"),
        ("0000000100000030", "structure"),
        ("01", "structure"),
        ("47455420", "structure"),
    ],
)
@pytest.mark.parametrize("step", CUTS)
def test_an_impossible_header_is_refused_on_the_header_alone(head: str, reason: str, step: int) -> None:
    damage, end = feed(logged_in(), bytes.fromhex(head), step)
    assert damage == Malformed(reason, len(LOGIN))
    assert isinstance(end, Close)


@pytest.mark.parametrize("step", CUTS)
def test_idle_bytes_between_frames_are_swallowed(step: int) -> None:
    session = logged_in()
    wire = b"\xff" + CODEC_8.wire + b"\xff\xff" + CODEC_16.wire + b"\xff"
    assert [e.offset for e in feed(session, wire, step)] == [len(LOGIN) + 1, len(LOGIN) + 3 + len(CODEC_8.wire)]


@pytest.mark.parametrize("cut", range(1, len(CODEC_8.wire)))
def test_a_close_inside_a_frame_is_truncated(cut: int) -> None:
    assert feed(logged_in(), CODEC_8.wire + CODEC_8.wire[:cut]) == [
        Frame(CODEC_8.wire, 1, len(LOGIN)),
        Malformed("truncated", len(LOGIN) + len(CODEC_8.wire)),
    ]


def test_a_close_between_frames_is_no_damage() -> None:
    assert feed(logged_in(), CODEC_8.wire + b"\xff") == [Frame(CODEC_8.wire, 1, len(LOGIN))]


def test_many_frames_in_one_read_and_behind_the_login() -> None:
    wire = LOGIN + CODEC_8.wire * 300
    frames = of_kind(feed(TeltonikaSession(), wire), Frame)
    assert [f.offset for f in frames] == [len(LOGIN) + n * len(CODEC_8.wire) for n in range(300)]
    assert len(decode(frames).batch) == 300


# --- login ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", CUTS)
@pytest.mark.parametrize("imei", ["35693803564380", "356938035643809", "3569380356438099", "000000000000000"])
def test_logins_of_14_to_16_digits(imei: str, step: int) -> None:
    assert feed(TeltonikaSession(), d.login(imei), step) == [Login(imei), Reply(b"\x01")]


@pytest.mark.parametrize("step", CUTS)
@pytest.mark.parametrize(
    "wire",
    [
        b"\x00\x0f35693803564380x",
        b"\x00\x0f3569380 5643809",
        b"\x00\x0d3569380356438",
        b"\x00\x12356938035643809123",
        b"\x00\x00",
        b"\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",  # a TLS greeting
        CODEC_8.wire,  # data before a login
        "\u0663".encode() * 9,
    ],
)
def test_what_is_no_login_closes(wire: bytes, step: int) -> None:
    damage, end = feed(TeltonikaSession(), wire, step)
    assert damage == Malformed("login", 0)
    assert isinstance(end, Close)


def test_a_login_cut_by_the_close_is_truncated() -> None:
    for cut in range(1, len(LOGIN)):
        assert feed(TeltonikaSession(), LOGIN[:cut]) == [Malformed("truncated", 0)]


def test_a_connection_without_a_byte_is_no_damage() -> None:
    assert feed(TeltonikaSession(), b"") == []


def test_nothing_is_read_until_the_login_is_decided() -> None:
    session = TeltonikaSession()
    assert session.receive_data(LOGIN + CODEC_8.wire, 0.0) == [Login(IMEI)]
    assert session.receive_data(CODEC_16.wire, 0.0) == ()
    assert session.ask_version() == b""
    reply, first, second = session.accept(0.0)
    assert reply == Reply(b"\x01")
    assert [first.data, second.data] == [CODEC_8.wire, CODEC_16.wire]


def test_a_refused_login_says_so_and_reads_no_more() -> None:
    session = TeltonikaSession()
    session.receive_data(LOGIN + CODEC_8.wire, 0.0)
    reply, end = session.refuse()
    assert reply == Reply(b"\x00")
    assert isinstance(end, Close)
    assert session.receive_data(CODEC_8.wire, 0.0) == ()
    assert session.end_of_stream() == ()


@pytest.mark.parametrize("step", CUTS)
def test_the_same_login_again_is_answered_again(step: int) -> None:
    session = logged_in()
    assert feed(session, CODEC_8.wire + LOGIN + CODEC_8.wire, step) == [
        Frame(CODEC_8.wire, 1, 17),
        Reply(b"\x01"),
        Frame(CODEC_8.wire, 1, 34 + len(CODEC_8.wire)),
    ]


@pytest.mark.parametrize("other", ["356938035643808", "35693803564380", "3569380356438090"])
@pytest.mark.parametrize("step", CUTS)
def test_another_imei_on_the_same_connection_closes(other: str, step: int) -> None:
    damage, end = feed(logged_in(), d.login(other), step)
    assert (damage.reason, damage.offset) == ("login", len(LOGIN))
    assert isinstance(end, Close)


# --- bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 4096, 1 << 20])
def test_64_kib_of_zeros_are_one_damage(step: int) -> None:
    zeros = bytes(64 * 1024)
    assert feed(TeltonikaSession(), zeros, step)[0] == Malformed("login", 0)
    events = feed(logged_in(), zeros, step)
    assert events[0] == Malformed("length", len(LOGIN))
    assert len(events) == 2


def test_the_largest_frame_passes_and_one_byte_more_does_not() -> None:
    payload = b"\x8e\x01" + bytes(MAX_FRAME - 12 - 3) + b"\x01"
    assert len(of_kind(feed(logged_in(), d.tcp_frame(payload), 4096), Frame)) == 1
    assert feed(logged_in(), d.tcp_frame(payload + b"\0"))[0] == Malformed("length", len(LOGIN))


def test_a_configured_limit_lowers_the_largest_frame_and_never_raises_it() -> None:
    size = len(CODEC_8E.wire)
    assert len(of_kind(feed(logged_in(max_frame=size), CODEC_8E.wire), Frame)) == 1
    assert feed(logged_in(max_frame=size - 1), CODEC_8E.wire)[0] == Malformed("length", len(LOGIN))
    huge = d.tcp_frame(b"\x8e\x01" + bytes(MAX_FRAME) + b"\x01")
    assert feed(logged_in(max_frame=10 * MAX_FRAME), huge)[0] == Malformed("length", len(LOGIN))
    session = protocol("teltonika").new_session(transport="udp", max_frame=len(UDP_8E.wire) - 1)
    assert session.receive_data(UDP_8E.wire, 0.0) == (Malformed("length"),)


def test_what_waits_behind_a_login_is_bounded() -> None:
    session = TeltonikaSession()
    session.receive_data(LOGIN, 0.0)
    events: list[Event] = []
    for _ in range(100):
        events += session.receive_data(bytes(1024), 0.0)
    assert events[0] == Malformed("length", len(LOGIN))
    assert isinstance(events[1], Close)
    assert len(events) == 2


@pytest.mark.timing
def test_a_large_frame_byte_by_byte_takes_linear_time() -> None:
    wire = d.tcp_frame(b"\x8e\x01" + bytes(MAX_FRAME - 100) + b"\x01")

    def seconds(count: int) -> float:
        session = logged_in()
        begun = time.process_time()
        for at in range(count):
            session.receive_data(wire[at : at + 1], 0.0)
        return time.process_time() - begun

    quarter = min(seconds(len(wire) // 4) for _ in range(3))
    assert min(seconds(len(wire)) for _ in range(2)) < 12 * quarter  # linear: 4 times, quadratic: 16 and more


def test_a_session_is_small_and_forgets_what_it_read() -> None:
    session = logged_in()
    tracemalloc.start()
    try:
        for _ in range(50):
            for at in range(0, len(CODEC_8E.wire), 7):
                session.receive_data(CODEC_8E.wire[at : at + 7], 0.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4096


# --- UDP --------------------------------------------------------------------------------------------------------


def test_a_datagram_reads_value_by_value_and_echoes_its_packet_id() -> None:
    session = TeltonikaDatagram()
    login, frame = feed(session, UDP_8E.wire)
    assert login == Login(IMEI)
    assert frame == Frame(UDP_8E.wire, 1, 0, 1)
    assert rows(decode([frame]).batch) == UDP_8E.records
    assert session.acknowledge(frame) == UDP_8E.ack
    assert session.ask_version() == b""


@pytest.mark.parametrize("codec", [d.CODEC_8, d.CODEC_8E, d.CODEC_16])
def test_datagrams_of_every_codec(codec: int) -> None:
    records = [d.avl_record(timestamp=n, satellites=5, generation=0, items=[(239, b"\1")]) for n in range(3)]
    wire = d.udp_datagram(d.avl_payload(codec, records), IMEI, packet_id=0x1234, avl_id=0xFE)
    session = TeltonikaDatagram()
    _, frame = feed(session, wire)
    assert len(decode([frame]).batch) == 3
    assert session.acknowledge(frame) == bytes.fromhex("0005123401FE03")


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (UDP_8E.wire[:-1], "length"),
        (UDP_8E.wire + b"\0", "length"),
        (b"\x00", "length"),
        (b"\x00\x05\xca\xfe\x01\x2a\x00", "length"),
        (b"\x00\x06\xca\xfe\x01\x2a\x00\x0f", "login"),
        (UDP_8E.wire[:6] + b"\x01\x0f" + UDP_8E.wire[8:], "login"),
        (UDP_8E.wire[:6] + b"\x00\x04" + UDP_8E.wire[8:], "login"),
        (UDP_8E.wire[:6] + b"\x00\xff" + UDP_8E.wire[8:], "login"),
        (UDP_8E.wire[:8] + b"x" + UDP_8E.wire[9:], "login"),
        (d.udp_datagram(b"", IMEI), "length"),
        (d.udp_datagram(b"\x08\x00", IMEI), "length"),
        (d.udp_datagram(GETVER_REPLY[8:-4], IMEI), "unsupported"),
        (d.udp_datagram(CODEC_15[8:-4], IMEI), "unsupported"),
    ],
)
def test_a_damaged_datagram_is_one_event(wire: bytes, reason: str) -> None:
    assert feed(TeltonikaDatagram(), wire) == [Malformed(reason)]


def test_an_empty_datagram_is_damage_too() -> None:
    assert TeltonikaDatagram().receive_data(b"", 0.0) == (Malformed("length"),)


def test_a_refused_datagram_gets_no_answer() -> None:
    session = TeltonikaDatagram()
    session.receive_data(UDP_8E.wire, 0.0)
    assert session.refuse() == ()


# --- quarantine -------------------------------------------------------------------------------------------------


def with_counts(payload: bytes, first: int, second: int) -> bytes:
    return payload[:1] + bytes([first]) + payload[2:-1] + bytes([second])


PAYLOAD = CODEC_8.wire[8:-4]
UNREADABLE = [
    ("codec 7", bytes.fromhex("070450aa14320201f00150aa17f3031f4233ff04"), "codec", 4),
    ("unknown codec", b"\x99\x07data\x07", "codec", 7),
    ("first count larger", with_counts(PAYLOAD, 2, 1), "count", 2),
    ("second count larger", with_counts(PAYLOAD, 1, 2), "count", 1),
    ("no records", b"\x08\x00\x00", "count", 0),
    ("both counts too large", with_counts(PAYLOAD, 2, 2), "structure", 2),
    ("a record too short", b"\x08\x01" + bytes(10) + b"\x01", "structure", 1),
    ("bytes left over", PAYLOAD[:-1] + b"\0\x01", "structure", 1),
    ("total wrong", PAYLOAD[:27] + b"\x08" + PAYLOAD[28:], "structure", 1),
    ("group beyond the frame", PAYLOAD[:28] + b"\xff" + PAYLOAD[29:], "structure", 1),
]


@pytest.mark.parametrize(("payload", "reason", "count"), [u[1:] for u in UNREADABLE], ids=[u[0] for u in UNREADABLE])
def test_what_passes_its_checksum_and_cannot_be_decoded_is_acknowledged(
    payload: bytes, reason: str, count: int
) -> None:
    session = logged_in()
    events = feed(session, d.tcp_frame(payload) + CODEC_8.wire)
    decoded = decode(of_kind(events, Frame))
    assert [(q.frame, q.reason, q.data) for q in decoded.quarantined] == [(0, reason, None)]
    assert [r["frame"] for r in rows(decoded.batch)] == [1]  # the neighbour stands
    assert session.acknowledge(events[0], decoded.quarantined) == count.to_bytes(4, "big")
    assert session.acknowledge(events[1]) == CODEC_8.ack
    assert protocol("teltonika").tree(events[0]) is not None


def test_a_time_beyond_any_calendar_quarantines_its_record_alone() -> None:
    good, bad = d.avl_record(timestamp=1000), d.avl_record(timestamp=2**64 - 1)
    session = logged_in()
    (frame,) = feed(session, d.avl_frame(d.CODEC_8, [bad, good, bad, good]))
    decoded = decode([frame])
    assert [(r["position"], r["time"]) for r in rows(decoded.batch)] == [(1, 1_000_000), (3, 1_000_000)]
    assert [(q.frame, q.reason, len(q.data or b"")) for q in decoded.quarantined] == [(0, "time", 30)] * 2
    assert session.acknowledge(frame, decoded.quarantined) == b"\0\0\0\4"


# --- hostile bytes ----------------------------------------------------------------------------------------------

GOOD = [LOGIN, CODEC_8.wire, CODEC_8E.wire, CODEC_16.wire, CODEC_13, GETVER_REPLY, CODEC_15, b"\xff"]
DOCUMENTED = (Login, Frame, Message, Reply, Malformed, Identified, Close)


@examples(150)
@given(st.lists(st.sampled_from(GOOD), max_size=4), st.data())
def test_no_bytes_raise_and_cuts_do_not_matter(parts: list[bytes], data: st.DataObject) -> None:
    wire = bytearray(b"".join([LOGIN, *parts]))
    for at in data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=3)):
        wire[at] = data.draw(st.integers(0, 255))
    whole = feed(TeltonikaSession(), bytes(wire))
    assert all(isinstance(event, DOCUMENTED) for event in whole)
    decode(of_kind(whole, Frame))
    for step in (1, 3):
        pieces = feed(TeltonikaSession(), bytes(wire), step)
        if not of_kind(whole, Close):
            assert pieces == whole
        else:  # behind damage only what had arrived already is read
            upto = next(n for n, e in enumerate(pieces) if isinstance(e, Malformed) and e.reason != "unsupported")
            assert pieces[: upto + 1] == whole[: upto + 1]


@examples(200)
@given(st.binary(max_size=300), st.booleans())
def test_no_datagram_raises(body: bytes, header: bool) -> None:
    wire = d.udp_datagram(body, IMEI) if header else body
    events = feed(TeltonikaDatagram(), wire)
    decode(of_kind(events, Frame))
    assert all(isinstance(event, (Login, Frame, Malformed)) for event in events)


def test_a_read_of_frames_alike_is_a_run_that_says_what_its_frames_say() -> None:
    for wire, count in ((CODEC_8.wire, 1), (CODEC_8.wire * 4, 4), (CODEC_8E.wire * 3, 3)):
        one, other = logged_in(), logged_in()
        run = one.run(wire)
        assert run is not None
        assert (run.count, run.offset) == (count, len(LOGIN))
        frames = [frame for frame in other.receive_data(wire, 0.0) if isinstance(frame, Frame)]
        assert run.singles() == frames
        assert one.acknowledge(run) == b"".join(other.acknowledge(frame) for frame in frames)
        assert rows(decode([run]).batch) == rows(decode(frames).batch)
        again = one.run(wire)
        assert again is not None
        assert again.offset == len(LOGIN) + len(wire)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        CODEC_8.wire[:7],
        CODEC_8.wire[:-1],
        CODEC_8.wire + CODEC_8.wire[:-1],
        CODEC_8.wire + CODEC_16.wire,
        b"\xff" + CODEC_8.wire,
        LOGIN,
        GETVER_REPLY,
        CODEC_14_REFUSAL,
        spoilt(CODEC_8.wire),
        CODEC_8.wire * 2 + spoilt(CODEC_8.wire),
        bytes(64),
        d.tcp_frame(b"")[:12],
    ],
    ids=lambda wire: f"{len(wire)} bytes",
)
def test_what_is_no_run_is_left_to_the_long_way(wire: bytes) -> None:
    session, other = logged_in(), logged_in()
    assert session.run(wire) is None
    assert session.receive_data(wire, 0.0) == other.receive_data(wire, 0.0)  # nothing was consumed


def test_there_is_no_run_while_something_is_open_nor_behind_damage() -> None:
    session = TeltonikaSession()
    assert session.run(CODEC_8.wire) is None  # nobody has logged in
    session.receive_data(LOGIN, 0.0)
    assert session.run(CODEC_8.wire) is None  # the login waits for its answer
    session.accept(0.0)
    session.receive_data(CODEC_8.wire[:20], 0.0)
    assert session.run(CODEC_8.wire) is None  # a frame waits for its rest
    session.receive_data(CODEC_8.wire[20:], 0.0)
    assert session.run(CODEC_8.wire) is not None
    session.receive_data(spoilt(CODEC_8.wire), 0.0)
    assert session.run(CODEC_8.wire) is None  # its ack would release the damaged frame
    limited = TeltonikaSession(max_frame=len(CODEC_8.wire) - 1)
    limited.receive_data(LOGIN, 0.0)
    limited.accept(0.0)
    assert limited.run(CODEC_8.wire) is None
    assert limited.run(CODEC_8.wire * 2) is None


@examples(100)
@given(st.lists(st.sampled_from([CODEC_8.wire, CODEC_8E.wire, CODEC_16.wire]), min_size=1, max_size=5), st.data())
def test_a_run_is_never_anything_but_whole_good_frames(wires: list[bytes], data: st.DataObject) -> None:
    wire = bytearray(b"".join(wires))
    for _ in range(data.draw(st.integers(0, 2))):
        wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(0, 255))
    session, other = logged_in(), logged_in()
    run = session.run(bytes(wire))
    if run is not None:
        assert run.singles() == list(other.receive_data(bytes(wire), 0.0))
