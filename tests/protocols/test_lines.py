"""Rounds: what a line's poller hands to the pipeline, and what is read back out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import UnknownProtocolError
from protocols.lines import MAX_ROUND, Reading, RoundSession, Sensor, Status, combined, pack_round
from protocols.records import Close, Frame, Malformed
from protocols.registry import LINES, PROTOCOLS, every, line, protocol
from tests.protocols.line_helpers import PATIENT, measures
from tools.protocols_doc import PAGE, page, vectors

TIME = 1_790_000_000_123_000
GOOD = Reading(Status.GOOD, {"level": 1873.0, "temperature": -12.0})


def one(address: int, *names: str, tells_good: bool = True) -> Sensor:
    return Sensor(address, lambda last: (), names or ("level", "temperature", "code"), tells_good=tells_good)


@pytest.mark.parametrize("name", LINES)
def test_a_round_is_one_record_numbered_by_place(name: str) -> None:
    round_ = pack_round(
        TIME, [one(7), one(3), one(9)], [GOOD, Reading(Status.INVALID, {"code": 6500.0}), Reading(Status.NO_ANSWER)]
    )
    session = protocol(name).new_session(transport="line")
    (frame,) = session.receive_data(round_, 0.0)
    assert isinstance(frame, Frame)
    decoded = protocol(name).decode([frame])
    assert decoded.batch.time.tolist() == [TIME]
    assert measures(name, [frame]) == [
        {
            "fuel.level.1": 1873, "fuel.temperature.1": -12, "fuel.status.1": 0,
            "fuel.code.2": 6500, "fuel.status.2": 4, "fuel.status.3": 1,
        }
    ]  # fmt: skip
    assert protocol(name).tree(frame)["measures"]["fuel.level.1"] == 1873.0


def test_a_line_s_records_have_one_layout_whatever_fails() -> None:
    sensors = [one(1), one(2)]
    rounds = [
        pack_round(TIME, sensors, readings)
        for readings in ([GOOD, GOOD], [GOOD, Reading(Status.CHECKSUM)], [Reading(Status.NO_ANSWER)] * 2)
    ]
    decoded = protocol("lls").decode([Frame(round_) for round_ in rounds])
    assert len(decoded.batch.groups) == 1
    assert len(set(decoded.batch.fingerprint.tolist())) == 3


def test_a_meter_without_a_level_tells_its_status_when_it_is_not_good() -> None:
    meter = one(1, "flow", tells_good=False)
    good = Frame(pack_round(TIME, [meter], [Reading(Status.GOOD, {"flow": 1.5})]))
    bad = Frame(pack_round(TIME, [meter], [Reading(Status.REFUSED)]))
    assert measures("modbus-fuel", [good, bad]) == [{"fuel.flow.1": 1.5}, {"fuel.status.1": 3}]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "structure"),
        (b"[]", "structure"),
        (b'{"time":1}', "structure"),
        (b'{"time":null,"measures":{}}', "time"),
        (b'{"time":-1,"measures":{}}', "time"),
        (b'{"time":9000000000000000000,"measures":{}}', "time"),
        (b'{"time":1,"measures":{"fuel.level.1":"x"}}', "structure"),
        (b'{"time":1,"measures":{"fuel.level.1":1e999}}', "structure"),
        (b'{"time":1,"measures":{"ignition":1}}', "value"),
        (b"\xff", "structure"),
        (b"[" * 5000, "structure"),
        (b'{"time":1,"measures":{%s}}' % b",".join(b'"fuel.l.%d":1' % n for n in range(600)), "count"),
    ],
)
def test_what_is_no_round_goes_to_quarantine(data: bytes, reason: str) -> None:
    good = Frame(pack_round(TIME, [one(1)], [GOOD]))
    decoded = protocol("lls").decode([good, Frame(data), good])
    assert decoded.batch.frame.tolist() == [0, 2]
    assert [(bad.frame, bad.reason) for bad in decoded.quarantined] == [(1, reason)]
    protocol("lls").tree(Frame(data))


@PATIENT
@given(st.binary(max_size=200))
def test_any_bytes_are_a_round_or_not(data: bytes) -> None:
    decoded = protocol("lls").decode([Frame(data)])
    assert len(decoded.batch) + len(decoded.quarantined) == 1


def test_a_session_of_rounds_promises_nothing() -> None:
    session = RoundSession()
    assert session.acknowledge(Frame(b"")) == session.ask_version() == b""
    assert [type(event) for event in session.refuse()] == [Close]
    assert [type(event) for event in session.receive_data(bytes(MAX_ROUND + 1), 0.0)] == [Malformed]
    assert session.run(b"x") is None
    assert list(session.accept(0.0)) == list(session.end_of_stream()) == []


@pytest.mark.parametrize(
    ("readings", "status", "names"),
    [
        ([GOOD, Reading(Status.GOOD, {"flow": 1.0})], Status.GOOD, {"level", "temperature", "flow"}),
        ([GOOD, Reading(Status.CHECKSUM)], Status.CHECKSUM, {"temperature"}),
        ([Reading(Status.INVALID, {"code": 1.0})], Status.INVALID, {"code"}),
    ],
)
def test_several_answers_are_one_reading(readings: list[Reading], status: Status, names: set[str]) -> None:
    found = combined(readings)
    assert (found.status, set(found.values)) == (status, names)


def test_lines_stand_apart_from_what_is_listened_for() -> None:
    assert not set(LINES) & set(PROTOCOLS)
    assert (*PROTOCOLS, *LINES) == every()
    for name in LINES:
        assert line(name).name == protocol(name).name == name
        assert protocol(name).transports == ("line",)
    with pytest.raises(UnknownProtocolError, match="lls, modbus-fuel"):
        line("teltonika")


@pytest.mark.parametrize("name", LINES)
def test_every_packet_has_a_source_and_is_on_the_page(name: str) -> None:
    packets = vectors(name)
    assert len({packet.name for packet in packets}) == len(packets) >= 5
    for packet in packets:
        assert ", " in packet.source, packet.name
        assert packet.source.rpartition(", ")[0] in page()
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.protocols_doc"
