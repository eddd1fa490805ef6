"""The fast decoder reads what the plain parser reads, on every message, however mixed or mutated."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.records import VALID, Batch, BatchBuilder, Frame, Quarantined
from protocols.wialon_ips import PROTOCOL, packets
from protocols.wialon_ips.declaration import FieldError, build_long_message, build_message, read_member, split_frame
from protocols.wialon_ips.decoder import add_reading, decode, parts
from protocols.wialon_ips.tails import TailReader, learn
from protocols.wialon_ips.wire import MAX_MEMBERS, crc16
from tests.protocols.examples import examples
from tests.protocols.rows import rows_of

Outcome = tuple[list[dict[str, Any]], list[tuple[int, str, bytes | None, str]]]


def quarantine_of(found: list[Quarantined]) -> list[tuple[int, str, bytes | None, str]]:
    return [(q.frame, q.reason, q.data, q.code) for q in found]


def plainly(frames: list[Frame]) -> Outcome:
    """What the plain parser says, one message at a time."""
    builder = BatchBuilder()
    wrong: list[Quarantined] = []
    for index, frame in enumerate(frames):
        kind, bodies = split_frame(frame.data, frame.variant)
        if kind not in ("SD", "D", "B") or not bodies or len(bodies) > MAX_MEMBERS:
            wrong.append(Quarantined(index, "structure", None, "-1"))
            continue
        for position, body in enumerate(bodies):
            try:
                reading = read_member(body, {"SD": 10, "D": 16, "B": 0}[kind])
            except FieldError as error:
                wrong.append(Quarantined(index, error.reason, body if kind == "B" else None, error.code))
                continue
            add_reading(builder, reading, body, index, position, archive=kind == "B")
    return rows_of(builder.build()), quarantine_of(wrong)


def assert_same(frames: list[Frame]) -> Batch:
    decoded = decode(frames)
    rows, wrong = plainly(frames)
    assert quarantine_of(decoded.quarantined) == wrong
    found = rows_of(decoded.batch)
    assert found == rows
    names = [group.names for group in decoded.batch.groups]
    assert len(names) == len(set(names))
    assert sorted(row for g in decoded.batch.groups for row in g.rows.tolist()) == list(range(len(found)))
    return decoded.batch


def box(*messages: str, variant: int = 1) -> Frame:
    return Frame(packets.black_box(messages, variant)[:-2], len(messages), 0, variant)


def message(rnd: random.Random, at: int = 1_742_544_937) -> str:
    short = build_message(
        time=at * 1_000_000,
        lat=rnd.uniform(-90, 90),
        lon=rnd.uniform(-180, 180),
        speed=rnd.randrange(120),
        course=rnd.randrange(360),
        altitude=rnd.randrange(-50, 900),
        satellites=rnd.randrange(20),
    )
    return build_long_message(
        short,
        hdop=rnd.choice([0.9, 1.2, None]),
        inputs=rnd.randrange(16),
        outputs=rnd.choice([1, None]),
        adc=[rnd.randrange(1300) / 100, 0.03],
        key=rnd.choice(["0000A1B2C3D4", None]),
        params={"lls1": rnd.randrange(4096), "t": rnd.randrange(-30, 30), "fw": "K-2", "fuel": rnd.random() * 100},
    )


def test_regular_black_boxes_learn_and_stay_equal() -> None:
    rnd = random.Random(1)
    frames = [box(*(message(rnd, 1_742_544_937 + 30 * i) for i in range(20)), variant=2) for _ in range(40)]
    for _ in range(3):  # the second and third time by learnt patterns
        batch = assert_same(frames)
    assert len(batch) == 800


def test_five_thousand_messages_in_one_black_box() -> None:
    rnd = random.Random(2)
    frame = box(*(message(rnd) for _ in range(MAX_MEMBERS)), variant=2)
    assert len(decode([frame]).batch) == MAX_MEMBERS


def test_frames_of_all_kinds_and_versions_in_one_batch() -> None:
    rnd = random.Random(3)
    frames = []
    for index in range(300):
        text = message(rnd)
        short = ";".join(text.split(";")[:10])
        variant = 1 + index % 2
        frames += [
            Frame(packets.long(text, variant)[:-2], 1, 0, variant),
            Frame(packets.short(short, variant)[:-2], 1, 0, variant),
            box(text, short, "broken", short, variant=variant),
            Frame(b"#D#" + short.encode(), 1, 0, 1),
            Frame(b"#X#" + short.encode(), 1, 0, 1),
        ]
    assert_same(frames)


HEAD = "210325;081537;5139.59226;N;03911.84652;E;61;219;158;15"


def measures(tail: str) -> dict[str, Any]:
    """Measures of one long message, read alone and as one of many."""
    text = f"{HEAD};{tail}"
    (row,) = rows_of(assert_same([box(text)]))
    batch = assert_same([box(*[text] * 120)])
    assert len(batch) == 120
    found: dict[str, Any] = row["measures"]
    assert all(other["measures"] == found for other in rows_of(batch))
    return found


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("NA;NA;NA;;NA;NA", {}),
        (";;;;;", {}),
        ("1.0;452986639;NA;NA;NA;", {"hdop": 1.0, "inputs": 452986639}),
        ("NA;NA;NA;1.5,NA,,-2;NA;", {"adc.1": 1.5, "adc.4": -2.0}),
        ("NA;18446744073709551615;9007199254740993;;NA;", {"inputs": 2**64 - 1, "outputs": 2**53 + 1}),
        ("NA;NA;NA;;AB45DF01145;", {"driver.key": "AB45DF01145"}),
        ("NA;NA;NA;;NA;a:1:9007199254740992", {"param.a": 2**53}),
        ("NA;NA;NA;;NA;a:1:9007199254740993", {"param.a": 2**53 + 1}),
        ("NA;NA;NA;;NA;a:1:-9223372036854775808", {"param.a": -(2**63)}),
        ("NA;NA;NA;;NA;a:1:18446744073709551616,b:1:2", {"param.b": 2}),
        ("NA;NA;NA;;NA;a:1:1.5,b:1:x,c:1:,d:1: 1,e:1:1_0,f:1:+7", {"param.f": 7}),
        (
            "NA;NA;NA;;NA;a:2:nan,b:2:inf,c:2:1e400,d:2:1e-3,e:2:.5,f:2:7",
            {"param.d": 0.001, "param.e": 0.5, "param.f": 7},
        ),
        ("NA;NA;NA;;NA;a:3:b:c:d,t:3:", {"param.a": "b:c:d", "param.t": ""}),
        ("NA;NA;NA;;NA;a:4:1,b:1,c,:1:1,d e:1:1,f#:1:1,g:1:1", {"param.g": 1}),
        ("NA;NA;NA;;NA;a:1:1,a:3:x", {"param.a": "x"}),
        (f"NA;NA;NA;;NA;{'n' * 38}:1:1,{'n' * 39}:1:2", {f"param.{'n' * 38}": 1}),
        (f"NA;NA;NA;;NA;a:3:{'x' * 1344},b:3:{'x' * 1345}", {"param.a": "x" * 1344}),
        ("NA;NA;NA;;NA;Батарея:3:100 %", {"param.Батарея": "100 %"}),
        (
            "1;2;3;;k;a:1:1;beyond;the;sixteenth",
            {"hdop": 1, "inputs": 2, "outputs": 3, "driver.key": "k", "param.a": 1},
        ),
    ],
)
def test_measures(tail: str, expected: dict[str, Any]) -> None:
    found = measures(tail)
    assert found == expected
    assert {n: v for n, v in found.items() if isinstance(v, int)} == {
        n: v for n, v in expected.items() if isinstance(v, int) and abs(v) > 2**53
    }


def test_no_more_than_200_parameters_are_kept() -> None:
    found = measures("NA;NA;NA;;NA;" + ",".join(f"p{i}:1:{i}" for i in range(250)))
    assert len(found) == 200
    assert found["param.p199"] == 199


@pytest.mark.parametrize(
    ("lat", "lon", "expected"),
    [
        ("5139.69024;N", "03912.01722;E", (51.661504, 39.200287)),
        ("5139.69024;N", "3912.01722;E", (51.661504, 39.200287)),  # leading zero missing
        ("139.5;S", "12.6;W", (-(1 + 39.5 / 60), -12.6 / 60)),
        ("59;N", "9;E", (59 / 60, 9 / 60)),
        ("5429.681944502211763;N", "02654.60403650999069;E", (54.494699075, 26.910067275)),
        ("9000;N", "18000;E", (90.0, 180.0)),
        ("5959.999999;N", "17959.999999;E", (60 - 1e-6 / 60, 180 - 1e-6 / 60)),
        ("0;S", "0;W", (0.0, 0.0)),
        ("NA;NA", "NA;NA", (None, None)),
        (";", ";", (None, None)),
        ("5139,69024;N", "03912,01722;E", (51.661504, 39.200287)),  # a decimal comma
        ("5560.0000;N", "03759.5;E", (56.0, 37 + 59.5 / 60)),  # 59.999996 rounded up by a formatter
        ("8960.0000;S", "17960;W", (-90.0, -180.0)),
        ("553.498;N", "9;E", (5 + 53.498 / 60, 9 / 60)),
    ],
)
def test_coordinates(lat: str, lon: str, expected: tuple[float | None, float | None]) -> None:
    text = f"210325;081537;{lat};{lon};61;219;158;15"
    for count in (1, 5):
        for row in rows_of(assert_same([box(*[text] * count, HEAD)]))[:count]:
            assert (row["lat"], row["lon"]) == (
                pytest.approx(expected[0], abs=1e-9),
                pytest.approx(expected[1], abs=1e-9),
            )


@pytest.mark.parametrize("lat", ["5560.0001;N", "5561;N", "9060;N", "51,39.5;N", "1,2,3;N"])
def test_minutes_beyond_60_and_odd_commas_are_refused(lat: str) -> None:
    text = f"210325;081537;{lat};03912.01722;E;61;219;158;15"
    (bad,) = decode([box(HEAD, text, HEAD)]).quarantined
    assert (bad.reason, bad.code) == ("coordinates", "10")
    assert_same([box(HEAD, text, HEAD)])


@pytest.mark.parametrize("count", [1, 30])
def test_a_decimal_comma_stands_in_numbers_and_separates_in_the_adc_list(count: int) -> None:
    text = "210325;081537;5139,5;N;03911,5;E;1,6;21,5;-15,25;15;0,9;5;1;12,48;NA;a:2:1,b:3:x"
    for row in rows_of(assert_same([box(*[text] * count)])):
        assert (row["speed"], row["course"], row["altitude"]) == (pytest.approx(1.6), 21.5, -15.25)
        assert row["measures"] == {
            "hdop": 0.9, "inputs": 5, "outputs": 1, "adc.1": 12.0, "adc.2": 48.0, "param.a": 1.0, "param.b": "x",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("place", "satellites", "valid"),
    [("0000.0;N;00000.0;E", "0", False), ("0;S;0;W", "0", False), ("0;N;0;E", "4", True), ("0;N;0;E", "NA", True),
     ("0;N;00001.0;E", "0", True), ("5139.5;N;03911.5;E", "0", True)],
)  # fmt: skip
def test_0_0_with_0_satellites_is_no_position(place: str, satellites: str, valid: bool) -> None:
    text = f"210325;081537;{place};61;219;158;{satellites}"
    for row in rows_of(assert_same([box(*[text] * 3)])):
        assert (row["lat"] is not None, bool(row["flags"] & VALID)) == (valid, valid)
        assert row["speed"] == 61


@pytest.mark.parametrize(
    ("stamp", "time", "digits"),
    [
        ("210325;081537", 1_742_544_937_000_000, 0),
        ("210325;081537.5", 1_742_544_937_500_000, 1),
        ("210325;081537.123", 1_742_544_937_123_000, 3),
        ("210325;081537.123456789", 1_742_544_937_123_456, 6),
        ("290224;000000", 1_709_164_800_000_000, 0),
        ("311299;235959", 4_102_444_799_000_000, 0),
        ("NA;NA", -(2**63), 0),
        ("NA;081537", -(2**63), 0),
        (";", -(2**63), 0),
    ],
)
def test_times(stamp: str, time: int, digits: int) -> None:
    text = stamp + HEAD[13:]
    rows = rows_of(assert_same([box(text, HEAD, text)]))
    assert [(r["time"], r["digits"]) for r in rows] == [(time, digits), (1_742_544_937_000_000, 0), (time, digits)]


def test_a_resend_in_the_black_box_has_the_fingerprint_of_the_first() -> None:
    text = message(random.Random(4))
    live = rows_of(decode([Frame(packets.long(text)[:-2], 1, 0, 2)]).batch)
    late = rows_of(decode([box(text, variant=2)]).batch)
    assert live[0]["fingerprint"] == late[0]["fingerprint"]


def test_a_tree_for_people() -> None:
    frame = box(HEAD, "broken", f"{HEAD};1;2;3;;NA;a:1:1", variant=2)
    shown = PROTOCOL.tree(frame)
    assert shown["type"] == "B"
    assert shown["checksum"] == f"{crc16(frame.data[3:-4]):04X}"
    assert shown["messages"][0]["time"] == "2025-03-21T08:15:37+00:00"
    assert shown["messages"][1] == {"error": "structure", "code": "-1", "text": "broken"}
    assert shown["messages"][2]["measures"] == {"hdop": 1.0, "inputs": 2, "outputs": 3, "param.a": 1}


def test_what_is_learnt_is_bounded() -> None:
    reader = TailReader()
    for number in range(1500):
        name = "".join(chr(103 + int(digit)) for digit in str(number))
        tails = [f"1;2;3;;NA;{name}:1:{i}" for i in range(50)]
        groups, _, failed = reader.read(tails, np.arange(50))
        assert not failed
        assert groups[0].names == ("hdop", "inputs", "outputs", f"param.{name}")
    assert len(reader._patterns) <= 1024
    assert len(reader._seen) <= 1024


def test_patterns_are_learnt_from_regular_tails_only() -> None:
    assert learn("1;2;3;4,5;NA;a:1:1,b:3:x") is not None
    for tail in ("1;2;3", "x;2;3;;NA;", "1;2;3;;NA;a:1:1,a:1:2", "1;2;3;;NA;a:1:x", "1;2;3;;NA;a", "1;2;3;;NA;a:3:\n"):
        assert learn(tail) is None


# -- differential ---------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**32 - 1)  # drawing messages field by field takes ten times what decoding them does
ODD = (
    "NA", "", "nan", "NAN", "inf", "1e3", "-", ".", ".5", "5.", "-0", "+1", "1_0", " 1", "٣", "9" * 400, "A",
)  # fmt: skip


def any_number(dice: random.Random) -> str:
    return dice.choice((
        str(dice.choice((-10, 0, 40_000, dice.randint(-10, 40_000)))),
        f"{dice.uniform(-100, 20_000):.3f}",
        dice.choice(ODD),
    ))  # fmt: skip


def any_text(dice: random.Random, letters: str) -> str:
    return "".join(dice.choices(letters, k=dice.randint(0, 8)))


def any_message(dice: random.Random) -> str:
    def or_number(*texts: str) -> str:
        return dice.choice((dice.choice(texts), any_number(dice)))

    def param() -> str:
        if dice.random() < 0.5:
            return any_text(dice, "ab:1,23#é ")
        return f"{dice.choice('abcd')}:{dice.choice('1234')}:{any_number(dice)}"

    fields = [
        or_number("210325", f"{dice.randint(0, 999_999):06d}"),
        or_number("081537", f"{dice.randint(0, 240_000):06d}"),
        or_number("5139.59226", "5139,5", "5560.0", "0"),
        dice.choice(("N", "S", "NA", "X", "")),
        or_number("03911.8"),
        dice.choice(("E", "W", "NA", "X", "")),
        *(any_number(dice) for _ in range(7)),
        ",".join(any_number(dice) for _ in range(dice.randint(0, 3))),
        dice.choice(("NA", "", "K1", "é", "a:b")),
        ",".join(param() for _ in range(dice.randint(0, 4))),
    ]
    return ";".join(fields[: dice.choice((10, 16))])


@examples(600)
@given(SEEDS, st.integers(1, 2))
def test_random_messages(seed: int, variant: int) -> None:
    dice = random.Random(seed)
    messages = [any_message(dice) for _ in range(dice.randint(1, 12))]
    frames = [box(*messages, variant=variant)]
    for text in messages:
        frames += [
            Frame(packets.long(text, variant)[:-2], 1, 0, variant),
            Frame(packets.short(text, variant)[:-2], 1, 0, variant),
        ]
    assert_same(frames)


REGULAR = [message(random.Random(seed)) for seed in range(60)]


@examples(600)
@given(SEEDS)
def test_mutated_messages(seed: int) -> None:
    dice = random.Random(seed)
    messages = list(REGULAR)
    for _ in range(dice.randint(1, 6)):
        which, at = dice.randrange(len(messages)), dice.randrange(200)
        put = dice.choice((any_number(dice), any_text(dice, "NASWE;,:|#.-0123456789aé\n\0")))
        messages[which] = messages[which][:at] + put + messages[which][at + dice.randint(0, 4) :]
    assert_same([box(*messages)])


@examples(200)
@given(st.lists(st.tuples(st.sampled_from([b"#SD#", b"#D#", b"#B#", b"#", b""]), st.binary(max_size=60)), max_size=6))
def test_no_bytes_raise(parts: list[tuple[bytes, bytes]]) -> None:
    frames = [Frame(head + body, 1, 0, 1 + index % 2) for index, (head, body) in enumerate(parts)]
    assert_same(frames)
    for frame in frames:
        assert isinstance(PROTOCOL.tree(frame), dict)


@examples(200)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40), st.sampled_from([b"#L#1;NA\r\n", b"\r\n", b"\xff\x05\x00", b"#I#9;0;0;1;1;n\r\n"])
        )
    ),
    st.sampled_from(["tcp", "udp"]),
)
def test_sessions_never_raise(pieces: list[bytes], transport: str) -> None:
    session = PROTOCOL.new_session(transport=transport, max_frame=64)
    total = sum(map(len, pieces))
    for piece in pieces:
        for event in [*session.receive_data(piece, 0.0), *session.accept(0.0)]:
            assert 0 <= getattr(event, "offset", 0) <= total
    assert len(session.end_of_stream()) <= 1


@pytest.mark.parametrize("variant", [1, 2])
def test_a_black_box_in_parts_is_the_same_messages(variant: int) -> None:
    rnd = random.Random(4)
    told = [message(rnd, 1_742_544_937 + n) for n in range(30)]
    told[11] = "no message"
    frame = box(*told, variant=variant)
    whole = decode([frame])
    for most in (1, 7, 30, 31):
        pieces = parts(frame, most)
        assert [piece.records for piece in pieces] == [most] * (30 // most) + [30 % most] * (30 % most > 0)
        decoded = [decode([piece]) for piece in pieces]
        prints = [number for part in decoded for number in _in_order(part.batch)]
        assert prints == _in_order(whole.batch)
        assert [bad.data for part in decoded for bad in part.quarantined] == [b"no message"]


def _in_order(batch: Batch) -> list[int]:
    return [int(number) for number in batch.fingerprint[np.argsort(batch.position)]]
