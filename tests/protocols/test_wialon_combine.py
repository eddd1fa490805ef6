"""Wialon Combine: what is answered to what, damage, values of each kind and type; the declaration as oracle."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from bench.samples import wire_frames
from gateway.simulator.truth import Truth
from protocols.records import VALID, Close, Declining, Frame, Login, Malformed, Message, Reply
from protocols.terminals import TerminalSpec
from protocols.wialon_combine import PROTOCOL, wire
from protocols.wialon_combine import declaration as d
from protocols.wialon_combine.decoder import decode
from protocols.wialon_combine.measures import NAMES
from protocols.wialon_combine.session import CombineSession
from protocols.wialon_combine.terminal import CombineTerminal
from tests.protocols.helpers import CUTS, feed, of_kind, rows
from tests.protocols.wialon_combine_vectors import ALIVE, BAD_ACK, DATA, DATA_ACK, LOGIN, LOGIN_ACK

IMEI = "862531045219738"
PLACE = {"lat": 51_000_000, "lon": 39_000_000, "speed": 5, "course": 9, "height": -7, "satellites": 6, "hdop": 120}


def data(*messages: bytes, number: int = 7) -> bytes:
    return wire.packet(wire.DATA, number, b"".join(messages))


def listed(*items: tuple[int, int, Any], kind: int = 0) -> bytes:
    return d.message(1_700_000_000, [d.listed(kind, items)])


def session() -> CombineSession:
    found = CombineSession()
    feed(found, LOGIN, close=False)
    return found


def read(packet: bytes) -> list[dict[str, Any]]:
    found = decode([Frame(packet)])
    assert not found.quarantined
    return rows(found.batch)


@pytest.mark.parametrize("step", CUTS)
def test_a_connection_to_the_letter(step: int) -> None:
    found = CombineSession()
    events = feed(found, LOGIN + DATA + ALIVE, step)
    frame = Frame(DATA, 2, len(LOGIN))
    assert events == [Login(IMEI), Reply(LOGIN_ACK), frame, Reply(wire.answer(0, 3))]
    assert found.acknowledge(frame) == DATA_ACK
    assert found.acknowledge(frame) == b"", "once"


def test_the_worked_messages_value_by_value() -> None:
    first, second = read(DATA)
    assert (first["lat"], first["lon"], first["altitude"], first["speed"]) == (51.661504, 39.200287, 157, 57)
    assert (first["course"], first["satellites"], first["time"]) == (214, 14, 1_742_545_200_000_000)
    assert first["measures"] == {
        "hdop": 0.9, "inputs": 5, "outputs": 1, "param.2": 2317, "param.3": -6, "param.200": 138.7,
        "param.7": "KIT-2.14",
    }  # fmt: skip
    assert (second["lat"], second["lon"], second["flags"] & VALID) == (-33.905217, -18.421904, VALID)
    assert second["measures"] == {
        "hdop": 1.3, "cell.mcc.1": 250, "cell.mnc.1": 2, "cell.lac.1": 7731, "cell.id.1": 41220, "cell.level.1": 63,
        "cell.advance.1": 0,
    }  # fmt: skip


# -- sessions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", CUTS)
def test_a_checksum_that_fails_is_answered_4_and_the_connection_goes_on(step: int) -> None:
    for at in (9, 30, len(DATA) - 1):
        spoilt = bytearray(DATA)
        spoilt[4] = 4
        spoilt[at] ^= 0x10
        events = feed(session(), bytes(spoilt) + DATA, step)
        assert events == [Malformed("checksum", len(LOGIN)), Reply(BAD_ACK), Frame(DATA, 2, len(LOGIN + DATA))]


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [(b"$%", "structure"), (b"$$\x03\0\1\0\0", "structure"), (b"\0", "structure"),
     (b"$$\x01\0\1\xff\xff\xff\xff", "length")],
)  # fmt: skip
def test_where_no_packet_begins_the_connection_ends(spoilt: bytes, reason: str) -> None:
    for step in CUTS:
        events = feed(session(), DATA + spoilt + DATA, step)
        assert of_kind(events, Malformed) == [Malformed(reason, len(LOGIN + DATA))]
        assert [type(event) for event in events] == [Frame, Malformed, Close]


def test_data_before_the_login_and_another_terminals_login_end_it() -> None:
    assert [type(event) for event in feed(CombineSession(), DATA)] == [Malformed, Reply, Close]
    again = feed(session(), LOGIN, close=False)
    assert again == [Reply(LOGIN_ACK)]
    other = feed(session(), d.login("5", 9))
    assert [type(event) for event in other] == [Malformed, Reply, Close]
    assert other[1] == Reply(wire.answer(wire.DENIED, 9))
    refused = CombineSession()
    refused.receive_data(LOGIN, 0.0)
    assert next(iter(refused.refuse())) == Reply(wire.answer(wire.DENIED, 1))


@pytest.mark.parametrize(
    ("content", "name", "password"),
    [(b"\1\x10\x12\x34", str(0x1234), None), (b"\1\x20\0\0\0\7", "7", None), (b"\1\x30" + b"\0" * 7 + b"\5", "5", None),
     (b"\x80\1\x44ab\0secret\0", "ab", "secret"), (b"\1\x41ab\0\0\7", "ab", "7")],
)  # fmt: skip
def test_identities_and_passwords_of_each_type(content: bytes, name: str, password: str | None) -> None:
    (login, _) = feed(CombineSession(), wire.packet(wire.LOGIN, 1, content), close=False)
    assert login == Login(name, password=password)
    assert "secret" not in repr(login)


@pytest.mark.parametrize("content", [b"", b"\1", b"\1\x50a\0", b"\1\0", b"\1\x40abc", b"\1\x40\0", b"\1\x40a\0x",
                                     b"\1\x40\xff\0", b"\1\x40" + b"a" * 65 + b"\0", b"\1\x20\0\0"])  # fmt: skip
def test_a_login_that_is_none_is_refused(content: bytes) -> None:
    events = feed(CombineSession(), wire.packet(wire.LOGIN, 1, content))
    assert [type(event) for event in events] == [Malformed, Reply, Close]
    assert events[0] == Malformed("login", 0)


def test_a_cut_is_told_at_every_byte_and_zeros_at_once() -> None:
    for size in range(1, len(DATA)):
        assert feed(session(), DATA[:size]) == [Malformed("truncated", len(LOGIN))], size
    assert [type(event) for event in feed(session(), bytes(65536), 4096)] == [Malformed, Close]
    small = CombineSession(max_frame=60)
    feed(small, LOGIN, close=False)
    assert of_kind(feed(small, DATA), Malformed) == [Malformed("length", len(LOGIN))]


def test_nothing_kept_is_said_so_of_all_that_is_unanswered() -> None:
    found = session()
    assert isinstance(found, Declining)
    frames = of_kind(feed(found, data(number=1) + DATA, close=False), Frame)
    assert found.decline() == wire.answer(3, 1) + wire.answer(3, 2)
    assert [found.acknowledge(frame) for frame in frames] == [b"", b""]


def test_a_datagram_names_its_terminal_first() -> None:
    found = PROTOCOL.new_session(transport="udp")
    assert [type(event) for event in feed(found, LOGIN + DATA)] == [Login, Reply, Frame]


def test_a_command_and_the_message_that_is_taken_for_its_answer() -> None:
    found = session()
    sent = found.encode_command("getver")
    assert sent[:3] == b"@@\xff"
    assert wire.crc16(sent[:-2]) == int.from_bytes(sent[-2:], "big")
    assert sent[5:-2] == bytes(4) + b"\0getver\n"
    told = data(d.message(1, [wire.put(wire.MESSAGE, 1) + b"1.0.4\0"]))
    message, frame = feed(found, told + told, close=False)[:2]
    assert message == Message(b"1.0.4", "1.0.4", "message", len(LOGIN))
    assert (message.answer, found.acknowledge(message)) == (True, b"")  # type: ignore[union-attr,arg-type]
    assert isinstance(frame, Frame)
    assert not of_kind(feed(found, told, close=False), Message), "one answer to one command"
    assert CombineSession().encode_command("getver") == b""


def test_how_many_messages_a_packet_holds() -> None:
    for messages in (1, 2, 50):
        (frame,) = feed(session(), data(*[listed((1, 1, n)) for n in range(messages)]), close=False)
        assert frame.records == messages  # type: ignore[union-attr]
    packets = data(listed((1, 1, 0)), listed((1, 1, 0))), data(listed((1, 3, 0), (2, 10, "ab")))
    assert len({len(packet) for packet in packets}) == 1
    for packet, messages in zip(packets * 2, (2, 1) * 2, strict=True):
        (frame,) = feed(session(), packet, close=False)
        assert frame.records == messages, "packets of one size are not alike for that"  # type: ignore[union-attr]
    (frame,) = feed(session(), data(listed((1, 1, 0)), listed((1, 2, 0)), listed()), close=False)
    assert frame.records == 3  # type: ignore[union-attr]


# -- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [(0, 255, 255), (1, 65535, 65535), (2, 1 << 31, 1 << 31), (3, (1 << 63) + 1, (1 << 63) + 1), (4, -128, -128),
     (5, -(1 << 31), -(1 << 31)), (6, -32768, -32768), (7, -(1 << 62) - 1, -(1 << 62) - 1), (8, 0.5, 0.5),
     (9, 1e-300, 1e-300), (10, "a b", "a b"), (1 | 2 << 5, 1387, 13.87), (6 | 7 << 5, -5, -5e-7)],
)  # fmt: skip
def test_values_of_each_type(kind: int, value: Any, want: Any) -> None:
    (row,) = read(data(listed((200, kind, value), (2, 0, 1))))
    assert row["measures"] == {"param.200": want, "param.2": 1}


@pytest.mark.parametrize("kind", [5, 6, 7, 8, 9, 10])
def test_lists_of_each_kind(kind: int) -> None:
    (row,) = read(data(listed((1, 1, 9), (2, 1, 8), kind=kind)))
    assert row["measures"] == {f"{NAMES[kind]}.1": 9, f"{NAMES[kind]}.2": 8}


def test_what_comes_twice_is_kept_twice() -> None:
    (row,) = read(data(listed((1, 0, 9), (1, 0, 8))))
    assert row["measures"] == {"param.1": 9, "io.1.2": "08"}


@pytest.mark.parametrize(("change", "valid"), [({}, True), ({"lat": 90_000_001}, False), ({"lon": -180_000_001}, False),
                                               ({"lat": 0, "lon": 0, "satellites": 0}, False),
                                               ({"lat": 0, "lon": 0}, True)])  # fmt: skip
def test_a_place_that_is_none_costs_the_place_alone(change: dict[str, int], valid: bool) -> None:
    (row,) = read(data(d.message(5, [d.position(**{**PLACE, **change})])))
    assert (row["lat"] is not None, bool(row["flags"] & VALID)) == (valid, valid)
    assert (row["altitude"], row["speed"], row["course"], row["measures"]) == (-7, 5, 9, {"hdop": 1.2})


@pytest.mark.parametrize(
    ("tail", "reason"),
    [(b"\x0b", "unsupported"), (b"\x03\1\0\5\1a\0", "unsupported"), (b"\0\1\1\x0b\0", "unsupported"),
     (b"\0\1\1\x0aabc", "length"), (b"\0\2\1\0\7", "length"), (b"\1" + bytes(16), "length"), (b"\x0cabc", "length"),
     (b"", "length")],
)  # fmt: skip
def test_what_cannot_be_read_is_kept_and_what_came_before_it_is_read(tail: bytes, reason: str) -> None:
    good = listed((1, 0, 9))
    begun = (1_700_000_000).to_bytes(4, "big") + b"\2" + d.listed(0, [(2, 0, 8)]) + tail
    found = decode([Frame(data(good, begun)), Frame(data(good))])
    assert [(one.frame, one.reason, one.data) for one in found.quarantined] == [(0, reason, tail)]
    told = [(row["frame"], row["measures"]) for row in rows(found.batch)]
    assert told == [(0, {"param.1": 9}), (0, {"param.2": 8}), (1, {"param.1": 9})]
    assert PROTOCOL.member(tail, 0) == {"bytes": tail.hex()}


def test_a_message_of_nothing_is_a_record_with_its_time() -> None:
    (row,) = read(data(d.message(77, [])))
    assert (row["time"], row["measures"]) == (77_000_000, {})
    assert [one.reason for one in decode([Frame(data())]).quarantined] == ["length"]


# -- against the declaration --------------------------------------------------------------------------------------


def oracle(packet: bytes) -> list[dict[str, Any]]:
    """What a packet says, through the declaration."""
    told = []
    for message in d.parse(packet)["messages"]:
        row: dict[str, Any] = {"time": message.time * 1_000_000, "lat": None, "measures": {}}
        for part in message.subrecords:
            if part.kind == wire.POSITION:
                row["lat"], row["lon"] = part.body.lat / 1e6, part.body.lon / 1e6
                row["measures"]["hdop"] = part.body.hdop / 100
            elif part.kind == wire.IO:
                row["measures"] |= {"inputs": part.body[0], "outputs": part.body[1]}
            elif part.kind == wire.MESSAGE:
                row["measures"]["message"] = part.body
            else:
                for item in part.body["items"]:
                    value = item.value / 10 ** (item.type >> 5) if item.type >> 5 else item.value
                    row["measures"][f"{NAMES[part.kind]}.{item.number}"] = value
        told.append(row)
    return told


def random_packet(dice: random.Random) -> bytes:
    messages = []
    for _ in range(dice.randrange(1, 6)):
        parts = [
            d.position(**{**PLACE, "lat": dice.randrange(-90_000_000, 90_000_001)}),
            wire.put(wire.IO, 1) + dice.randbytes(8),
            d.listed(0, [(n, kind, value) for n, kind, value in (
                (dice.randrange(1, 90), 1 | dice.choice((0, 32)), dice.randrange(65536)),
                (dice.randrange(100, 300), 5, dice.randrange(-(1 << 31), 1 << 31)),
                (dice.randrange(300, 400), 10, dice.choice(("on", "off", "auto"))))]),
            d.listed(5, [(n, 1, dice.randrange(4096)) for n in range(1, dice.randrange(1, 5))]),
            wire.put(wire.MESSAGE, 1) + dice.choice((b"yes\0", b"no\0")),
        ]  # fmt: skip
        messages.append(d.message(dice.randrange(1, 1 << 32), dice.sample(parts, dice.randrange(1, 6))))
    return data(*messages)


def test_random_packets_say_what_the_declaration_says() -> None:
    dice = random.Random(8)
    packets = [random_packet(dice) for _ in range(150)]
    for some in (packets, *[[packet] for packet in packets[:40]]):
        found = decode([Frame(packet) for packet in some])
        assert not found.quarantined
        wanted = [row for packet in some for row in oracle(packet)]
        for row, want in zip(rows(found.batch), wanted, strict=True):
            assert (row["time"], row["measures"]) == (want["time"], want["measures"])
            assert row["lat"] == want["lat"]


def test_any_bytes_are_a_record_or_quarantine() -> None:
    dice = random.Random(2)
    for _ in range(300):
        spoilt = bytearray(random_packet(dice))
        for _ in range(dice.randrange(1, 4)):
            spoilt[dice.randrange(7, len(spoilt))] ^= 1 << dice.randrange(8)
        decode([Frame(bytes(spoilt)), Frame(dice.randbytes(dice.randrange(40)))])
        events = feed(session(), bytes(spoilt))
        assert not of_kind(events, Frame), "its checksum is wrong"


def test_a_text_is_a_part_of_its_layout() -> None:
    """Its end tells where the rest lies: one that ends earlier is not read as one that does not."""
    one = data(listed((1, 10, "abc"), (2, 10, "x")))
    other = data(listed((1, 10, "a"), (2, 10, "xyz")))
    told = [row["measures"] for packet in (one, other, one) for row in read(packet)]
    assert told == [{"param.1": "abc", "param.2": "x"}, {"param.1": "a", "param.2": "xyz"}, told[0]]
    found = decode([Frame(one.replace(b"abc\0", b"a\0c\0"))])
    assert [bad.reason for bad in found.quarantined] == ["length"]
    assert rows(found.batch)[0]["measures"] == {"param.1": "a", "param.99": 2}


# -- the registry's ends ------------------------------------------------------------------------------------------


def test_beginnings_and_missing_logins() -> None:
    begins = PROTOCOL.begins
    assert begins is not None
    assert [begins(LOGIN[:n], "tcp") for n in range(4)] == [None, None, None, True]
    assert begins(b"$$\x03", "tcp") is begins(b"$%", "tcp") is False
    assert PROTOCOL.missing_login(LOGIN) == b""
    assert PROTOCOL.missing_login(DATA) == PROTOCOL.missing_login(ALIVE) == d.login("0", 0)


def test_the_terminals_side() -> None:
    login, frames = wire_frames("wialon-combine", 2)
    found = CombineSession()
    feed(found, login, close=False)
    assert [frame.records for frame in of_kind(feed(found, b"".join(frames)), Frame)] == [20, 20]
    spec = TerminalSpec(0, "wialon-combine", CombineTerminal.identity(1), "protocol:wialon-combine", "town")
    terminal = CombineTerminal(spec, Truth())
    terminal.connect(0.0)
    terminal.receive(wire.answer(0, 0), 0.0)
    assert terminal.ready
    terminal.receive(wire.answer(0, 9), 0.0)
    assert terminal.wants_close


def test_extensible_integers() -> None:
    for value, size in ((0, 1), (127, 1), (128, 1), (32767, 1), (32767, 2), (32768, 2), ((1 << 31) - 1, 2)):
        built = wire.put(value, size)
        assert wire.ext(built, 0, size) == (value, len(built))
    assert np.diff([len(wire.put(value, 1)) for value in (127, 128)]).tolist() == [1]
    with pytest.raises(IndexError):
        wire.ext(b"\x80", 0, 1)
