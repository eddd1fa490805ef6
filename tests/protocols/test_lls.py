"""LLS: packets of makers' documents, damage of every kind, and answers that are not the one that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.lines import Reading, Status
from protocols.lls import declaration as lls
from protocols.lls.exchange import Ask, AskSettings, AskText, sensor
from protocols.records import Frame, Malformed, Message
from protocols.registry import line, protocol
from tests.protocols.line_helpers import PATIENT, events, heard, measures, units
from tests.protocols.lls_vectors import A1, ASK_5, L2, L5, L10, L11, VECTORS

GOOD = Reading(Status.GOOD, {"level": 1873.0, "temperature": -12.0, "frequency": 2412.0})
NO_ANSWER, CHECKSUM = Reading(Status.NO_ANSWER), Reading(Status.CHECKSUM)

addresses = st.integers(1, 254)
answers = st.builds(
    lambda address, temperature, level, frequency: lls.packet(
        lls.ANSWER, address, lls.READ, lls.answer_data(temperature, level, frequency)
    ),
    addresses, st.integers(-127, 127), st.integers(0, 65535), st.integers(0, 65535),
)  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_makers_packets_are_whole_and_no_byte_of_them_may_change(vector) -> None:
    wire = vector.wire
    if wire == A1:
        return
    assert lls.whole(wire) == len(wire)
    assert lls.crc(wire) == 0
    for at in range(len(wire)):
        for bit in range(8):
            broken = wire[:at] + bytes((wire[at] ^ 1 << bit,)) + wire[at + 1 :]
            assert lls.whole(broken) != len(wire), (at, bit)


def test_the_checksum_is_the_catalogue_s() -> None:
    assert lls.crc(b"123456789") == 0xA1


@pytest.mark.parametrize("step", [0, 1, 2, 7])
def test_a_recorded_line_is_read_however_it_was_cut(step: int) -> None:
    wire = b"".join(vector.wire for vector in VECTORS)
    found = events("lls", wire, step)
    assert not [event for event in found if isinstance(event, Malformed)]
    assert len(found) == len(VECTORS)
    assert measures("lls", found) == [
        {"fuel.level.1": 1873, "fuel.temperature.1": -12, "fuel.frequency.1": 2412, "fuel.status.1": 0},
        {"fuel.level.1": 3127, "fuel.temperature.1": 23, "fuel.frequency.1": 3304, "fuel.status.1": 0},
        {"fuel.level.2": 1873, "fuel.temperature.2": -12, "fuel.frequency.2": 2412, "fuel.status.2": 0},
    ]  # a line of text names no address: it counts as another sensor


def test_words_are_told_as_messages() -> None:
    told = {event.text for event in events("lls", ASK_5 + L10 + L11) if isinstance(event, Message)}
    assert told == {
        "to 5: read",
        "from 5: LLS 30160, LLS 4.2.0.7, levels 0 to 4095",
        "from 5: history, 2 records",
    }


@pytest.mark.parametrize("step", [0, 1])
def test_good_bad_good_gives_two(step: int) -> None:
    bad = L5[:5] + b"\xff" + L5[6:]
    found = events("lls", L2 + bad + L2, step)
    assert [event.offset for event in found if isinstance(event, Frame)] == [0, 18]
    reasons = [event.reason for event in found if isinstance(event, Malformed)]
    assert reasons[0] == "checksum"
    assert len(reasons) == 1


def test_a_cut_answer_is_truncated() -> None:
    found = events("lls", L2[:6])
    assert [event.reason for event in found if isinstance(event, Malformed)][:1] == ["truncated"]


@PATIENT
@given(st.lists(st.one_of(answers, st.binary(max_size=12)), max_size=8), st.integers(1, 30))
def test_any_bytes_are_events_and_their_cut_does_not_matter(parts: list[bytes], step: int) -> None:
    wire = b"".join(parts)
    whole, cut = events("lls", wire), events("lls", wire, step)
    assert [e for e in whole if isinstance(e, Frame)] == [e for e in cut if isinstance(e, Frame)]
    protocol("lls").decode([event for event in whole if isinstance(event, Frame)])


@PATIENT
@given(st.lists(st.builds(Frame, st.binary(max_size=80), variant=st.integers(0, 300)), max_size=5))
def test_the_decoder_takes_any_frame(frames: list[Frame]) -> None:
    decoded = protocol("lls").decode(frames)
    assert len(decoded.batch) + len(decoded.quarantined) == len(frames)
    for frame in frames:
        protocol("lls").tree(frame)


# -- an exchange ----------------------------------------------------------------------------------------------------


def test_an_answer_is_read_and_its_temperature_may_be_below_zero() -> None:
    ask = Ask(5)
    assert ask.request == ASK_5
    assert heard(ask, L2) == GOOD


@pytest.mark.parametrize("step", [1, 2, 5])
def test_an_answer_in_pieces(step: int) -> None:
    assert heard(Ask(5), *(L2[at : at + step] for at in range(0, len(L2), step))) == GOOD


@pytest.mark.parametrize(
    ("before", "name"),
    [
        (ASK_5, "our own request, that the adapter echoes"),
        (lls.packet(lls.ANSWER, 4, lls.READ, lls.answer_data(1, 2, 3)), "a late answer of another"),
        (lls.packet(lls.ANSWER, 5, lls.SETTINGS, bytes(40)), "a late answer to another question"),
        (b"\x3e\x05", "the head of a cut answer"),
        (b"\x3e\x05\x0f\xff\xff", "a head that promises a history"),
        (b"\x3e\x05\x0f\x1e\x00", "a head that promises a history that may be"),
        (b"\x00\xff\x31\x31\x3e\x3e", "noise with prefixes in it"),
        (L2[:-1] + b"\x00", "an answer with a wrong checksum"),
        (L2[1:], "an answer that lost its first byte"),
    ],
)
def test_what_comes_before_the_answer_is_passed_over(before: bytes, name: str) -> None:
    assert heard(Ask(5), before + L2) == GOOD
    assert heard(Ask(5), before, L2) == GOOD
    assert heard(Ask(5), *(bytes((byte,)) for byte in before + L2)) == GOOD


@pytest.mark.parametrize(
    ("wire", "reading"),
    [
        (b"", NO_ANSWER),
        (ASK_5, NO_ANSWER),
        (L2[:8], NO_ANSWER),
        (lls.packet(lls.ANSWER, 4, lls.READ, lls.answer_data(1, 2, 3)), NO_ANSWER),
        (L2[:-1] + b"\x00", CHECKSUM),
        (b"\x3f" + L2[1:], CHECKSUM),
        (lls.packet(lls.ANSWER, 5, lls.PERIODIC, b"\x00"), NO_ANSWER),
    ],
)
def test_what_is_no_answer(wire: bytes, reading: Reading) -> None:
    assert heard(Ask(5), wire) == reading


def test_output_that_a_sensor_sends_by_itself_answers_too() -> None:
    assert heard(Ask(5), L5).values["level"] == 3127


@pytest.mark.parametrize(("level", "top"), [(4096, 4095), (6500, 4095), (7000, 4095), (65535, 4095), (1024, 1023)])
def test_a_level_above_the_sensor_s_own_highest_is_a_code(level: int, top: int) -> None:
    wire = lls.packet(lls.ANSWER, 5, lls.READ, lls.answer_data(20, level, 100))
    reading = heard(Ask(5, top=top), wire)
    assert reading == Reading(Status.INVALID, {"code": float(level), "temperature": 20.0, "frequency": 100.0})


def test_the_highest_level_is_learned_from_the_settings() -> None:
    one = sensor(5)
    wire = lls.packet(lls.ANSWER, 5, lls.READ, lls.answer_data(20, 2000, 100))
    (ask,) = one.exchanges(False)
    assert heard(ask, wire).status is Status.GOOD
    settings = lls.read_settings(L10[3:-1])
    narrow = lls.Settings(settings.name, settings.software, 0, 0, 0, 0, 1023, 0, 0)
    learning = one.learn()
    assert learning is not None
    assert heard(learning, lls.packet(lls.ANSWER, 5, lls.SETTINGS, lls.settings_data(narrow))).status is Status.GOOD
    (ask,) = one.exchanges(False)
    assert heard(ask, wire) == Reading(Status.INVALID, {"code": 2000.0, "temperature": 20.0, "frequency": 100.0})


def test_no_temperature_is_none() -> None:
    wire = lls.packet(lls.ANSWER, 5, lls.READ, lls.answer_data(-128, 10, 100))
    assert "temperature" not in heard(Ask(5), wire).values


def test_settings_are_told() -> None:
    ask = AskSettings(5)
    assert heard(ask, L10).status is Status.GOOD
    settings = ask.settings()
    assert settings is not None
    assert (settings.name, settings.software, settings.highest, settings.empty, settings.full) == (
        "LLS 30160", "LLS 4.2.0.7", 4095, 66120, 81975,
    )  # fmt: skip


def test_a_sensor_that_refuses_is_not_asked_again() -> None:
    reading = heard(Ask(5, lls.PERIODIC), lls.packet(lls.ANSWER, 5, lls.PERIODIC, b"\x01"))
    assert (reading.status, reading.final) == (Status.REFUSED, True)


# -- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [A1, A1.lower().replace(b"f=", b"F=").replace(b"n=", b"N="), b"F=96C  t=F4   N=751\n"])
def test_a_line_of_text_answers_where_nobody_else_is_on_the_line(line: bytes) -> None:
    assert heard(AskText(1), line) == GOOD
    assert heard(Ask(1, text=True), line[:7], line[7:]) == GOOD
    assert heard(Ask(1), line).status is not Status.GOOD
    assert AskText(1).request == b"DO"


@pytest.mark.parametrize("line", [b"F=096C t=F4\r\n", b"F=096C t=F4 N=07G1.0\r\n", b"F=096C t=F4 N=0751.0" + b" " * 20])
def test_a_line_that_is_none(line: bytes) -> None:
    assert heard(AskText(1), line).status is not Status.GOOD


def test_only_a_lone_sensor_is_asked_in_letters_and_last() -> None:
    lone, one_of_many = sensor(1, alone=True), sensor(1)
    assert [ask.request for ask in lone.exchanges(True)] == [b"DO"]
    assert [ask.request for ask in lone.exchanges(False)] == [b"\x31\x01\x06\x6c"]
    assert [ask.request for ask in one_of_many.exchanges(True)] == [b"\x31\x01\x06\x6c"]


# -- hostile --------------------------------------------------------------------------------------------------------


@PATIENT
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_an_exchange_takes_any_bytes_and_keeps_few(pieces: list[bytes]) -> None:
    ask = Ask(5, text=True)
    for piece in pieces:
        ask.receive_data(piece)
        assert len(ask._buffer) <= 1024
    ask.missing()


@PATIENT
@given(answers, st.sets(st.integers(0, 71), min_size=1, max_size=3))
def test_up_to_three_bits_are_never_taken_for_a_reading(answer: bytes, bits: set[int]) -> None:
    out = bytearray(answer)
    for bit in bits:
        out[bit // 8] ^= 1 << bit % 8
    reading = heard(Ask(answer[1]), bytes(out))
    assert reading.status in (Status.NO_ANSWER, Status.CHECKSUM)


noise = st.binary(max_size=20) | st.lists(
    st.sampled_from([b"F", b" ", b"F=09", b">", b"1", b"\r", b"\xff"]), max_size=5
).map(b"".join)


@PATIENT
@given(answers, noise, st.binary(max_size=4), st.booleans(), st.integers(1, 12))
@example(L2, b"F", b"", True, 12)
@example(L2, b" ", b"", True, 1)
@example(L2, b"F=09", b"", True, 3)
def test_an_answer_is_found_in_noise(answer: bytes, before: bytes, after: bytes, text: bool, step: int) -> None:
    """Also where letters are understood, and the noise is one; unless it is a packet by its checksum's chance."""
    wire = before + answer + after
    if any(lls.whole(wire[at:]) > 0 for at in range(len(before))):
        return
    for cut in (len(wire), step):
        ask = Ask(answer[1], text=text)
        assert heard(ask, *(wire[at : at + cut] for at in range(0, len(wire), cut))).status in (
            Status.GOOD,
            Status.INVALID,
        )


