"""EGTS sessions: what is answered to what and when, damage, relays, commands."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from bench.samples import wire_frames
from gateway.simulator.truth import Truth
from protocols.egts import PROTOCOL, auth, commands, wire
from protocols.egts import declaration as d
from protocols.egts.session import EgtsSession
from protocols.egts.terminal import EgtsTerminal
from protocols.egts.walk import PACKET, RECORDS, REMAINDER
from protocols.records import (
    Close,
    Declining,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Relaying,
    Reply,
)
from protocols.terminals import TerminalSpec
from tests.protocols.egts_vectors import (
    COMMAND,
    CONFIRMED,
    DAMAGED,
    DATA,
    DATA_RESPONSE,
    LET_IN,
    LET_IN_RESPONSE,
    LOGIN,
    LOGIN_RESPONSE,
)
from tests.protocols.helpers import CUTS, feed, of_kind, rows

TID = 4815162
COUNTER = wire.subrecord(wire.ABS_COUNTER, b"\1\5\0\0")


def packet(number: int, *records: bytes, **told: Any) -> bytes:
    return wire.packet(number, wire.APPDATA, b"".join(records), **told)


def data(number: int, oid: int | None = None, tm: int | None = None) -> bytes:
    """A record of teledata."""
    return wire.record(number, wire.TELEDATA, COUNTER, oid=oid, tm=tm, flags=wire.FROM_TERMINAL)


def session(*, login: bytes = LOGIN) -> EgtsSession:
    """Behind a login."""
    found = EgtsSession()
    if login:
        feed(found, login, close=False)
    return found


def codes(answer: bytes) -> dict[int, Any]:
    """Packet number → (its result, {record number: result}) of responses."""
    told: dict[int, Any] = {}
    while answer:
        size = wire.HEAD + (answer[5] | answer[6] << 8) + 2
        body = answer[wire.HEAD : size - 2]
        assert wire.crc8(answer[:10]) == answer[10]
        assert answer[9] == wire.RESPONSE
        assert wire.crc16(body) == int.from_bytes(answer[size - 2 : size], "little")
        records, bad = wire.records(body, 3, len(body))
        assert bad < 0
        results = {}
        for one in records:
            for _, content in wire.subrecords(body[one.at : one.end]):
                results[content[0] | content[1] << 8] = content[2]
        told[body[0] | body[1] << 8] = (body[2], results)
        answer = answer[size:]
    return told


def answered(found: EgtsSession, frames: Sequence[Event]) -> dict[int, Any]:
    """What these are answered when they are stored."""
    return codes(b"".join([found.acknowledge(one) for one in frames if isinstance(one, Frame | Message)]))


@pytest.mark.parametrize("step", CUTS)
def test_a_connection_to_the_letter(step: int) -> None:
    found = EgtsSession()
    events = feed(found, LOGIN + LET_IN_RESPONSE + DATA, step, close=False)
    frame = Frame(DATA, 2, len(LOGIN + LET_IN_RESPONSE), PACKET, 1, str(TID))
    told = Identified(imei="861629955900919", imsi="250027840832460", operator="25002")
    assert events == [Reply(LOGIN_RESPONSE), Login(str(TID), firmware="4.41"), Reply(LET_IN), told, frame]
    assert found.acknowledge(frame) == DATA_RESPONSE
    found._cid = 7000
    assert found.encode_command("get firmware") == COMMAND
    told = feed(found, CONFIRMED, step, close=False)
    assert [type(one) for one in told] == [Message, Identified]
    assert (told[0].text, told[0].answer) == ("4.41", True)  # type: ignore[union-attr]
    assert told[1] == Identified("4.41")
    assert codes(found.acknowledge(told[0])) == {4: (0, {5: 0})}  # type: ignore[arg-type]


def test_a_damaged_packet_is_refused_to_the_letter() -> None:
    found = session()
    found._number = 5
    spoilt = bytearray(packet(9, data(1)))
    spoilt[-4] ^= 1
    (damage, refusal) = feed(found, bytes(spoilt), close=False)
    assert damage == Malformed("checksum", len(LOGIN))
    assert refusal == Reply(DAMAGED)


@pytest.mark.parametrize("step", CUTS)
def test_a_good_packet_behind_a_bad_one_is_heard(step: int) -> None:
    """Whatever bit of it is turned: acks name their packet, so the connection goes on."""
    dice = random.Random(3)
    one, bad, other = (packet(n, data(n, TID, n)) for n in (1, 2, 3))
    for _ in range(60 if step > 3 else 12):
        spoilt = bytearray(bad)
        at = dice.randrange(len(bad))
        spoilt[at] ^= 1 << dice.randrange(8)
        found = session()
        events = feed(found, one + bytes(spoilt) + other, step)
        damage = of_kind(events, Malformed)
        assert [event.reason for event in damage] == ["checksum" if at not in (0, 3) else damage[0].reason]
        assert [frame.data for frame in of_kind(events, Frame)] == [one, other], at
        replies = [reply for reply in of_kind(events, Reply) if reply.data not in (LOGIN_RESPONSE, LET_IN)]
        assert set(codes(b"".join(reply.data for reply in replies))) <= {2, bad[7] | bad[8] << 8, *range(65536)}
        assert all(result[0] >= 128 for result in codes(b"".join(reply.data for reply in replies)).values())


def test_where_no_packet_begins_it_is_one_run_however_it_is_cut() -> None:
    noise = b"\x01\x00" * 30 + b"GET / HTTP/1.1\r\n\r\n\x01\x00\x03\x0b\x00"
    for step in CUTS:
        events = feed(session(), noise + packet(7, data(1)), step)
        assert [event.reason for event in of_kind(events, Malformed)] == ["structure"]
        assert [frame.records for frame in of_kind(events, Frame)] == [1]


@pytest.mark.parametrize(
    ("spoil", "reason", "code"),
    [
        ({0: 2}, "unsupported", wire.UNS_PROTOCOL),
        ({2: 0x43}, "unsupported", wire.UNS_PROTOCOL),
        ({2: 0x23}, "structure", wire.INC_HEADER),
        ({2: 0x0B}, "unsupported", wire.DECRYPT_ERROR),
        ({2: 0x07}, "unsupported", wire.UNS_TYPE),
        ({9: 3}, "unsupported", wire.UNS_TYPE),
    ],
)
def test_a_header_that_says_what_is_not_done_here_is_refused(spoil: dict[int, int], reason: str, code: int) -> None:
    spoilt = bytearray(packet(7, data(1)))
    for at, value in spoil.items():
        spoilt[at] = value
    spoilt[10] = wire.crc8(bytes(spoilt[:10]))
    events = feed(session(), bytes(spoilt) + packet(8, data(1)), close=False)
    assert [event.reason for event in of_kind(events, Malformed)] == [reason]
    assert codes(of_kind(events, Reply)[-1].data) == {7: (code, {})}
    assert len(of_kind(events, Frame)) == 1
    spoilt[-5] ^= 1
    assert of_kind(feed(session(), bytes(spoilt)), Malformed)[0].reason == "checksum", "before anything else"


def test_more_than_is_taken_at_once_ends_the_connection_by_its_header_alone() -> None:
    found = EgtsSession(max_frame=200)
    feed(found, d.login(TID), close=False)
    head = packet(3, *[data(n) for n in range(20)])[: wire.HEAD]
    events = feed(found, head, close=False)
    assert [type(event) for event in events] == [Reply, Malformed, Close]
    assert codes(events[0].data) == {3: (wire.INV_LENGTH, {})}  # type: ignore[union-attr]
    assert of_kind(events, Malformed)[0].reason == "length"
    assert found.receive_data(packet(4, data(1)), 0.0) == ()


def test_a_cut_is_told_once_at_every_byte() -> None:
    for size in range(1, len(DATA)):
        events = feed(session(), DATA[:size])
        assert of_kind(events, Malformed) == [Malformed("truncated", len(LOGIN))], size
        assert not of_kind(events, Frame)
    assert not of_kind(feed(session(), DATA), Malformed)


def test_zeros_are_one_run_in_bounded_memory() -> None:
    found = session()
    events = feed(found, bytes(65536), 1000)
    assert [type(event) for event in events] == [Malformed]
    assert len(found._buffer) < 100


# -- who speaks ---------------------------------------------------------------------------------------------------


def test_a_sign_of_life_is_answered() -> None:
    events = feed(session(), wire.packet(77, wire.APPDATA, b""), close=False)
    assert codes(of_kind(events, Reply)[-1].data) == {77: (0, {})}


def test_services_are_told_where_the_terminal_wants_them_told() -> None:
    events = feed(EgtsSession(), d.login(TID, simple=False), close=False)
    content = of_kind(events, Reply)[-1].data[wire.HEAD : -2]
    told = list(wire.subrecords(content[7:]))
    assert told == [(wire.RESULT_CODE, b"\0"), (wire.SERVICE_INFO, b"\2\0\0"), (wire.SERVICE_INFO, b"\4\0\0")]
    asked = wire.record(3, wire.AUTH, wire.subrecord(wire.SERVICE_INFO, b"\2\0\x80") +
                        wire.subrecord(wire.SERVICE_INFO, b"\x09\0\x80"))  # fmt: skip
    (response, answer) = feed(session(), packet(5, asked), close=False)
    assert codes(response.data) == {5: (0, {3: 0})}  # type: ignore[union-attr]
    told = list(wire.subrecords(answer.data[wire.HEAD + 7 : -2]))  # type: ignore[union-attr]
    assert told == [(wire.SERVICE_INFO, b"\2\0\0"), (wire.SERVICE_INFO, b"\x09\x82\0")]


def test_a_terminal_without_a_number_and_one_that_is_refused_hear_153() -> None:
    events = feed(EgtsSession(), d.login(0))
    assert [type(event) for event in events] == [Reply, Reply, Malformed, Close]
    assert events[1].data[-3] == wire.ID_UNKNOWN  # type: ignore[union-attr]
    found = EgtsSession()
    found.receive_data(LOGIN, 0.0)
    (refusal, close) = found.refuse()
    assert refusal.data[-3] == wire.ID_UNKNOWN  # type: ignore[union-attr]
    assert isinstance(close, Close)
    assert found.receive_data(DATA, 0.0) == ()


def test_another_terminal_on_the_same_connection_ends_it_and_the_same_begins_anew() -> None:
    again = feed(session(), d.login(TID, 9, 9), close=False)
    assert [type(event) for event in again] == [Reply, Reply]
    events = feed(session(), d.login(5, 9, 9), close=False)
    assert [type(event) for event in events] == [Reply, Reply, Malformed, Close]
    assert events[1].data[-3] == wire.AUTH_DENIED  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "content",
    [
        wire.subrecord(wire.TERM_IDENTITY, b"\1\0\0\0"),
        wire.subrecord(wire.TERM_IDENTITY, b"\1\0\0\0\2" + b"1" * 14),
        wire.subrecord(wire.TERM_IDENTITY, b"\1\0\0\0\2" + b"12345678901234x"),
        wire.subrecord(wire.MODULE_DATA, b"\1\0\0\0\2"),
        b"",
        b"\1\0",
    ],
)
def test_an_identity_that_is_none_is_refused_as_a_record(content: bytes) -> None:
    events = feed(EgtsSession(), packet(1, wire.record(1, wire.AUTH, content)), close=False)
    assert [event.reason for event in of_kind(events, Malformed)] == ["login"]
    assert codes(of_kind(events, Reply)[0].data) == {1: (0, {1: wire.INC_DATA})}
    assert not of_kind(events, Login)


def test_data_before_anybody_is_known_is_refused_and_kept_by_the_terminal() -> None:
    events = feed(EgtsSession(), packet(1, data(1), data(2)), close=False)
    assert [event.reason for event in of_kind(events, Malformed)] == ["login"]
    assert codes(of_kind(events, Reply)[0].data) == {1: (0, {1: wire.AUTH_DENIED, 2: wire.AUTH_DENIED})}


def test_a_version_told_later_is_learnt_and_the_main_module_is_the_terminals() -> None:
    other = wire.subrecord(wire.MODULE_DATA, d.MODULE_DATA.build(
        {"mt": 2, "vid": 0, "fwv": 1, "swv": 0x0909, "md": 0, "st": 1, "texts": b"\0\0"}))  # fmt: skip
    events = feed(EgtsSession(), d.login(TID, data=other + d.module_data((4, 7))), close=False)
    assert of_kind(events, Login)[0].firmware == "4.7"
    late = packet(3, wire.record(3, wire.AUTH, d.module_data((5, 1))))
    assert of_kind(feed(session(), late, close=False), Identified) == [Identified("5.1")]


def test_login_and_data_in_one_packet_are_answered_together_after_the_commit() -> None:
    found = EgtsSession()
    identity = wire.record(1, wire.AUTH, d.term_identity(TID))
    events = feed(found, packet(6, identity, data(2)), close=False)
    assert [type(event) for event in events] == [Login, Reply, Frame]
    (frame,) = of_kind(events, Frame)
    assert frame.variant == RECORDS
    assert answered(found, [frame]) == {6: (0, {1: 0, 2: 0})}
    assert rows(PROTOCOL.decode([frame]).batch)[0]["measures"] == {"counter.1": 5}


# -- relays -------------------------------------------------------------------------------------------------------


def test_a_relays_packet_is_a_frame_for_each_terminal_and_one_answer() -> None:
    found = session(login=b"")
    whole = packet(4, data(1, 7, 50), data(2), data(3, 8), data(4, 7), data(5, 9, 60))
    assert found.run(whole) is None
    events = feed(found, whole, close=False)
    assert [(frame.terminal, frame.records, frame.variant) for frame in of_kind(events, Frame)] == [
        ("7", 3, RECORDS), ("8", 1, RECORDS), ("9", 1, RECORDS),
    ]  # fmt: skip
    times = [
        [row["time"] // 1_000_000 - wire.EPOCH for row in rows(PROTOCOL.decode([frame]).batch)] for frame in events
    ]
    assert times == [[50, 50, 50], [50], [60]], "a time is inherited across terminals"
    assert [found.acknowledge(frame) for frame in events[:2]] == [b"", b""]  # type: ignore[arg-type]
    assert codes(found.acknowledge(events[2])) == {4: (0, dict.fromkeys(range(1, 6), 0))}  # type: ignore[arg-type]


def test_a_relay_of_one_terminal_in_a_packet_needs_no_login() -> None:
    found = session(login=b"")
    (frame,) = feed(found, packet(4, data(1, 7), data(2)), close=False)
    assert frame == Frame(packet(4, data(1, 7), data(2)), 2, 0, PACKET, 1, "7")
    assert found.run(packet(5, data(3, 7))) is None
    assert answered(found, [frame]) == {4: (0, {1: 0, 2: 0})}


def test_who_is_not_let_in_is_an_object_that_nobody_knows() -> None:
    found = session()
    assert isinstance(found, Relaying)
    events = feed(found, packet(4, data(1, TID), data(2, 8)) + packet(5, data(3, 8)), close=False)
    mixed, strange, alone = of_kind(events, Frame)
    assert found.acknowledge(mixed) == b""
    assert codes(found.reject(strange)) == {4: (0, {1: 0, 2: wire.OBJECT_UNKNOWN})}
    assert codes(found.reject(alone)) == {5: (0, {3: wire.OBJECT_UNKNOWN})}
    assert found.run(packet(6, data(9))) is None, "answers leave in order: no run overtakes a relay's frame"


def test_a_dispatchers_platform_logs_in_as_one() -> None:
    body = wire.subrecord(wire.DISPATCHER_IDENTITY, b"\0" + (77).to_bytes(4, "little") + b"region")
    found = EgtsSession()
    events = feed(found, packet(1, wire.record(1, wire.AUTH, body)) + packet(2, data(1, 5)), close=False)
    assert of_kind(events, Login)[0].terminal == "dispatcher 77"
    assert of_kind(events, Frame)[0].terminal == "5"
    assert found.ask_version() == b""
    assert found.encode_command("get 0x0402") == b""


def test_what_ends_in_no_record_is_kept_and_the_packet_refused() -> None:
    found = session()
    spoilt = packet(4, data(1, 8), data(2), data(3)[:-3])
    events = feed(found, spoilt, close=False)
    frames = of_kind(events, Frame)
    assert [(frame.terminal, frame.variant) for frame in frames] == [("8", RECORDS), ("8", REMAINDER)]
    bad = PROTOCOL.decode(frames).quarantined
    assert [(one.frame, one.reason, one.code) for one in bad] == [(1, "structure", "")]
    assert answered(found, frames) == {4: (wire.INC_DATA, {1: 0, 2: 0})}
    nobodys = feed(session(login=b""), packet(4, data(3)[:-3]), close=False)
    assert [event.reason for event in of_kind(nobodys, Malformed)] == ["structure"]
    assert codes(of_kind(nobodys, Reply)[0].data) == {4: (wire.INC_DATA, {})}


# -- acks ---------------------------------------------------------------------------------------------------------


def test_a_run_is_what_the_frames_are_one_by_one() -> None:
    wires = [packet(n, data(n, TID, n), data(n + 1)) for n in range(3, 9)]
    fast, slow = session(), session()
    run = fast.run(b"".join(wires))
    assert run is not None
    assert (run.count, run.records, run.terminal, run.offset) == (6, 2, str(TID), len(LOGIN))
    frames = feed(slow, b"".join(wires), close=False)
    assert run.singles() == frames
    assert fast.acknowledge(run) == b"".join([slow.acknowledge(frame) for frame in frames])  # type: ignore[arg-type]
    assert not fast._unanswered
    assert not slow._unanswered


def test_a_run_that_is_taken_apart_is_answered_frame_by_frame() -> None:
    found = session()
    run = found.run(packet(3, data(3)) + packet(4, data(4)))
    assert run is not None
    one, other = run.singles()
    assert codes(found.acknowledge(one)) == {3: (0, {3: 0})}
    bad = Quarantined(0, "structure", b"", "4:132")
    assert codes(found.acknowledge(other, [bad])) == {4: (0, {4: wire.INC_DATA})}
    assert not found._unanswered
    assert found.decline() == b""


@pytest.mark.parametrize(
    "spoilt",
    [
        packet(3, data(3, 8)),
        packet(3, data(3), data(4, TID)),
        packet(3, wire.record(3, wire.AUTH, b"\1\0\0")),
        packet(3, wire.record(3, wire.TELEDATA, b"")),
        packet(3, data(3), route=b"\1\0\1\0\1"),
        packet(3, data(3))[:-1] + b"\0",
        packet(3, data(3)) + packet(4, data(4), data(5)),
        packet(3, data(3)) + packet(4, data(4))[:-1],
        packet(3, wire.record(3, wire.TELEDATA, b"\0\3\0\1\0\0")),
        packet(3, wire.record(3, wire.ECALL, COUNTER)),
    ],
)
def test_what_is_not_the_usual_read_goes_the_long_way(spoilt: bytes) -> None:
    found = session()
    assert found.run(spoilt) is None
    found.receive_data(b"\1", 0.0)
    assert found.run(packet(3, data(3))) is None, "a packet has begun"


def test_nothing_kept_is_said_so_of_all_that_is_unanswered() -> None:
    found = session()
    assert isinstance(found, Declining)
    assert found.run(packet(3, data(1)) + packet(4, data(1))) is not None
    feed(found, packet(5, data(2, TID), data(3, 9)), close=False)
    told = codes(found.decline())
    no = wire.NO_RESOURCES
    assert told == {3: (no, {1: no}), 4: (no, {1: no}), 5: (no, {2: no, 3: no})}
    assert found.decline() == b""
    assert found.acknowledge(Frame(packet(3, data(1)), 1, len(LOGIN))) == b"", "nothing positive comes behind it"


def test_a_damaged_record_is_refused_by_its_number_and_its_neighbours_are_confirmed() -> None:
    found = session()
    bad = wire.record(2, wire.TELEDATA, wire.subrecord(wire.POS_DATA, bytes(20)))
    (frame,) = of_kind(feed(found, packet(3, data(1), bad, data(3)), close=False), Frame)
    quarantined = PROTOCOL.decode([frame]).quarantined
    assert codes(found.acknowledge(frame, quarantined)) == {3: (0, {1: 0, 2: wire.INC_DATA, 3: 0})}


def test_an_emergency_call_is_kept_whole() -> None:
    msd = wire.subrecord(40, b"\1\2\3")
    found = session()
    (frame,) = feed(found, packet(3, wire.record(1, wire.ECALL, msd, tm=60)), close=False)
    (row,) = rows(PROTOCOL.decode([frame]).batch)  # type: ignore[list-item]
    assert row["measures"] == {"ecall.msd.raw": "010203"}
    assert answered(found, [frame]) == {3: (0, {1: 0})}


def test_a_service_that_is_not_known_is_kept_as_it_is() -> None:
    found = session()
    (message,) = feed(found, packet(3, wire.record(1, wire.FIRMWARE, b"\x21\1\0x")), close=False)
    assert message == Message(b"\x21\1\0x", None, "service 9", len(LOGIN))
    assert answered(found, [message]) == {3: (0, {1: 0})}


def test_a_signed_packet_is_read_behind_its_signature() -> None:
    body = (3).to_bytes(2, "little") + b"sig" + data(1)
    found = session()
    (frame,) = feed(found, wire.packet(3, wire.SIGNED, body), close=False)
    assert rows(PROTOCOL.decode([frame]).batch)[0]["measures"] == {"counter.1": 5}  # type: ignore[list-item]
    assert answered(found, [frame]) == {3: (0, {1: 0})}


# -- commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("get 0x0402", (1, 0x0402, b"")),
        ("get imei", (1, 0x0405, b"")),
        ("set 0x0262 u16:30", (2, 0x0262, b"\x1e\0")),
        ("set 609 hex:0a0b", (2, 609, b"\x0a\x0b")),
        ("set 0x0007 код", (2, 7, "код".encode("cp1251"))),
        ("run restart", (0, 8, b"")),
        ("run 9 u16:1", (0, 9, b"\1\0")),
        ("getver", (0, 0, b"getver")),
    ],
)
def test_commands_as_they_are_typed(text: str, typed: tuple[int, int, bytes]) -> None:
    assert commands.read(text) == typed
    assert commands.problem(text) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("get", "is followed by a code"), ("get nonsense", "is followed by a code"), ("get 0x10000", "0 to 0xffff"),
        ("set 0x0262", "a code and a value"), ("set 5 u8:300", "no number of 8 bits"), ("set 5 hex:0", "hex digits"),
        ("日本", "CP-1251"), ("set 5 日", "CP-1251"), ("", "empty"),
    ],
)  # fmt: skip
def test_what_is_no_command_says_why(text: str, problem: str) -> None:
    assert problem in commands.problem(text) or (not text and commands.problem(text))


def confirmation(cid: int, result: int, value: bytes = b"", code: int = 8, charset: bytes = b"") -> bytes:
    head = bytes((0x10 | result,)) + cid.to_bytes(4, "little") + bytes(4) + (b"\1" + charset if charset else b"\0")
    content = head + bytes(2) + code.to_bytes(2, "little") + value
    return packet(30, wire.record(30, wire.COMMANDS, wire.subrecord(wire.COMMAND_DATA, content)))


@pytest.mark.parametrize(("result", "answer"), [(0, True), (1, False), (3, False), (6, None)])
def test_a_confirmation_answers_its_own_command(result: int, answer: bool | None) -> None:
    found = session()
    assert found.encode_command("run restart")
    (message,) = of_kind(feed(found, confirmation(1, result), close=False), Message)
    assert message.answer is answer
    (late,) = of_kind(feed(found, confirmation(77, 0), close=False), Message)
    assert late.answer is None, "of an earlier connection"


def test_values_are_texts_in_the_set_that_they_name() -> None:
    found = session()
    for charset, value, text in ((b"\0", "Ж".encode("cp1251"), "Ж"), (b"\x08", "Ж".encode("utf-16-be"), "Ж"),
                                 (b"\2", b"abc", None), (b"\0", b"\1\2", None)):  # fmt: skip
        (message,) = of_kind(feed(found, confirmation(5, 0, value, charset=charset), close=False), Message)
        assert (message.text, message.data) == (text, value)


def test_a_command_that_is_not_even_taken_is_refused() -> None:
    found = session()
    sent = found.encode_command("run restart")
    number = int.from_bytes(sent[wire.HEAD + 2 : wire.HEAD + 4], "little")
    told = wire.response(9, 9, 4, 0, [(number, wire.COMMANDS, 149)])
    (message,) = feed(found, told, close=False)
    assert (message.answer, message.text) == (False, "EGTS result code 149")  # type: ignore[union-attr]
    assert found.acknowledge(message) == b""  # type: ignore[arg-type]
    assert feed(found, told, close=False) == [], "once"
    assert feed(found, wire.response(9, 9, 4, 0, [(number + 1, wire.COMMANDS, 149)]), close=False) == []


def test_the_version_is_asked_of_who_did_not_tell_it_and_asking_changes_nothing() -> None:
    assert session().ask_version() == b""
    found = session(login=d.login(TID))
    assert found.ask_version() == found.ask_version() != b""
    before = found._number, found._rn
    assert (found._number, found._rn) == before
    (message, learnt) = feed(found, confirmation(0, 0, b"7.1", 0x0402), close=False)
    assert (message.answer, learnt) == (True, Identified("7.1"))  # type: ignore[union-attr]
    assert EgtsSession().ask_version() == b""


def test_no_more_is_sent_than_the_terminal_takes() -> None:
    found = session(login=d.login(TID, buffer=60))
    assert found.encode_command("run restart")
    assert found.encode_command("x" * 40) == b""


def test_numbers_go_round_and_leave_out_the_versions_own() -> None:
    found = session()
    found._number = found._rn = 0xFFFF
    first, second = found._send(4, b""), found._send(4, b"")
    assert (first[7:9], second[7:9]) == (b"\xff\xff", b"\1\0")


def test_identities_that_stand_in_two_records_are_one() -> None:
    told = auth.Identity("5", True, 5).and_(auth.Identity(firmware="1.2", services=(4,)))
    assert (told.name, told.firmware, told.services) == ("5", "1.2", (4,))
    assert auth.Identity(firmware="1.2").and_(auth.Identity("5", True, 5)).name == "5"


# -- the other side -----------------------------------------------------------------------------------------------


def test_the_terminal_erases_only_what_is_confirmed() -> None:
    truth = Truth()
    spec = TerminalSpec(0, "egts", EgtsTerminal.identity(3), "protocol:egts", "town")
    terminal = EgtsTerminal(spec, truth, firmware="4.41")
    found = EgtsSession()
    terminal.connect(0.0)
    for event in feed(found, terminal.data_to_send(0.0), close=False):
        if isinstance(event, Reply):
            terminal.receive(event.data, 0.0)
    assert terminal.ready
    assert not terminal.wants_close
    terminal.receive(wire.response(9, 9, 4444, 0, ()), 0.0)
    assert terminal.wants_close


def test_a_fleets_frames_are_runs() -> None:
    login, frames = wire_frames("egts", 3)
    found = session(login=login)
    assert all(found.run(frame) is not None for frame in frames)


def test_beginnings_and_missing_logins() -> None:
    begins = PROTOCOL.begins
    assert begins is not None
    assert [begins(LOGIN[:n], "tcp") for n in (0, 1, 3, 10, 11)] == [None, None, None, None, True]
    assert begins(b"\2", "tcp") is False
    assert begins(LOGIN[:10] + b"\0", "tcp") is False
    assert PROTOCOL.missing_login(LOGIN) == b""
    assert PROTOCOL.missing_login(DATA) == d.login(TID)
    assert PROTOCOL.missing_login(packet(1, data(1))) == d.login(1)
    assert PROTOCOL.missing_login(b"junk") == b""
    frame = Frame(data(1), 1, 0, RECORDS)
    assert PROTOCOL.on_wire(frame) == packet(1, data(1))


def test_the_short_way_to_an_answer_says_what_the_long_one_does() -> None:
    chance = random.Random(3)
    for _ in range(200):
        pid, number, rpid, confirmed = (chance.choice([0, 1, 0xFFFF, chance.randrange(0x10000)]) for _ in range(4))
        service = chance.choice([wire.TELEDATA, wire.ECALL])
        long = wire.response(pid, number, rpid, wire.OK, [(confirmed, service, wire.OK)])
        assert wire.confirmation(pid, number, rpid, confirmed, service) == long
