"""H02 and TK103: worked packets, messages cut and damaged, sessions, fields that cannot be, commands."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import h02, tk103
from protocols.h02 import declaration as h02_wire
from protocols.records import (
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
    Reply,
)
from protocols.selfnamed import MAX_MESSAGE, Splitter
from protocols.tk103 import declaration as tk103_wire
from tests.protocols import h02_vectors as h
from tests.protocols import helpers
from tests.protocols import tk103_vectors as t
from tests.protocols.examples import examples, some
from tests.protocols.helpers import CUTS, of_kind, rows

PROTOCOLS: dict[str, tuple[Any, bytes, str]] = {
    "h02": (h02.PROTOCOL, h.V1, h.ID),
    "tk103": (tk103.PROTOCOL, t.LOGIN, t.ID),
}
each = pytest.mark.parametrize("name", PROTOCOLS)
NOON = 1_773_489_600  # 2026-03-14T12:00:00Z


def feed(*given: Any, **options: Any) -> list[Any]:
    """Events whose kinds the tests know."""
    return list(helpers.feed(*given, **options))


def read(name: str, *messages: bytes) -> list[dict[str, Any]]:
    decoded = PROTOCOLS[name][0].decode([Frame(data) for data in messages])
    assert decoded.quarantined == []
    return rows(decoded.batch)


def reason(name: str, message: bytes) -> str:
    """Why a message is kept raw."""
    decoded = PROTOCOLS[name][0].decode([Frame(message)])
    assert len(decoded.batch) == 0
    (bad,) = decoded.quarantined
    assert bad.data is None
    return bad.reason


def place(name: str, n: int, terminal: str = "") -> bytes:
    told: dict[str, Any] = {"time": NOON + n, "lat": 55.75, "lon": -37.5}
    if name == "h02":
        return h02_wire.place(terminal or h.ID, **told)
    return tk103_wire.place(terminal or t.ID, **told, command="BP05")


# -- worked packets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", CUTS)
def test_h02_session(step: int) -> None:
    session = h02.PROTOCOL.new_session()
    stream = h.V1 + b"\r\n" + h.V6 + h.SHORT + h.LINK + h.NBR
    events = feed(session, stream, step, now=NOON)
    assert events[0] == Login(h.ID)
    frames = of_kind(events, Frame)
    assert [frame.data for frame in frames] == [h.V1, h.V6, h.SHORT]
    assert [session.acknowledge(frame) for frame in frames] == [h.V1_ACK, h.V1_ACK.replace(b"V1", b"V6"), b""]
    assert of_kind(events, Reply) == [Reply(b"*HQ,8168000417,V4,LINK,20260314120000#")]
    (cells,) = of_kind(events, Message)
    assert (cells.kind, session.acknowledge(cells)) == ("NBR", b"")


@pytest.mark.parametrize("step", CUTS)
def test_tk103_session(step: int) -> None:
    session = tk103.PROTOCOL.new_session()
    events = feed(session, t.HANDSHAKE + t.LOGIN + b"\r\n" + t.PLACE + t.ALARM + t.ANSWER, step)
    assert events[0] == Login(t.ID)
    frames = of_kind(events, Frame)
    assert [frame.data for frame in frames] == [t.LOGIN, t.PLACE, t.ALARM]
    assert [session.acknowledge(frame) for frame in frames] == [t.LOGIN_ACK, b"", b""]
    assert not of_kind(events, Identified), "its id once more, no IMEI"
    told = feed(session, t.LOGIN.replace(b"000088048003342", b"356938035643809"))
    assert of_kind(told, Identified) == [Identified(imei="356938035643809")]
    assert of_kind(events, Reply) == [Reply(t.HANDSHAKE_ACK)]
    (answer,) = of_kind(events, Message)
    assert answer.answer is None  # nobody asked


def test_h02_value_by_value() -> None:
    text, card, binary = read("h02", h.V1, h.V6, h.SHORT)
    whole = {
        "frame": 0, "position": 0, "time": 1_773_480_413_000_000, "lat": pytest.approx(55 + 45.1207 / 60),
        "lon": pytest.approx(37 + 37.0526 / 60), "altitude": None, "speed": pytest.approx(32.94 * 1.852),
        "course": 274, "satellites": -1, "flags": VALID | MOVING | IGNITION_KNOWN,
        "measures": {
            "ignition": 0, "status.word": 0xFFFFFBFF, "gsm.operator": 25001, "gsm.area": 8092, "gsm.cell": 42194,
        },
    }  # fmt: skip
    assert text == whole
    assert (card["lat"], card["flags"], card["course"]) == (None, IGNITION_KNOWN | IGNITION_ON, 0)
    assert card["measures"]["sim.iccid"] == "89701017034562198421"
    assert binary == whole | {
        "frame": 2, "speed": pytest.approx(32 * 1.852),
        "measures": {"ignition": 0, "status.word": 0xFFFFFBFF, "battery.level": 100},
    }  # fmt: skip
    large = h.SHORT[:29] + bytes.fromhex("0000170b00024384") + bytes.fromhex("00fa011f9ca4d201")
    assert len(large) == 45
    assert read("h02", large)[0]["measures"] | binary["measures"] == binary["measures"] | {
        "odometer": 0x24384 * 1000, "gsm.operator": 25001, "gsm.area": 0x1F9C, "gsm.cell": 0xA4D2,
    }  # fmt: skip
    (south,) = read("h02", h.SHORT[:21] + b"\x62" + h.SHORT[22:])
    assert (south["lat"], south["lon"]) == (-binary["lat"], -binary["lon"])
    (west,) = read("h02", h.SHORT[:21] + b"\x66" + h.SHORT[22:])
    assert (west["lat"], west["lon"]) == (binary["lat"], -binary["lon"])
    (more,) = read("h02", h.V1[:-1] + b",1,25.5,abc#")
    assert more["measures"]["rest"] == "1,25.5,abc"
    (long,) = read("h02", h.V1.partition(b",250")[0] + b",148404,-7,45.50,168,1F9C,A4D2#")
    assert (long["altitude"], long["measures"]) == (168, {
        "ignition": 0, "status.word": 0xFFFFFBFF, "odometer": 148_404, "temperature.1": -7, "fuel.level.1": 45.5,
        "gsm.area": 8092, "gsm.cell": 42194,
    })  # fmt: skip
    (old,) = read("h02", h.V1.partition(b",250")[0] + b"#")
    assert old["measures"] == {"ignition": 0, "status.word": 0xFFFFFBFF}


def test_tk103_value_by_value() -> None:
    login, old, alarm = read("tk103", t.LOGIN, t.PLACE, t.ALARM)
    assert login == {
        "frame": 0, "position": 0, "time": 1_773_480_413_000_000, "lat": pytest.approx(55 + 45.1207 / 60),
        "lon": pytest.approx(37 + 37.0526 / 60), "altitude": None, "speed": pytest.approx(32.9), "course": 274,
        "satellites": -1, "flags": VALID | MOVING | IGNITION_KNOWN,
        "measures": {"charge": 0, "ignition": 0, "inputs": 0, "fuel.level.1": 0, "odometer": 148_404},
    }  # fmt: skip
    assert (old["lat"], old["flags"]) == (None, IGNITION_KNOWN | IGNITION_ON)
    assert old["measures"]["fuel.level.1"] == 0x764
    assert alarm["measures"]["event"] == 2
    assert alarm["flags"] == login["flags"] | EVENT
    (south,) = read("tk103", t.LOGIN.replace(b"N037", b"S037").replace(b"E032", b"W032"))
    assert (south["lat"], south["lon"]) == (-login["lat"], -login["lon"])
    (bare,) = read("tk103", t.LOGIN.partition(b"00000000L")[0] + b"x)")
    assert bare["measures"] == {"rest": "x"}


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("h02", b"140326", b"310226", "time"), ("h02", b"092653", b"249999", "time"),
        ("h02", b"5545.1207", b"5560.0000", "place"), ("h02", b"5545.1207", b"9100.0000", "place"),
        ("h02", b"03737.0526", b"18100.0000", "place"), ("h02", b",274,", b",361,", "course"),
        ("h02", b",A,", b",Q,", "structure"), ("h02", b",N,", b",E,", "structure"),
        ("tk103", b"260314", b"261314", "time"), ("tk103", b"5545.1207", b"5561.0000", "place"),
        ("tk103", b"274.00", b"361.00", "course"), ("tk103", b"A5545", b"Q5545", "structure"),
    ],
)  # fmt: skip
def test_fields_that_cannot_be(name: str, old: bytes, new: bytes, why: str) -> None:
    assert reason(name, PROTOCOLS[name][1].replace(old, new, 1)) == why


def test_binary_fields_that_cannot_be() -> None:
    assert reason("h02", h.SHORT[:7] + b"\x7a" + h.SHORT[8:]) == "structure"
    assert reason("h02", h.SHORT[:9] + b"\x40" + h.SHORT[10:]) == "time"
    assert reason("h02", h.SHORT[:20]) == "length"


def test_a_message_that_cannot_be_decoded_is_answered_by_our_time() -> None:
    session = h02.PROTOCOL.new_session()
    (frame,) = of_kind(feed(session, h.V1.replace(b",A,", b",Q,"), now=NOON), Frame)
    assert session.acknowledge(frame) == b"*HQ,8168000417,V4,V1,20260314120000#"


# -- messages in a stream ----------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("step", CUTS)
@pytest.mark.parametrize(
    ("damage", "why"),
    [("noise", "structure"), ("cut", "truncated"), ("long", "length"), ("nobody", "structure")],
)
def test_good_bad_good(name: str, step: int, damage: str, why: str) -> None:
    one, two = place(name, 1), place(name, 2)
    end = one[-1:]
    bad = {
        "noise": b"noise",
        "cut": one[: len(one) // 2],
        "long": one[:-1] + b"0" * MAX_MESSAGE + end,
        "nobody": one[:1] + b"HQ;" + end,
    }[damage]
    events = feed(PROTOCOLS[name][0].new_session(), one + bad + two, step)
    assert [(event.reason, event.offset) for event in of_kind(events, Malformed)] == [(why, len(one))]
    assert [frame.data for frame in of_kind(events, Frame)] == [one, two]


@each
def test_a_cut_message_is_truncated_at_every_byte(name: str) -> None:
    protocol, message, _ = PROTOCOLS[name]
    for cut in range(1, len(message)):
        (event,) = feed(protocol.new_session(), message[:cut])
        assert (event.reason, event.offset) == ("truncated", 0)


def test_binary_messages_of_both_lengths() -> None:
    large = h.SHORT[:29] + bytes.fromhex("0000170b0002438400fa011f9ca4d201")
    for step in (1, 7, 1000):
        events = feed(h02.PROTOCOL.new_session(), h.SHORT + h.SHORT + h.V1 + h.SHORT, step)
        assert [len(frame.data) for frame in of_kind(events, Frame)] == [32, 32, len(h.V1), 32]
        assert of_kind(events, Malformed) == []
    events = feed(h02.PROTOCOL.new_session(), large + large + h.V1 + large, 1000)
    assert [len(frame.data) for frame in of_kind(events, Frame)] == [45, 45, len(h.V1), 45]


@each
def test_64_kib_of_nothing(name: str) -> None:
    for noise in (b"\0", b"A", b"*", b"(", b"\xff"):
        session = PROTOCOLS[name][0].new_session()
        events: list[Any] = [event for _ in range(16) for event in session.receive_data(noise * 4096, 0.0)]
        assert of_kind(events, Frame) == []
        assert len(events) <= 20
        assert len(session._splitter) <= MAX_MESSAGE + 4096


@each
def test_nothing_but_damage_is_closed(name: str) -> None:
    protocol, message, _ = PROTOCOLS[name]
    events = feed(protocol.new_session(), (message[:1] + b"?" + message[-1:]) * 100)
    assert [type(event) for event in events] == [Malformed] * 16 + [Close]


@each
def test_another_terminal_on_the_connection_ends_it(name: str) -> None:
    other = "8168000418" if name == "h02" else "088048003343"
    events = feed(PROTOCOLS[name][0].new_session(), place(name, 1) + place(name, 2, other))
    assert [type(event) for event in events] == [Login, Frame, Malformed, Close]
    assert events[2].reason == "login"


@each
def test_a_login_waits_and_may_be_refused(name: str) -> None:
    protocol = PROTOCOLS[name][0]
    session = protocol.new_session()
    assert [type(event) for event in session.receive_data(place(name, 1) + place(name, 2), 0.0)] == [Login]
    assert session.receive_data(place(name, 3), 0.0) == []
    assert len(session.accept(0.0)) == 3
    session = protocol.new_session()
    session.receive_data(place(name, 1), 0.0)
    assert [type(event) for event in session.refuse()] == [Close]
    session = protocol.new_session()
    session.receive_data(place(name, 1), 0.0)
    told = [event for _ in range(30) for event in session.receive_data(bytes(4096), 0.0)]
    assert [type(event) for event in told] == [Malformed, Close]


@each
def test_datagrams(name: str) -> None:
    protocol = PROTOCOLS[name][0]
    session = protocol.new_session(transport="udp")
    events = feed(session, place(name, 1) + place(name, 2))
    assert [type(event) for event in events] == [Login, Frame, Frame]
    assert session.acknowledge(events[1])
    assert session.encode_command("AR00") == b""


@examples(300)
@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 9))
def test_a_splitter_loses_no_byte_of_a_message(pieces: list[bytes], step: int) -> None:
    stream = b"".join(b"(" + piece.replace(b"(", b"").replace(b")", b"") + b")" for piece in pieces)
    splitter = Splitter(b"(", b")", 100)
    found = []
    for at in range(0, len(stream), step):
        splitter.feed(stream[at : at + step])
        while (piece := splitter.next()) is not None:
            found.append(piece)
    assert b"".join(piece.data for piece in found) == stream
    assert [piece.reason for piece in found] == [""] * len(pieces)


@each
def test_mutated_messages_never_raise(name: str) -> None:
    protocol, message, _ = PROTOCOLS[name]
    dice = random.Random(12)
    base = [message, h.SHORT] if name == "h02" else [message, t.ALARM]
    for _ in range(some(3000)):
        data = bytearray(dice.choice(base))
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.choice((dice.randrange(256), 0x30 + dice.randrange(10)))
        decoded = protocol.decode([Frame(bytes(data))])
        assert len(decoded.batch) + len(decoded.quarantined) == 1
        protocol.tree(Frame(bytes(data)))
        feed(protocol.new_session(), bytes(data) + message)
        assert sum(unit.size for unit in protocol.anatomy(bytes(data))) == len(data)


# -- commands, builders, beginnings ------------------------------------------------------------------------------------


def test_h02_commands() -> None:
    session = h02.PROTOCOL.new_session()
    assert session.encode_command("D1,5,1") == b""  # before the login
    feed(session, h.V1, now=NOON, close=False)
    assert session.encode_command("D1,5,1") == b"*HQ,8168000417,D1,120000,5,1#"
    other = h02_wire.word(h.ID, "V4", "S17", "OK")
    told = of_kind(feed(session, other + h.RECEIPT + h.RECEIPT, close=False), Message)
    assert [message.answer for message in told] == [None, True, None]
    problem = h02.PROTOCOL.command_problem
    assert problem is not None
    assert [bool(problem(text)) for text in ("D1,5,1", "R7", "d1", "D1#", "", "D1 5")] == [False] * 2 + [True] * 4


def test_tk103_commands() -> None:
    session = tk103.PROTOCOL.new_session()
    feed(session, t.LOGIN, close=False)
    assert session.encode_command("AR010005") == b"(088048003342AR010005)"
    (message,) = of_kind(feed(session, t.ANSWER, close=False), Message)
    assert message.answer is True
    session.encode_command("AP05")
    frame, message = feed(session, t.LOGIN, close=False)
    assert isinstance(frame, Frame)
    assert message.answer is True
    problem = tk103.PROTOCOL.command_problem
    assert problem is not None
    assert [bool(problem(text)) for text in ("AR01", "AR010005", "BR01", "A", "AR01)", "")] == [False] * 2 + [True] * 4


@examples(200)
@given(
    st.floats(-89.9, 89.9), st.floats(-179.9, 179.9), st.integers(0, 250), st.integers(0, 359), st.booleans(),
    st.integers(0, 4095),
)  # fmt: skip
def test_what_is_built_is_read(lat: float, lon: float, speed: int, course: int, fixed: bool, fuel: int) -> None:
    told: dict[str, Any] = {"time": NOON, "lat": lat, "lon": lon, "course": course, "fixed": fixed}
    (one,) = read("h02", h02_wire.place(h.ID, **told, knots=speed))
    (other,) = read("tk103", tk103_wire.place(t.ID, **told, speed=speed, fuel=fuel, imei="000088048003342"))
    assert one["speed"] == pytest.approx(speed * 1.852, rel=1e-6)
    assert (other["speed"], other["measures"]["fuel.level.1"]) == (speed, fuel)
    for row in (one, other):
        assert (row["time"], row["course"]) == (NOON * 1_000_000, course)
        assert row["lat"] == (pytest.approx(lat, abs=1e-6) if fixed else None)
        assert row["lon"] == (pytest.approx(lon, abs=1e-6) if fixed else None)


@each
def test_beginnings(name: str) -> None:
    protocol, message, _ = PROTOCOLS[name]
    assert protocol.begins is not None
    for cut in range(len(message)):
        assert protocol.begins(message[:cut], "tcp") in ((None, True) if cut < 20 else (True,)), cut
    assert protocol.begins(b"", "tcp") is None
    for data in (b"\0", b"xx", message[:1] + b"?", b"~"):
        assert protocol.begins(data, "tcp") is False
    assert h02.PROTOCOL.begins is not None
    assert h02.PROTOCOL.begins(h.SHORT, "tcp") is None  # others begin with $ too
    assert h02.PROTOCOL.begins(b"$" + b"\xff" * 20, "tcp") is False
    combine = bytes.fromhex("24240000000012014038363235333130")  # digits, but no day has that number
    assert h02.PROTOCOL.begins(combine, "tcp") is False


@each
def test_text_is_told_from_answers_in_a_log(name: str) -> None:
    protocol = PROTOCOLS[name][0]
    sent, said = (h.V1, h.V1_ACK) if name == "h02" else (t.LOGIN, t.LOGIN_ACK)
    assert protocol.packet_text is not None
    assert protocol.answer_text is not None
    assert protocol.packet_text.search(f"10:00 {sent.decode()}")
    assert not protocol.packet_text.search(said.decode())
    assert protocol.answer_text.search(said.decode())


def places(name: str, count: int) -> list[bytes]:
    """Messages of one size, of the terminal of `PROTOCOLS`."""
    terminal = PROTOCOLS[name][2]
    if name == "h02":
        return [h02_wire.place(terminal, time=NOON + n, lat=55.7, lon=-37.6 - n / 9, course=n) for n in range(count)]
    return [
        tk103_wire.place(terminal, time=NOON + n, lat=-5.7, lon=37.6, speed=n, command="BP05") for n in range(count)
    ]


@each
def test_messages_of_one_size_in_a_read_are_a_run(name: str) -> None:
    protocol, first, _ = PROTOCOLS[name]
    usual, exact = protocol.new_session(), protocol.new_session()
    for session in (usual, exact):
        session.receive_data(first, 0.0)
        session.accept(0.0)
    messages = places(name, 7)
    run = usual.run(b"".join(messages))
    assert run is not None
    frames = of_kind(exact.receive_data(b"".join(messages), 0.0), Frame)
    assert run.singles() == frames
    assert rows(protocol.decode([run]).batch) == rows(protocol.decode(frames).batch)
    answers = [exact.acknowledge(frame) for frame in frames]
    assert all(answers)
    assert usual.acknowledge(run) == b"".join(answers)
    one = messages[0]
    foreign = one.replace(PROTOCOLS[name][2].encode(), b"9" * len(PROTOCOLS[name][2]))
    word = one[:1] + b"x" * (len(one) - 2) + one[-1:]
    for data in (one[:-1], one + one[:-1], one + foreign, one + word, one[1:] + one[:1], one + b"\r\n", b""):
        assert usual.run(data) is None, data
    usual.receive_data(one[:9], 0.0)
    assert usual.run(one) is None, "there is the begin of another message"


@each
def test_what_cannot_be_is_kept_in_its_place_among_many(name: str) -> None:
    protocol = PROTOCOLS[name][0]
    messages = places(name, 9)
    day, year = (b"140326", b"260314")
    wrong = {
        2: messages[2].replace(day, b"310226").replace(year, b"260231"),  # no such day
        5: messages[5][:40] + messages[5][-1:],  # no such message
        7: messages[7].replace(b"3741", b"3761").replace(b"03736.0", b"03760.0").replace(b"03822", b"03862"),  # minutes
    }
    for place, message in wrong.items():
        assert message != messages[place]
        messages[place] = message
    decoded = protocol.decode([Frame(message) for message in messages])
    alone = [protocol.decode([Frame(message)]) for message in messages]
    assert [one.frame for one in decoded.quarantined] == [2, 5, 7]
    assert [one.reason for one in decoded.quarantined] == [alone[n].quarantined[0].reason for n in (2, 5, 7)]
    told = rows(decoded.batch)
    assert [row["frame"] for row in told] == [0, 1, 3, 4, 6, 8]
    assert told == [{**rows(alone[n].batch)[0], "frame": n} for n in (0, 1, 3, 4, 6, 8)]


@pytest.mark.parametrize("first", [t.LOGIN, t.PLACE, t.PLACE[:-1] + b"xyz)"])
def test_tk103_messages_that_look_alike_are_read_as_each_alone(first: bytes) -> None:
    """Every byte changed in turn: some are still places, some alarms, some nothing."""
    messages = [first] * 20
    for at in range(1, len(first) - 1):
        messages += [first[:at] + bytes((other,)) + first[at + 1 :] for other in b"0269AVSWf.(" if other != first[at]]
    decoded = tk103.PROTOCOL.decode([Frame(message) for message in messages])
    told = {row["frame"]: row for row in rows(decoded.batch)}
    bad = {one.frame: one.reason for one in decoded.quarantined}
    prints = dict(zip(decoded.batch.frame.tolist(), decoded.batch.fingerprint.tolist(), strict=True))
    assert len(told) > 100
    assert len(bad) > 100
    for place, message in enumerate(messages):
        alone = tk103.PROTOCOL.decode([Frame(message)])
        found = [{**row, "frame": place} for row in rows(alone.batch)]
        assert ([told[place]] if place in told else []) == found, message
        assert ([bad[place]] if place in bad else []) == [one.reason for one in alone.quarantined], message
        assert ([prints[place]] if place in told else []) == alone.batch.fingerprint.tolist()


@pytest.mark.parametrize("first", [t.LOGIN, t.PLACE])
def test_tk103_runs_hold_records_only(first: bytes) -> None:
    """A read of two messages, the second changed at every byte: a run, or none, as its messages one by one."""
    imei = b"(088048003342BP05356307042441013260314A5545.1207N03737.0526E032.9092653274.0000000000L000243B4)"
    changed = [first[:at] + other + first[at + 1 :] for at in range(1, len(first) - 1) for other in (b"7", b"A", b"x")]
    for second in [*changed, imei, first]:
        usual, exact = tk103.PROTOCOL.new_session(), tk103.PROTOCOL.new_session()
        for session in (usual, exact):
            session.receive_data(t.HANDSHAKE, 0.0)
            session.accept(0.0)
        assert usual.run(first) is not None
        exact.receive_data(first, 0.0)
        run, events = usual.run(first + second), exact.receive_data(first + second, 0.0)
        if run is not None:
            assert run.singles() == events, second
        else:
            assert [type(event) for event in events] != [Frame, Frame], second
    nameless = t.LOGIN.replace(b"BP05000088048003342", b"BP05")
    named = imei.split(b"274")[0] + b"274z)"
    named = named[:-1] + b"z" * (len(nameless) - len(named)) + b")"
    session = tk103.PROTOCOL.new_session()
    session.receive_data(t.HANDSHAKE, 0.0)
    session.accept(0.0)
    assert session.run(nameless) is not None
    assert session.run(named) is None, "it tells an IMEI"
    asking = tk103.PROTOCOL.new_session()
    asking.receive_data(t.HANDSHAKE, 0.0)
    asking.accept(0.0)
    assert asking.run(t.PLACE) is not None
    asking.encode_command("AR00")
    assert asking.run(t.PLACE) is None, "it answers the command"