@PATIENT
@given(st.integers(-127, 127), st.integers(0, 4095), st.integers(0, 0xFFFF), noise, st.integers(1, 9))
def test_a_line_of_text_is_found_in_noise(
    temperature: int, level: int, frequency: int, before: bytes, step: int
) -> None:
    """A line has no checksum: it is read where it stands whole, behind whatever came before."""
    line = lls.text_line(temperature, level, frequency)
    wire = before + line
    if any(lls.whole(wire[at:]) > 0 for at in range(len(wire))) or b"\n" in before or before[-1:] in (b" ", b"\r"):
        return
    values = {"level": float(level), "temperature": float(temperature), "frequency": float(frequency)}
    for cut in (len(wire), step):
        reading = heard(AskText(1), *(wire[at : at + cut] for at in range(0, len(wire), cut)))
        assert reading == Reading(Status.GOOD, values)


def test_the_line_s_declaration() -> None:
    told = line("lls")
    assert (told.addresses[0], told.addresses[-1]) == (1, 254)
    assert told.answers_within == 0.1


# -- bytes by name --------------------------------------------------------------------------------------------------


def test_every_byte_of_the_worked_packets_has_a_name() -> None:
    for vector in VECTORS:
        assert not [span for unit in units("lls", vector.wire) for span in unit.spans if span.name == "remainder"]


@PATIENT
@given(st.lists(st.one_of(st.sampled_from([v.wire for v in VECTORS]), st.binary(max_size=12)), max_size=6))
def test_every_byte_of_anything_has_a_name(parts: list[bytes]) -> None:
    units("lls", b"".join(parts))
