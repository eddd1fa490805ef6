"""Modbus RTU: packets checked with pymodbus, register profiles as data, damage, and answers to another question."""

from __future__ import annotations

import math
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu.decoders import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from protocols.lines import Reading, Status, add_round, combined, pack_round
from protocols.modbus_fuel import LINE, SHIPPED, parse, shipped
from protocols.modbus_fuel import declaration as modbus
from protocols.modbus_fuel.exchange import Ask, reading_of, sensor
from protocols.modbus_fuel.profile import MEASURES, ProfileError, Read, Value, reorder
from protocols.records import BatchBuilder, Frame, Malformed, Message
from protocols.registry import protocol
from tests.protocols.line_helpers import PATIENT, events, heard, measures, units
from tests.protocols.modbus_fuel_vectors import CAP, CAP_ASK, KRAL, KRAL_ASK, PROBE, PROBE_ASK, REFUSED, VECTORS

NO_ANSWER, CHECKSUM = Reading(Status.NO_ANSWER), Reading(Status.CHECKSUM)
CAP_READ = shipped("daviteq-cap10").reads[0]
CAP_VALUES = {"level": 613.0, "undamped": 615.0, "capacitance": 2841.0, "temperature": 21.4, "change": -2.0}
SERVER, CLIENT = FramerRTU(DecodePDU(True)), FramerRTU(DecodePDU(False))


def test_the_checksum_is_the_catalogue_s() -> None:
    assert modbus.crc(b"123456789") == bytes.fromhex("374b")


