"""The terminals' side without sockets: layouts against the declaration, and every wrong word of a server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.run import make_terminal
from gateway.simulator.scenario import Scenario, parse_scenario
from gateway.simulator.truth import Truth
from protocols.omnicomm.framing import server_frame
from protocols.teltonika import declaration as wire
from protocols.teltonika import terminal as teltonika
from protocols.terminals import BLACK_BOX, Reading, Terminal
from protocols.wialon_ips import packets

NOW = 1_795_000_000.0


def terminal(name: str, *, window: int = 1, records: int = 3, transport: str = "tcp") -> tuple[Terminal, Truth]:
    """A logged-in terminal with `records` recorded while it was off line."""
    scenario = Scenario(seed=1, terminals=1, mix={name: 1}, window=window, transport=transport)  # type: ignore[arg-type]
    (spec,) = make_fleet(scenario)
    truth = Truth(keep_records=True)
    made = make_terminal(spec, truth, "312", scenario)
    vehicle = Vehicle(spec, scenario)
    for _ in range(records):
        made.record(vehicle.read(vehicle.due, int(NOW * 1000)))
    made.connect(NOW)
    assert made.data_to_send(NOW)
    return made, truth


LOGIN = {
    "teltonika": b"\x01",
    "omnicomm": server_frame(0x85, bytes(4)),
    "wialon-ips": b"#AL#1\r\n",
}


def logged_in(name: str, **more: int) -> tuple[Terminal, Truth]:
    made, truth = terminal(name, **more)
    made.receive(LOGIN[name], NOW)
    assert made.ready
    assert made.data_to_send(NOW)
    assert made.awaiting == 1
    return made, truth


def ack(name: str, made: Terminal) -> bytes:
    packet = made._in_flight[0]
    if name == "teltonika":
        return len(packet.records).to_bytes(4, "big")
    if name == "omnicomm":
        return server_frame(0x87, packet.number.to_bytes(4, "little"))
    return b"#AB#%d\r\n" % len(packet.records)


def declared_record(reading: Reading) -> Any:
    """The reading as the declaration takes it."""
    values = teltonika._values(reading)
    return wire.avl_record(
        timestamp=reading.time,
        latitude=reading.lat,
        longitude=reading.lon,
        altitude=reading.altitude,
        angle=reading.course,
        satellites=reading.satellites,
        speed=reading.speed,
        priority=int(reading.changed),
        event=teltonika.IGNITION_EVENT if reading.changed else 0,
        items=[
            (identifier, values[identifier].to_bytes(size, "big", signed=signed))
            for group in teltonika._groups(len(reading.fuel))
            for identifier, size, signed in group
        ],
    )


@pytest.mark.parametrize("codec", [wire.CODEC_8, wire.CODEC_8E])
def test_fast_teltonika_records_equal_the_declaration(codec: int) -> None:
    scenario = Scenario(seed=6, terminals=20, mix={"teltonika": 1})
    tanks = set()
    for spec in make_fleet(scenario):
        vehicle = Vehicle(spec, scenario)
        made = [vehicle.read(vehicle.due, int(NOW * 1000)) for _ in range(12)]
        tanks.add(len(made[0].fuel))
        declared = wire.avl_payload(codec, [declared_record(r) for r in made])
        assert teltonika.payload(codec, made) == declared
    assert tanks == {1, 2}


@pytest.mark.parametrize("name", LOGIN)
@pytest.mark.parametrize("step", [1, 3, 4096])
def test_the_right_ack_erases_however_it_was_cut(name: str, step: int) -> None:
    made, truth = logged_in(name)
    reply = ack(name, made)
    for at in range(0, len(reply), step):
        made.receive(reply[at : at + step], NOW + 0.5)
    assert truth.violations == []
    assert not made.wants_close
    assert made.pending == 0
    assert [record.acked for record in truth.records] == [True] * 3
    assert truth.latency_ms(0.5) == 500


@pytest.mark.parametrize("name", LOGIN)
def test_what_was_not_acknowledged_goes_out_again(name: str) -> None:
    made, truth = logged_in(name)
    made.disconnected()
    assert made.pending == 3
    made.connect(NOW + 1)
    made.data_to_send(NOW + 1)
    made.receive(LOGIN[name], NOW + 1)
    assert made.data_to_send(NOW + 1)
    assert truth.total("frames_resent") == 1
    made.receive(ack(name, made), NOW + 1)
    assert truth.violations == []
    assert truth.total("records_acked") == truth.total("records_sent") == 3
    assert {record.sends for record in truth.records} == {2}


WRONG = {
    "teltonika": [
        (2).to_bytes(4, "big"),  # another count
        (4).to_bytes(4, "big"),
        (3).to_bytes(4, "big") * 2,  # twice
        wire.command("getver"),  # before the first ack
        bytes(8),
        b"\x00\x00\x00\x00\xff\xff\xff\xff",
        wire.tcp_frame(b"\x0c\x01\x06" + bytes(8)),
    ],
    "omnicomm": [
        server_frame(0x87, (999).to_bytes(4, "little")),
        server_frame(0x87, (1001).to_bytes(4, "little")),
        server_frame(0x87, (1000).to_bytes(4, "little")) * 2,
        server_frame(0x94, bytes(4)),  # not asked for, or absurd
        server_frame(0x85, (5000).to_bytes(4, "little")),  # skips what was never acknowledged
        server_frame(0xA0, (1000).to_bytes(4, "little")),
        b"\xc0\x87\x04\x00\x00\x00\x00\x00\x00\x00",
        b"OK\r\n\xc0",
    ],
    "wialon-ips": [
        b"#AB#2\r\n",
        b"#AB#4\r\n",
        b"#AB#\r\n",
        b"#AD#1\r\n",
        b"#ASD#1\r\n",
        b"#AB#3\r\n#AB#3\r\n",
        b"#AL#1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"#M#no checksum\r\n",
    ],
}


@pytest.mark.parametrize(("name", "reply"), [(name, reply) for name, replies in WRONG.items() for reply in replies])
def test_a_wrong_word_is_a_violation(name: str, reply: bytes) -> None:
    made, truth = logged_in(name)
    made.receive(reply, NOW)
    assert truth.violation_count == 1
    assert made.wants_close
    assert truth.violations[0].terminal == made.spec.identity
    twice = reply == ack_twice(name)
    assert truth.total("records_acked") == (3 if twice else 0)


def ack_twice(name: str) -> bytes:
    made, _ = logged_in(name)
    return ack(name, made) * 2


@pytest.mark.parametrize(("name", "word"), [("teltonika", b"\x00"), ("wialon-ips", b"#AL#0\r\n")])
def test_a_refused_login_is_counted_and_hangs_up(name: str, word: bytes) -> None:
    made, truth = terminal(name)
    made.receive(word, NOW)
    assert truth.total("logins_refused") == 1
    assert made.wants_close
    assert truth.violations == []


def test_getver_is_answered_after_the_first_ack() -> None:
    made, truth = logged_in("teltonika")
    made.receive(ack("teltonika", made) + wire.command("getver"), NOW)
    answer = made.data_to_send(NOW)
    assert b"Ver:312 " in answer
    assert f"Hw:{made.spec.model} ".encode() in answer
    assert f"IMEI:{made.spec.identity} ".encode() in answer
    assert truth.total("commands_answered") == 1


COMMAND = {
    "teltonika": (wire.command("getimei"), wire.RESPONSE),
    "wialon-ips": (packets.driver_message("hi"), b"#AM#1\r\n"),
}


@pytest.mark.parametrize(("answers", "times"), [("at once", 1), ("twice", 2), ("never", 0), ("late", 1)])
@pytest.mark.parametrize("name", COMMAND)
def test_commands_are_answered_at_once_late_never_or_twice(name: str, answers: str, times: int) -> None:
    made, truth = logged_in(name)
    made.answers, made.delay = answers, 5.0
    words, answer = COMMAND[name]
    if isinstance(answer, int):
        answer = wire.command(f"IMEI: {made.spec.identity}", kind=answer)
    made.receive(words, NOW)
    at_once = made.data_to_send(NOW + 4.9)
    assert at_once.count(answer) == (0 if answers == "late" else times)
    assert made.data_to_send(NOW + 5).count(answer) == (1 if answers == "late" else 0)
    assert (truth.total("commands_heard"), truth.total("commands_answered")) == (1, min(times, 1))
    made.receive(words, NOW)
    made.disconnected()
    assert answer not in made.data_to_send(NOW + 10), "that connection is gone"
    assert truth.violations == []


def test_how_a_fleet_answers() -> None:
    shares = parse_scenario('[answers]\nlate = 0.1\nnever = 0.2\ntwice = 0.3\ndelay = "1m"').answers
    told = [shares.of(n) for n in range(1000)]
    assert [told.count(words) for words in ("late", "never", "twice", "at once")] == [100, 200, 300, 400]
    assert shares.delay == 60


def test_omnicomm_ends_its_archive_then_goes_live() -> None:
    made, truth = logged_in("omnicomm")
    made.receive(ack("omnicomm", made), NOW)
    vehicle = Vehicle(made.spec, Scenario())
    made.record(vehicle.read(5000.0, int(NOW * 1000)))
    out = made.data_to_send(NOW)
    assert bytes.fromhex("c08600004566") in out
    assert out.index(bytes.fromhex("c08600004566")) < out.rindex(b"\xc0\x95")
    assert [record.archive for record in truth.records] == [True, True, True, False]


def test_udp_checks_packet_id_number_and_count() -> None:
    made, truth = terminal("teltonika", transport="udp")
    assert made.awaiting == 1
    packet = made._in_flight[0]
    good = b"\x00\x05" + packet.data[2:4] + b"\x01" + bytes([packet.number, 3])
    made.receive(good[:2] + b"\x00\x00" + good[4:], NOW)
    assert (made.pending, truth.total("late_answers")) == (3, 1)
    made.receive(good, NOW)
    assert made.pending == 0


def test_the_black_box_is_bounded_and_loses_the_oldest() -> None:
    made, truth = terminal("teltonika", records=1)
    made.disconnected()
    reading = truth.records[0].reading
    for _ in range(BLACK_BOX + 10):
        made.record(reading)
    assert len(made._box) == BLACK_BOX
    assert truth.total("records_dropped") >= 10


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(LOGIN)), words=st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_of_a_server_raise(name: str, words: list[bytes]) -> None:
    made, truth = logged_in(name)
    for word in words:
        made.receive(word, NOW)
        made.data_to_send(NOW)
    assert truth.total("records_acked") in {0, 3}
