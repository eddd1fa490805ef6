"""Omnicomm: framing, session, worked packets."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.omnicomm import PROTOCOL, declaration
from protocols.omnicomm.decoder import decode
from protocols.omnicomm.fields import EPOCH
from protocols.omnicomm.framing import MAX_PAYLOAD, checksum, server_frame
from protocols.records import (
    MALFORMED_REASONS,
    Close,
    Event,
    Frame,
    Login,
    Malformed,
    Quarantined,
    Reply,
    fingerprint,
)
from protocols.registry import PROTOCOLS, protocol
from tests.protocols.examples import examples
from tests.protocols.omnicomm_vectors import (
    ASK,
    E1,
    E2,
    E3,
    E3_RECORDS,
    E4,
    E5,
    E6,
    E7,
    E8,
    E9,
    E9_RECORD,
    LOGIN,
    NOW,
    Told,
    body,
    records,
)

STEPS = [1, 2, 3, 7, 1 << 30]  # bytes at a time


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
    assert told.session.encode_command("getver") == b""


def test_the_usual_read_is_one_frame_behind_the_word_that_others_were_erased() -> None:
    usual = Told().feed(E1).session
    assert usual.run(E9) == Frame(body(E9), records=1, offset=len(E1))
    assert usual.run(E5 + E9) == Frame(body(E9), records=1, offset=len(E1 + E9 + E5))
    other = bytearray(E9)
    other[-1] ^= 1
    for data in (E5, E6 + E9, E9 + E9, E9 + E5, E9[:-1], E9 + b"\0", b"\0" + E9, bytes(other), E7 + E9, b"", E1):
        assert usual.run(data) is None, data.hex()
    assert Told().session.run(E9) is None


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
    assert (PROTOCOLS["omnicomm"].port, PROTOCOL.transports, PROTOCOL.closes_on_damage) == (9977, ("tcp",), True)
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


@examples(100)
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


@examples(150)
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
