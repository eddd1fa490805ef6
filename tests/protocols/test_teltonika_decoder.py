"""The decoder by columns reads what the declaration reads, on any frames in any mixture."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.records import EXACT_INTEGER, IGNITION_KNOWN, IGNITION_ON, MOVING, Frame
from protocols.teltonika import declaration as d
from protocols.teltonika import decoder
from protocols.teltonika.decoder import Decoder
from protocols.teltonika.measures import MEANINGS
from tests.protocols.helpers import rows
from tests.protocols.teltonika_oracle import UnreadableError, read

CODECS = (d.CODEC_8, d.CODEC_8E, d.CODEC_16)
IDS = [i for i in MEANINGS if i < 256] + [4, 5, 11, 69, 100]
WIDE_IDS = [*MEANINGS, 270, 281, 385, 10800, 65535]


def io_groups(codec: int) -> st.SearchStrategy[dict[str, Any]]:
    identifier = st.sampled_from(IDS if codec == d.CODEC_8 else WIDE_IDS)
    groups = {
        name: st.lists(
            st.builds(d.io_item, identifier, st.binary(min_size=size, max_size=size) | st.just(b"\xff" * size)),
            max_size=4,
        ).map(lambda items: {"items": items})
        for name, size in (("n1", 1), ("n2", 2), ("n4", 4), ("n8", 8))
    }
    variable = st.lists(
        st.builds(d.io_item, identifier, st.binary(max_size=20) | st.text("AZ09 ", max_size=17).map(str.encode)),
        max_size=3,
    ).map(lambda items: {"items": items})
    return st.fixed_dictionaries(
        {
            "event": st.integers(0, 255 if codec == d.CODEC_8 else 65535) | st.just(0),
            "generation": st.integers(0, 255),
            **groups,
            "nx": variable,
        }
    )


def records_of(io: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "timestamp": st.integers(0, 4_102_444_800_000) | st.integers(0, 2**64 - 1),
            "priority": st.integers(0, 255),
            "longitude": st.integers(-(2**31), 2**31 - 1),
            "latitude": st.integers(-900_000_000, 900_000_000) | st.integers(-(2**31), 2**31 - 1),
            "altitude": st.integers(-(2**15), 2**15 - 1),
            "angle": st.integers(0, 65535),
            "satellites": st.integers(0, 255) | st.just(0),
            "speed": st.integers(0, 65535) | st.just(0),
            "io": io,
        }
    )


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    codec = draw(st.sampled_from(CODECS))
    if draw(st.booleans()):  # a fleet's usual frame: records of one structure, only the values differ
        shape = draw(records_of(io_groups(codec)))
        records = [shape] + [
            {**draw(records_of(st.just({}))), "io": _with_other_values(draw, shape["io"])}
            for _ in range(draw(st.integers(0, 4)))
        ]
    else:
        records = draw(st.lists(records_of(io_groups(codec)), min_size=1, max_size=4))
    return d.avl_payload(codec, records)


def _with_other_values(draw: st.DrawFn, io: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "items": [
                d.io_item(i["id"], draw(st.binary(min_size=n, max_size=n)))
                for i in group["items"]
                for n in [len(i["value"])]
            ]
        }
        if isinstance(group, dict)
        else group
        for name, group in io.items()
    }


def check(decoder_: Decoder, all_payloads: list[bytes], variants: list[int]) -> None:
    frames = [
        Frame(d.tcp_frame(p), p[1], 0, 0) if variant == 0 else Frame(d.udp_datagram(p, "356938035643809"), p[1], 0, 1)
        for p, variant in zip(all_payloads, variants, strict=True)
    ]
    expected: list[dict[str, Any]] = []
    refused: list[tuple[int, str]] = []
    for index, payload in enumerate(all_payloads):
        try:
            records, absurd = read(payload, index)
        except UnreadableError as error:
            refused.append((index, str(error)))
            continue
        expected += records
        refused += [(index, "time")] * absurd
    decoded = decoder_.decode(frames)
    assert rows(decoded.batch) == expected
    assert [(q.frame, q.reason) for q in decoded.quarantined] == refused


@settings(max_examples=150, deadline=None)
@given(st.lists(payloads(), min_size=1, max_size=5), st.data())
def test_the_decoder_equals_the_declaration(many: list[bytes], data: st.DataObject) -> None:
    variants = data.draw(st.lists(st.integers(0, 1), min_size=len(many), max_size=len(many)))
    fresh = Decoder()
    check(fresh, many, variants)  # everything is walked
    check(fresh, many, variants)  # everything is known
    check(fresh, many[::-1] * 2, variants[::-1] * 2)


_long_lived = Decoder()


@settings(max_examples=150, deadline=None)
@given(st.lists(payloads(), min_size=1, max_size=3), st.data())
def test_mutated_payloads_are_refused_exactly_where_the_declaration_refuses(
    many: list[bytes], data: st.DataObject
) -> None:
    mutated = []
    for payload in many:
        changed = bytearray(payload)
        for at in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=2)):
            changed[at] = data.draw(st.integers(0, 255) | st.just(payload[at] ^ 1))
        cut = data.draw(st.integers(0, 3))
        mutated.append(bytes(changed[: max(3, len(changed) - cut)]))
    check(_long_lived, mutated + many, [0] * 2 * len(many))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 255), st.integers(0, 1))
def test_no_frame_raises_whatever_it_holds(data: bytes, count: int, variant: int) -> None:
    assert decoder.decode([Frame(data, count, 0, variant)]).quarantined


@pytest.mark.parametrize("length", [0, 1, 15, 200, 255, 0xFFFF])
def test_a_misleading_imei_length_is_quarantined(length: int) -> None:
    payload = d.avl_payload(d.CODEC_8, [d.avl_record(timestamp=1)])
    good = d.udp_datagram(payload, "356938035643809")
    data = good[:6] + length.to_bytes(2, "big") + good[8:]
    learned = Decoder()
    learned.decode([Frame(good, 1, 0, 1)])
    decoded = learned.decode([Frame(data, 1, 0, 1), Frame(good, 1, 0, 1)])
    assert [q.frame for q in decoded.quarantined] == ([] if length == 15 else [0])
    assert len(decoded.batch) == (2 if length == 15 else 1)


def test_a_udp_frame_whose_payload_begins_where_a_tcp_frame_s_does() -> None:
    payload = d.avl_payload(d.CODEC_8, [d.avl_record(timestamp=1, items=[(239, b"\1")])])
    datagram = bytes(6) + b"\0\0" + payload  # an IMEI of no digits, as only a stranger builds it
    learned = Decoder()
    for _ in range(2):
        decoded = learned.decode([Frame(datagram, 1, 0, 1), Frame(d.tcp_frame(payload), 1)])
        assert [r["measures"]["ignition"] for r in rows(decoded.batch)] == [1, 1]


def test_structures_that_share_a_length_are_told_apart() -> None:
    # same codec, same length, other ids; one frame of each and one of both
    def record(identifier: int, value: int) -> dict[str, Any]:
        return d.avl_record(timestamp=1, items=[(identifier, bytes([value]))])

    many = [d.avl_payload(d.CODEC_8, [record(i, i % 7), record(i + 1, 3)]) for i in range(100, 140)]
    many += [d.avl_payload(d.CODEC_8, [record(i, 1), record(i, 2)]) for i in range(100, 141)]
    learned = Decoder()
    for _ in range(3):
        check(learned, many, [0] * len(many))


def test_equal_division_of_unequal_records_is_not_taken_for_a_known_structure() -> None:
    short = d.avl_record(timestamp=1, items=[(1, b"\1")])
    middle = d.avl_record(timestamp=1, items=[(1, b"\1"), (2, b"\1")])
    long = d.avl_record(timestamp=1, items=[(1, b"\1"), (2, b"\1"), (3, b"\1")])
    learned = Decoder()
    frames = [[middle, middle], [short, long], [long, short], [middle, middle]]  # all of one length
    for _ in range(2):
        check(learned, [d.avl_payload(d.CODEC_8, f) for f in frames], [0] * 4)


def test_the_table_of_structures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_STRUCTURES", 8)
    learned = Decoder()
    many = [
        d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, items=[(1000 + n, bytes(1 << n % 4))])]) for n in range(50)
    ]
    for _ in range(2):
        check(learned, many, [0] * 50)
        assert len(learned._by_signature) == 8
        assert sum(len(s) for s in learned._by_length.values()) == 8


def test_the_weight_of_all_structures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_WEIGHT", 500)
    learned = Decoder()
    many = [
        d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, items=[(1000 * n + i, b"\1") for i in range(40)])])
        for n in range(1, 20)
    ]
    for _ in range(2):
        check(learned, many, [0] * len(many))
        assert 0 < learned._weight <= 500
        assert learned._weight == sum(s.weight for s in learned._by_signature.values())


def test_a_stranger_s_record_of_20_000_ids_is_read_and_not_remembered() -> None:
    items = [(n, b"\1") for n in range(1000, 21000)]
    payload = d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, items=items)])
    learned = Decoder()
    (row,) = rows(learned.decode([Frame(d.tcp_frame(payload), 1)]).batch)
    assert len(row["measures"]) == 20_002
    assert not learned._by_signature


def test_a_structure_in_use_is_not_kept_behind_inventions_of_its_length() -> None:
    learned = Decoder()
    fleet = Frame(d.avl_frame(d.CODEC_8E, [d.avl_record(timestamp=1, items=[(239, b"\1")])]), 1)
    learned.decode(
        [Frame(d.avl_frame(d.CODEC_8E, [d.avl_record(timestamp=1, items=[(1000 + n, b"\1")])]), 1) for n in range(40)]
    )
    learned.decode([fleet])
    learned.decode([fleet])
    (siblings,) = learned._by_length.values()
    assert "ignition" in siblings[0].names


@pytest.mark.parametrize(
    ("number", "stored"),
    [(EXACT_INTEGER - 1, float(EXACT_INTEGER - 1)), (EXACT_INTEGER, EXACT_INTEGER), (2**64 - 1, 2**64 - 1)],
)
def test_large_integers_stay_exact(number: int, stored: float) -> None:
    payload = d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, items=[(11, number.to_bytes(8, "big"))])])
    (row,) = rows(Decoder().decode([Frame(d.tcp_frame(payload), 1)]).batch)
    assert row["measures"]["io.11"] == stored
    assert type(row["measures"]["io.11"]) is type(stored)


def flags_of(*items: tuple[int, bytes], speed: int = 0) -> int:
    payload = d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, satellites=4, speed=speed, items=items)])
    (row,) = rows(Decoder().decode([Frame(d.tcp_frame(payload), 1)]).batch)
    return int(row["flags"])


def test_ignition_and_movement_in_every_form() -> None:
    known = IGNITION_KNOWN
    assert not flags_of() & (known | IGNITION_ON | MOVING)
    assert flags_of((239, b"\0")) & (known | IGNITION_ON) == known
    assert flags_of((239, b"\1")) & (known | IGNITION_ON) == known | IGNITION_ON
    assert flags_of((239, b"\0"), (239, b"\1")) & IGNITION_ON  # twice: the last one counts
    assert not flags_of((239, b"\1"), (239, b"\0")) & IGNITION_ON
    assert flags_of((239, b"\xff" * 8)) & IGNITION_ON
    assert not flags_of((239, b"abc")) & known  # bytes are kept and say nothing
    assert flags_of((240, b"\1")) & MOVING
    assert not flags_of((240, b"\0"), speed=50) & MOVING  # the terminal knows better than its speed
    assert flags_of(speed=1) & MOVING


def test_dallas_codes_are_no_temperatures() -> None:
    items = [
        (72, (235).to_bytes(4, "big")),
        (73, (-105).to_bytes(2, "big", signed=True)),
        (74, (850).to_bytes(4, "big")),
    ]
    payload = d.avl_payload(d.CODEC_8, [d.avl_record(timestamp=1, items=items)])
    (row,) = rows(Decoder().decode([Frame(d.tcp_frame(payload), 1)]).batch)
    assert row["measures"] == {
        "event": 0,
        "priority": 0,
        "temperature.1": 23.5,
        "temperature.2": -10.5,
        "temperature.status.3": 850,
    }


def test_a_key_and_a_card_are_hex_and_a_vin_that_is_no_text_too() -> None:
    items = [
        (78, bytes.fromhex("01a2b3c4d5e6f708")),
        (207, bytes(8)),
        (256, bytes(17)),
        (325, b"\1"),
        (999, b"\xab\xcd\xef"),
    ]
    payload = d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, items=items)])
    (row,) = rows(Decoder().decode([Frame(d.tcp_frame(payload), 1)]).batch)
    assert row["measures"] == {
        "event": 0,
        "priority": 0,
        "driver.key": "01a2b3c4d5e6f708",
        "rfid": "00" * 8,
        "vin": "00" * 17,
        "io.325": 1,
        "io.999": "abcdef",
    }


def test_no_frames_are_no_records() -> None:
    assert len(decoder.decode([]).batch) == 0


@pytest.mark.parametrize("learned", [False, True])
def test_runs_among_frames_count_as_the_frames_they_hold(learned: bool) -> None:
    """Also where one frame of a run is to be refused, or differs in its structure."""

    def frame(number: int, *, records: int = 1, io: tuple[tuple[int, bytes], ...] = ((239, b"\x01"),)) -> bytes:
        made = [
            d.avl_record(timestamp=(1_700_000_000 + number) * 1000 + n, satellites=5, items=io) for n in range(records)
        ]
        return d.avl_frame(d.CODEC_8, made)

    absurd = d.avl_frame(d.CODEC_8, [d.avl_record(timestamp=2**63, satellites=5, items=((239, b"\x01"),))])
    other_id = frame(4, io=((240, b"\x01"),))
    wrong_end = bytearray(frame(5))
    wrong_end[-5] ^= 3
    singles = [
        frame(1), frame(2), absurd, other_id, bytes(wrong_end), frame(6), frame(7, records=2), frame(8, records=2),
    ]  # fmt: skip
    frames = [Frame(data, data[9]) for data in singles]
    runs = [Frame(b"".join(singles[:5]), 1, count=5), Frame(singles[5], 1), Frame(b"".join(singles[6:]), 2, count=2)]
    decoder_ = Decoder()
    if learned:
        decoder_.decode(frames)
    mixed, apart = decoder_.decode(runs), Decoder().decode(frames)
    assert rows(mixed.batch) == rows(apart.batch)
    assert len(mixed.batch) == 8  # of ten records: one absurd, one frame refused
    assert mixed.quarantined == apart.quarantined
    assert [bad.frame for bad in mixed.quarantined] == [2, 4]
    assert sorted(mixed.batch.frame.tolist()) == sorted(apart.batch.frame.tolist()) == [0, 1, 3, 5, 6, 6, 7, 7]