@pytest.mark.parametrize(
    ("profile", "ask", "answer", "told"),
    [
        (
            "daviteq-cap10", CAP_ASK, CAP,
            {"fuel.level.1": 613, "fuel.undamped.1": 615, "fuel.capacitance.1": 2841, "fuel.temperature.1": 21.4,
             "fuel.change.1": -2, "fuel.status.1": 0},
        ),
        (
            "magnetostrictive", PROBE_ASK, PROBE,
            {"fuel.level.1": 1284.5, "fuel.water.1": 3.25, "fuel.temperature.1": 18.75, "fuel.status.1": 0},
        ),
        (
            "kral-bem100", KRAL_ASK, KRAL,
            {"fuel.alarm.1": 0, "fuel.used.1": 1234.567, "fuel.flow.1": 42.1, "fuel.temperature.1": 31.5,
             "fuel.reversals.1": 0, "fuel.status.1": 0},
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [0, 1, 3])
def test_makers_examples(profile: str, ask: bytes, answer: bytes, told: dict[str, float], step: int) -> None:
    found = events("modbus-fuel", ask + answer, step, profile=shipped(profile))
    assert [type(event) for event in found] == [Message, Frame]
    assert measures("modbus-fuel", found) == [told]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_asked_by_each_shipped_profile(name: str) -> None:
    asks = [Ask(7, read) for read in shipped(name).reads]
    for ask, read in zip(asks, shipped(name).reads, strict=True):
        kind = ReadHoldingRegistersRequest if read.function == 3 else ReadInputRegistersRequest
        pdu = kind(address=read.start, count=read.count, dev_id=7)
        assert ask.request == SERVER.encode(bytes((read.function,)) + pdu.encode(), 7, 0)
    assert [(read.function, read.start, read.count) for read in shipped("kral-bem100").reads] == [(3, 0x14, 12)]
    assert shipped(name).source


def test_a_profile_that_has_no_level_says_good_by_saying_nothing() -> None:
    meter, level = (LINE.sensor(1, False, shipped(name)) for name in ("kral-bem100", "daviteq-cap10"))
    assert not meter.tells_good
    assert level.tells_good
    assert "code" in level.names
    assert "code" not in meter.names


@PATIENT
@given(st.integers(1, 247), st.sampled_from([3, 4]), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125))
def test_answers_are_what_pymodbus_reads(address: int, function: int, registers: list[int]) -> None:
    wire = modbus.answer(address, function, struct.pack(f">{len(registers)}H", *registers))
    used, device, _, pdu = CLIENT.decode(wire)
    assert (used, device) == (len(wire), address)
    assert CLIENT.decoder.decode(pdu).registers == registers
    assert modbus.answer_size(wire) == len(wire)
    assert modbus.good(wire)


# -- an exchange ----------------------------------------------------------------------------------------------------


def test_an_answer_is_read() -> None:
    ask = Ask(30, CAP_READ)
    assert ask.request == CAP_ASK
    assert heard(ask, CAP) == Reading(Status.GOOD, CAP_VALUES)
    assert heard(Ask(30, CAP_READ), *(bytes((byte,)) for byte in CAP)) == Reading(Status.GOOD, CAP_VALUES)


@pytest.mark.parametrize(
    "before",
    [
        CAP_ASK,
        modbus.answer(29, 4, bytes(12)),
        modbus.answer(30, 4, bytes(4)),
        modbus.answer(30, 3, bytes(12)),
        modbus.refusal(29, 4, 2),
        CAP[:-1] + b"\x00",
        CAP[1:],
        CAP[:5],
        b"\x1e\x04\xfa",
        b"\x00\x1e\x1e\x04",
    ],
)
def test_what_comes_before_the_answer_is_passed_over(before: bytes) -> None:
    for pieces in ((before + CAP,), (before, CAP), tuple(bytes((byte,)) for byte in before + CAP)):
        assert heard(Ask(30, CAP_READ), *pieces) == Reading(Status.GOOD, CAP_VALUES)


@pytest.mark.parametrize(
    ("wire", "reading"),
    [
        (b"", NO_ANSWER),
        (CAP_ASK, NO_ANSWER),
        (CAP[:10], NO_ANSWER),
        (modbus.answer(29, 4, bytes(12)), NO_ANSWER),
        (CAP[:-1] + b"\x00", CHECKSUM),
        (modbus.refusal(30, 4, 2), Reading(Status.REFUSED, final=True)),
        (modbus.refusal(30, 4, 6), Reading(Status.REFUSED)),
    ],
)
def test_what_is_no_reading(wire: bytes, reading: Reading) -> None:
    assert heard(Ask(30, CAP_READ), wire) == reading


def test_a_level_out_of_range_has_its_code_and_what_else_is_out_of_range_is_left_out() -> None:
    wire = modbus.answer(30, 4, struct.pack(">4HHh", 1001, 1001, 5, 9999, 0, 0))
    assert heard(Ask(30, CAP_READ), wire) == Reading(
        Status.INVALID, {"code": 1001.0, "capacitance": 5.0, "change": 0.0}
    )


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
def test_no_number_is_no_level(raw: float) -> None:
    read = shipped("magnetostrictive").reads[0]
    wire = modbus.answer(1, 4, struct.pack(">3f", raw, 1.0, 2.0))
    assert heard(Ask(1, read), wire) == Reading(Status.INVALID, {"water": 1.0, "temperature": 2.0})


@PATIENT
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_an_exchange_takes_any_bytes_and_keeps_few(pieces: list[bytes]) -> None:
    ask = Ask(30, CAP_READ)
    for piece in pieces:
        ask.receive_data(piece)
        assert len(ask._buffer) <= 1024
    ask.missing()


@PATIENT
@given(st.binary(max_size=30), st.binary(max_size=4))
def test_an_answer_is_found_in_noise(before: bytes, after: bytes) -> None:
    assert heard(Ask(30, CAP_READ), before + CAP + after).status is Status.GOOD


def test_a_sensor_of_several_reads_is_asked_for_each() -> None:
    asks = sensor(1, False, shipped("contoil-vzd2")).exchanges(False)
    assert [modbus.read_request(ask.request) for ask in asks] == [(1, 3, 70, 2), (1, 3, 78, 2), (1, 3, 100, 1)]
    with pytest.raises(ValueError, match="profile"):
        sensor(1)


# -- a recorded line ------------------------------------------------------------------------------------------------


def test_a_refusal_and_an_answer_that_nobody_asked_for_are_told() -> None:
    assert [event.text for event in events("modbus-fuel", KRAL_ASK + REFUSED + CAP) if isinstance(event, Message)] == [
        "to 5: function 3, 12 registers from 20",
        "from 5: refused: illegal address",
        "from 30: 6 registers that were not asked for",
    ]


def test_good_bad_good_gives_two() -> None:
    bad = CAP[:5] + b"\xff" + CAP[6:]
    found = events("modbus-fuel", CAP_ASK + CAP + CAP_ASK + bad + CAP_ASK + CAP)
    assert len(measures("modbus-fuel", found)) == 2
    assert [event.reason for event in found if isinstance(event, Malformed)] == ["checksum"]


@PATIENT
@given(st.lists(st.one_of(st.sampled_from([v.wire for v in VECTORS]), st.binary(max_size=12)), max_size=6))
def test_any_bytes_are_events(parts: list[bytes]) -> None:
    found = events("modbus-fuel", b"".join(parts))
    protocol("modbus-fuel").decode([event for event in found if isinstance(event, Frame)])


@PATIENT
@given(st.lists(st.builds(Frame, st.binary(max_size=80), variant=st.integers(0, 1 << 20)), max_size=5))
def test_the_decoder_takes_any_frame(frames: list[Frame]) -> None:
    decoded = protocol("modbus-fuel").decode(frames)
    assert len(decoded.batch) + len(decoded.quarantined) == len(frames)
    for frame in frames:
        protocol("modbus-fuel").tree(frame)


# -- profiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["ABCD", "CDAB", "BADC", "DCBA"])
def test_orders_of_bytes(words: str) -> None:
    big = bytes.fromhex("44A09000")  # 1284.5
    sent = {"ABCD": big, "CDAB": big[2:] + big[:2], "BADC": bytes((big[1], big[0], big[3], big[2])), "DCBA": big[::-1]}
    value = Value(measure="level", function=4, start=0, type="f32", words=words)
    assert reorder(sent[words], words) == big
    assert value.read(sent[words]) == (1284.5, True)


@pytest.mark.parametrize(
    ("kind", "raw", "scale", "told"),
    [("i16", b"\xff\x9c", 0.1, -10.0), ("u64", bytes(7) + b"\x07", 1.0, 7.0), ("i32", b"\xff\xff\xff\xff", 2.5, -2.5),
     ("u32", b"\0\0\0\x0d", 0.3, 3.9), ("f64", struct.pack(">d", 2.5), 1.0, 2.5)],
)  # fmt: skip
def test_types_and_scales(kind: str, raw: bytes, scale: float, told: float) -> None:
    value = Value(measure="level", function=4, start=0, type=kind, scale=scale)
    assert value.read(raw)[0] == pytest.approx(told, abs=1e-12)
    assert value.pack(told) == raw


def test_raw_markers_stand_for_none() -> None:
    value = Value(measure="level", function=4, start=0, invalid=(65535, 32768))
    assert value.read(b"\xff\xff") == (65535.0, False)
    assert value.read(b"\x00\x01") == (1.0, True)


def test_registers_that_adjoin_are_read_at_once_and_others_by_themselves() -> None:
    head = 'name = "x"\n'
    values = "".join(
        f'[[value]]\nmeasure = "{name}"\nfunction = {function}\nstart = {start}\n'
        for name, function, start in (("level", 4, 10), ("water", 4, 11), ("temperature", 4, 14), ("flow", 3, 12))
    )
    found = parse(head + values)
    assert [(r.function, r.start, r.count) for r in found.reads] == [(3, 12, 1), (4, 10, 2), (4, 14, 1)]
    (_, near) = parse(head + "gap = 2\n" + values).reads
    assert (near.start, near.count) == (10, 5)
    assert [at for at, _ in near.values] == [0, 2, 8]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name = ", "is not TOML"),
        ('name = "x"', "no register profile"),
        ('name = "x"\nvalue = []', "no register profile"),
        ('name = "x"\nmeasure = 1\n[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0', "unknown field"),
        ('[[value]]\nmeasure = "depth"\nfunction = 4\nstart = 0', "there is no measure 'depth'"),
        ('[[value]]\nmeasure = "level"\nfunction = 6\nstart = 0', "function is 3"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 70000', "no register profile"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 65535\ntype = "u32"', "behind the last"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\ntype = "u8"', "no type 'u8'"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\nwords = "AB"', "no order of bytes"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\nscale = 0', "scale must be"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\nscale = inf', "scale must be"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\nscale = 1e-320', "scale must be from"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\nscale = 9e300', "scale must be from"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\nmost = nan', "must be numbers"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\ninvalid = [inf]', "must be numbers"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\nleast = 5\nmost = 4', "least is above most"),
        (f"gap = {'9' * 5000}", "is not TOML"),
        (f"gap = {10**400}", "no register profile"),
        ('[[value]]\nmeasure = "temperature"\nfunction = 4\nstart = 0\nunit = "°F"', "told in °C, not in °F"),
        ('[[value]]\nmeasure = "level"\nfunction = 4\nstart = 0\n' * 2, "level stands twice"),
    ],
)
def test_a_profile_that_is_none_says_why(text: str, what: str) -> None:
    with pytest.raises(ProfileError, match=what):
        parse(text if text.startswith("name") else f'name = "x"\n{text}')


@PATIENT
@given(st.text(max_size=200))
def test_any_text_is_a_profile_or_says_why(text: str) -> None:
    try:
        parse(text)
    except ProfileError:
        return


VALUES = st.builds(
    Value,
    measure=st.sampled_from(sorted(MEASURES)), function=st.sampled_from([3, 4]), start=st.integers(0, 300),
    type=st.sampled_from(["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]),
    words=st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]),
    scale=st.sampled_from([1.0, 0.1, -0.01, 0.25, 3.0, 2.5, 1e-9, 1e9, 1e8 + 0.5, -7.0]),
    least=st.none() | st.floats(-1e6, 0), most=st.none() | st.floats(0, 1e6),
    invalid=st.lists(st.sampled_from([0.0, 65535.0, -1.0]), max_size=2).map(tuple),
)  # fmt: skip


def as_toml(values: list[Value], gap: int) -> str:
    text = f'name = "any"\ngap = {gap}\n'
    for value in values:
        text += "[[value]]\n" + "".join(
            f"{name} = {list(told) if isinstance(told, tuple) else told!r}\n"
            for name in value.__struct_fields__ if (told := getattr(value, name)) is not None
        )  # fmt: skip
    return text.replace("'", '"')


@PATIENT
@given(
    st.lists(VALUES, min_size=1, max_size=8, unique_by=lambda value: value.measure),
    st.integers(0, 32),
    st.randoms(use_true_random=False),
)
def test_whatever_registers_hold_is_a_number_or_no_good_level(values: list[Value], gap: int, random: Random) -> None:
    """Each value is asked for once, in answers that the protocol has room for; and a round holds what was read."""
    profile = parse(as_toml(values, gap))
    asked = [value for read in profile.reads for _, value in read.values]
    assert sorted(asked, key=repr) == sorted(values, key=repr)
    readings = []
    for read in profile.reads:
        assert 0 < read.count <= 125
        assert all(at >= 0 and at + 2 * value.registers <= 2 * read.count for at, value in read.values)
        registers = random.randbytes(2 * read.count)
        if random.random() < 0.3:
            registers = random.choice([b"\xff", b"\x7f", b"\0", b"\x7f\xef"]) * (2 * read.count)
        readings.append(reading_of(read, registers[: 2 * read.count]))
        for at, value in read.values:
            told, fine = value.read(registers[at : at + 2 * value.registers])
            assert not fine or (math.isfinite(told) and told not in value.invalid)
            if fine and value.type[0] in "ui" and value.registers < 4:
                assert value.pack(told) == reorder(registers[at : at + 2 * value.registers], value.words)
    reading = combined(readings)
    assert all(map(math.isfinite, reading.values.values()))
    assert (reading.status is Status.GOOD) == ("level" in reading.values or not profile.level)
    asked_of = sensor(1, profile=profile)
    builder = BatchBuilder()
    assert add_round(builder, 0, pack_round(1, [asked_of], [reading])) is None
    (group,) = builder.build().groups
    stored = {name: float(told) for name, told in zip(group.names, group.values[0], strict=True) if told == told}
    assert {name: stored.get(f"fuel.{name}.1") for name in reading.values} == dict(reading.values)


def test_what_is_too_large_to_tell_is_no_level() -> None:
    """A round writes numbers as JSON: a level without end would be told as none, and called good."""
    value = Value(measure="level", function=4, start=0, type="f64", scale=1e9)
    (read,) = parse(as_toml([value], 0)).reads
    assert reading_of(read, struct.pack(">d", 1e300)) == Reading(Status.INVALID)
    assert reading_of(read, struct.pack(">d", 1e3)).values == {"level": 1e12}


def test_an_answer_has_room_for_125_registers_however_wide_the_gaps() -> None:
    names = sorted(MEASURES)[:8]
    values = [Value(measure=name, function=4, start=33 * n) for n, name in enumerate(names)]
    reads = parse(as_toml(values, 32)).reads
    assert [(read.start, read.count) for read in reads] == [(0, 100), (132, 100)]


def test_every_measure_of_profiles_is_in_the_dictionary() -> None:
    from protocols.measures import describe

    for name, (unit, _) in MEASURES.items():
        found = describe(f"fuel.{name}.3")
        assert found is not None
        assert found.unit == unit


def test_the_tree_of_an_answer() -> None:
    assert protocol("modbus-fuel").tree(Frame(CAP, variant=1))["registers"] == [613, 615, 2841, 214, 103, 65534]
    assert isinstance(CAP_READ, Read)


# -- bytes by name --------------------------------------------------------------------------------------------------


def test_every_byte_of_the_worked_packets_has_a_name() -> None:
    for vector in VECTORS:
        assert not [
            span for unit in units("modbus-fuel", vector.wire) for span in unit.spans if span.name == "remainder"
        ]


@PATIENT
@given(st.lists(st.one_of(st.sampled_from([v.wire for v in VECTORS]), st.binary(max_size=12)), max_size=6))
def test_every_byte_of_anything_has_a_name(parts: list[bytes]) -> None:
    units("modbus-fuel", b"".join(parts))
