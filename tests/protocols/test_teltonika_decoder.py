"""The decoder by columns reads what the declaration reads, on any frames in any mixture."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import fastcrc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.records import EXACT_INTEGER, IGNITION_KNOWN, IGNITION_ON, MOVING, Frame
from protocols.teltonika import declaration as d
from protocols.teltonika import decoder, plain, walk
from protocols.teltonika.decoder import Decoder
from protocols.teltonika.measures import MEANINGS
from tests.protocols.examples import examples
from tests.protocols.helpers import rows
from tests.protocols.teltonika_oracle import UnreadableError, read

CODECS = (d.CODEC_8, d.CODEC_8E, d.CODEC_16)
WIDE_IDS = [*dict.fromkeys(i for i, _ in MEANINGS), 6, 385, 10828, 65535]
IDS = [i for i in WIDE_IDS if i < 256]


SEEDS = st.integers(0, 2**32 - 1)  # drawing payloads value by value takes ten times what decoding them does


def number(dice: random.Random, low: int, high: int) -> int:
    """Any number, often one at an end."""
    return dice.choice((low, high, max(low, 0), dice.randint(low, high), dice.randint(low, high)))


def io_item(dice: random.Random, codec: int, value: bytes) -> dict[str, Any]:
    item: dict[str, Any] = d.io_item(dice.choice(IDS if codec == d.CODEC_8 else WIDE_IDS), value)
    return item


def io_groups(dice: random.Random, codec: int) -> dict[str, Any]:
    groups: dict[str, Any] = {
        name: [
            io_item(dice, codec, b"\xff" * size if dice.random() < 0.3 else dice.randbytes(size))
            for _ in range(dice.randint(0, 4))
        ]
        for name, size in (("n1", 1), ("n2", 2), ("n4", 4), ("n8", 8))
    }
    groups["nx"] = [
        io_item(dice, codec, dice.choice((dice.randbytes(20), b"AZ09 AZ09 AZ09 AZ0"))[: dice.randint(0, 20)])
        for _ in range(dice.randint(0, 3))
    ]
    return {
        "event": number(dice, 0, 255 if codec == d.CODEC_8 else 65535),
        "generation": number(dice, 0, 255),
        **{name: {"items": items} for name, items in groups.items()},
    }


def record_of(dice: random.Random, io: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": number(dice, 0, dice.choice((4_102_444_800_000, 4_102_444_800_000, 2**64 - 1))),
        "priority": number(dice, 0, 255),
        "longitude": number(dice, -(2**31), 2**31 - 1),
        "latitude": number(dice, *dice.choice(((-900_000_000, 900_000_000), (-(2**31), 2**31 - 1)))),
        "altitude": number(dice, -(2**15), 2**15 - 1),
        "angle": number(dice, 0, 65535),
        "satellites": number(dice, 0, 255),
        "speed": number(dice, 0, 65535),
        "io": io,
    }


def a_payload(dice: random.Random) -> bytes:
    codec = dice.choice(CODECS)
    io = io_groups(dice, codec)
    if dice.random() < 0.5:  # a fleet's usual frame: records of one structure, only the values differ
        records = [record_of(dice, _with_other_values(dice, io)) for _ in range(dice.randint(1, 5))]
    else:
        records = [record_of(dice, io_groups(dice, codec)) for _ in range(dice.randint(1, 4))]
    payload: bytes = d.avl_payload(codec, records)
    return payload


def some_payloads(dice: random.Random, most: int) -> list[bytes]:
    return [a_payload(dice) for _ in range(dice.randint(1, most))]


def _with_other_values(dice: random.Random, io: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"items": [d.io_item(i["id"], dice.randbytes(len(i["value"]))) for i in group["items"]]}
        if isinstance(group, dict)
        else group
        for name, group in io.items()
    }


@lru_cache(maxsize=64)  # each payload is decoded several ways, and the declaration takes its time
def declared(payload: bytes) -> tuple[list[dict[str, Any]], int, str]:
    """What the declaration reads: records, how many of an impossible time, why it is refused."""
    try:
        return *read(payload), ""
    except UnreadableError as error:
        return [], 0, str(error)


def check(decoder_: Decoder, all_payloads: list[bytes], variants: list[int]) -> None:
    frames = [
        Frame(d.tcp_frame(p), p[1], 0, 0) if variant == 0 else Frame(d.udp_datagram(p, "356938035643809"), p[1], 0, 1)
        for p, variant in zip(all_payloads, variants, strict=True)
    ]
    expected: list[dict[str, Any]] = []
    refused: list[tuple[int, str]] = []
    for index, payload in enumerate(all_payloads):
        records, absurd, error = declared(payload)
        if error:
            refused.append((index, error))
            continue
        expected += [{**record, "frame": index} for record in records]
        refused += [(index, "time")] * absurd
    decoded = decoder_.decode(frames)
    assert rows(decoded.batch) == expected
    assert [(q.frame, q.reason) for q in decoded.quarantined] == refused


@examples(300)
@given(SEEDS)
def test_the_decoder_equals_the_declaration(seed: int) -> None:
    dice = random.Random(seed)
    many = some_payloads(dice, 5)
    variants = [dice.randint(0, 1) for _ in many]
    fresh = Decoder()
    check(fresh, many, variants)  # everything is walked
    check(fresh, many, variants)  # everything is known
    check(fresh, many[::-1] * 2, variants[::-1] * 2)


@examples(300)
@given(SEEDS, st.sampled_from([0, 8, 30]), st.sampled_from([3, 512]))
def test_what_is_read_plainly_equals_the_declaration(seed: int, lessons: int, names: int) -> None:
    """`lessons`: names that may be learned; beyond `names` a record's measures are no columns."""
    many = some_payloads(random.Random(seed), 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "_LESSONS", lessons)
        patch.setattr(plain, "MAX_NAMES", names)
        fresh = Decoder()
        check(fresh, many, [0] * len(many))
        check(fresh, many, [1] * len(many))
        if not lessons:
            assert not fresh._by_signature


def test_a_frame_of_invented_ids_is_read_in_little_time() -> None:
    """Compiling a structure for each of these took most of a second a frame."""
    few = [d.avl_record(timestamp=1, items=[(n * 70 + i, b"\1") for i in range(70)]) for n in range(200)]
    record = d.avl_record(timestamp=1, items=[(n, b"\1") for n in range(1000, 21_000)])
    frames = [Frame(d.avl_frame(d.CODEC_8E, records), len(records)) for records in ([record], few)]
    fresh = Decoder()
    assert len(fresh.decode(frames).batch) == 201
    assert len(fresh._by_signature) < 10, "each is learned"
    took = min(cpu(lambda: Decoder().decode(frames)) for _ in range(5))
    assert took < cpu(lambda: read(d.avl_payload(d.CODEC_8E, few))), "the declaration reads less than half of it"


def cpu(work: Callable[[], object]) -> float:
    """The seconds of CPU time it takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def test_a_frame_in_parts_is_the_same_records() -> None:
    records = [d.avl_record(timestamp=n, items=[(n % 5 + 1, b"\1")]) for n in range(23)]
    payload = d.avl_payload(d.CODEC_8, records)
    for frame in (
        Frame(d.tcp_frame(payload), 23, 0, 0),
        Frame(d.udp_datagram(payload, "356938035643809"), 23, 0, 1),
    ):
        whole = rows(Decoder().decode([frame]).batch)
        for most in (1, 4, 23, 24):
            pieces = walk.parts(frame, most)
            assert [piece.records for piece in pieces] == [most] * (23 // most) + [23 % most] * (23 % most > 0)
            told = [rows(Decoder().decode([piece]).batch) for piece in pieces]
            assert [{**row, "frame": 0, "position": 0} for part in told for row in part] == [
                {**row, "position": 0} for row in whole
            ]
        for damaged in (Frame(frame.data[:-9], 23, 0, frame.variant), Frame(frame.data, 22, 0, frame.variant)):
            assert walk.parts(damaged, 4) == [damaged]


_long_lived = Decoder()


@examples(300)
@given(SEEDS)
def test_mutated_payloads_are_refused_exactly_where_the_declaration_refuses(seed: int) -> None:
    dice = random.Random(seed)
    many = some_payloads(dice, 3)
    mutated = []
    for payload in many:
        changed = bytearray(payload)
        for _ in range(dice.randint(0, 2)):
            at = dice.randrange(len(changed))
            changed[at] = dice.choice((dice.randrange(256), payload[at] ^ 1))
        mutated.append(bytes(changed[: max(3, len(changed) - dice.randint(0, 3))]))
    check(_long_lived, mutated + many, [0] * 2 * len(many))


@examples(300)
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
    payload = d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, items=[(239, number.to_bytes(8, "big"))])])
    (row,) = rows(Decoder().decode([Frame(d.tcp_frame(payload), 1)]).batch)
    assert row["measures"]["io.239"] == stored
    assert type(row["measures"]["io.239"]) is type(stored)


def flags_of(*items: tuple[int, bytes], speed: int = 0) -> int:
    payload = d.avl_payload(d.CODEC_8E, [d.avl_record(timestamp=1, satellites=4, speed=speed, items=items)])
    (row,) = rows(Decoder().decode([Frame(d.tcp_frame(payload), 1)]).batch)
    return int(row["flags"])


def test_ignition_and_movement_in_every_form() -> None:
    known = IGNITION_KNOWN
    assert not flags_of() & (known | IGNITION_ON | MOVING)
    assert flags_of((239, b"\0")) & (known | IGNITION_ON) == known
    assert flags_of((239, b"\1")) & (known | IGNITION_ON) == known | IGNITION_ON
    assert not flags_of((239, b"\0"), (239, b"\1")) & IGNITION_ON  # twice: the first one counts
    assert flags_of((239, b"\1"), (239, b"\0")) & IGNITION_ON
    assert flags_of((239, b"\0\1")) & IGNITION_ON  # a wider number is the same number
    assert not flags_of((239, b"\xff" * 8)) & known  # eight bytes are another thing
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


def measures_of(*items: tuple[int, bytes], variable: tuple[tuple[int, bytes], ...] = ()) -> dict[str, Any]:
    """Measures of a Codec 8E record with these elements, but for event and priority; `variable` go to the NX group."""
    record = d.avl_record(timestamp=1, items=items)
    record["io"]["nx"]["items"] += [d.io_item(*item) for item in variable]
    (row,) = rows(Decoder().decode([Frame(d.avl_frame(d.CODEC_8E, [record]), 1)]).batch)
    return {name: value for name, value in row["measures"].items() if name not in ("event", "priority")}


@pytest.mark.parametrize("size", range(20))
@pytest.mark.parametrize("identifier", [385, 239, 66, 78])
def test_a_variable_length_element_is_hex_whatever_its_length(identifier: int, size: int) -> None:
    value = bytes(range(1, size + 1))
    assert measures_of(variable=((identifier, value),)) == {f"io.{identifier}": value.hex()}


def test_elements_of_one_id_are_all_kept() -> None:
    assert measures_of(variable=((385, b"\1"), (385, b"\2\3"), (385, b""))) == {
        "io.385": "01",
        "io.385.2": "0203",
        "io.385.3": "",
    }
    assert measures_of((239, b"\1"), (239, b"\0"), (66, b"\x2e\xe0"), (66, b"\0\0\x30\x39"), (201, b"\xff\xfe")) == {
        "ignition": 1,
        "io.239.2": 0,
        "power.external": 12.0,
        "io.66.2": 12345,
        "fuel.status.1": -2,
    }
    assert measures_of((239, b"\1"), variable=((239, b"\2"),)) == {"ignition": 1, "io.239.2": "02"}


def test_two_ids_of_one_name_are_both_kept() -> None:
    vins = ((256, b"WDB9634031L738291"), (325, b"WDB9634031L738292"))
    assert measures_of(variable=vins) == {"vin": "WDB9634031L738291", "io.325": b"WDB9634031L738292".hex()}
    assert measures_of((66, b"\x2e\xe0"), (800, b"\0\0\x30\x39")) == {"power.external": 12.0, "io.800": 12345}


def test_zeros_behind_a_text_are_no_part_of_it_and_zeros_alone_are_absent() -> None:
    assert measures_of(variable=((256, b"VIN7" + bytes(13)), (281, b"P0100,P0200\0"))) == {
        "vin": "VIN7",
        "dtc": "P0100,P0200",
    }
    assert measures_of(variable=((256, bytes(17)), (281, b""))) == {}
    assert measures_of(*((i, bytes(8)) for i in (78, 207, 11, 14, 76, 238, 195))) == {}
    assert measures_of(variable=((256, b"\0VIN"),)) == {"vin": b"\0VIN".hex()}  # no text
    assert measures_of(variable=((256, b"VI\xd0"),)) == {"vin": b"VI\xd0".hex()}


KEY = bytes.fromhex("01a2b3c4d5e6f7")  # family, serial number; its checksum follows


def test_a_driver_s_key_is_the_same_text_from_every_family() -> None:
    forwards = KEY + bytes([fastcrc.crc8.maxim_dow(KEY)])
    backwards = forwards[::-1]
    assert measures_of((78, forwards)) == measures_of((78, backwards)) == {"driver.key": backwards.hex()}
    other = forwards[:-1] + bytes([forwards[-1] ^ 1])  # no 1-Wire number: as sent
    assert measures_of((78, other)) == {"driver.key": other.hex()}
    stranger = b"\xee" + KEY[1:]  # a right checksum behind no key's family
    stranger += bytes([fastcrc.crc8.maxim_dow(stranger)])
    assert measures_of((78, stranger)) == {"driver.key": stranger.hex()}


# Each row of the sheet's table of ids once: id, bytes as sent, name, value.
SHEET = [
    (800, "00003039", "power.external", 12.345), (113, "63", "battery.level", 99), (10, "0003", "adc.2", 0.003),
    (11, "0003", "adc.3", 0.003), (245, "0fa0", "adc.4", 4.0), (10, "01", "sd.status", 1),
    (11, "000000003544cb9d", "sim.iccid.1", "893701021"), (14, "000000005fb20d41", "sim.iccid.2", "1605504321"),
    (4, "00000007", "pulses.1", 7), (5, "00000007", "pulses.2", 7), (12, "0000dfe9", "fuel.used.gps", 57.321),
    (13, "03e9", "fuel.rate.gps", 10.01), (15, "00ff", "eco.score", 2.55), (17, "fc18", "acceleration.x", -1.0),
    (19, "fc18", "acceleration.z", -1.0), (17, "0000000f", "can.fuel.counted", 1.5),
    (14, "0000000f", "engine.time.total", 15), (15, "0000000f", "engine.time", 15), (19, "0f", "adblue.percent", 15),
    (20, "000f", "adblue", 1.5), (20, "0f", "ble.battery.2", 15), (29, "0f", "ble.battery.1", 15),
    (32, "f6", "obd.coolant", -10), (36, "0258", "obd.engine.rpm", 600), (43, "0258", "obd.distance.mil", 600),
    (49, "0258", "obd.distance.cleared", 600), (53, "f6", "obd.ambient", -10),
    (70, "fff6", "board.temperature", -1.0), (76, "28ff000000000001", "sensor.rom.1", "28ff000000000001"),
    (79, "28ff000000000001", "sensor.rom.3", "28ff000000000001"),
    (71, "28ff000000000001", "sensor.rom.4", "28ff000000000001"),
    (7, "28ff000000000001", "sensor.rom.6", "28ff000000000001"),
    (75, "28ff000000000001", "io.75", "28ff000000000001"), (83, "0000000f", "can.fuel.used", 1.5),
    (84, "000f", "can.fuel.level", 1.5), (85, "0258", "can.engine.rpm", 600), (89, "0f", "can.fuel.percent", 15),
    (114, "0f", "can.engine.load", 15), (86, "01c9", "ble.humidity.1", 45.7), (108, "01c9", "ble.humidity.4", 45.7),
    (86, "7fdd", "ble.humidity.status.1", 32733), (100, "00000065", "can.program", 101),
    (102, "0000000f", "can.engine.time", 15), (103, "0000000f", "can.engine.time.counted", 15),
    (105, "0000000f", "can.mileage.counted", 15), (107, "0000000f", "can.fuel.counted", 1.5),
    (110, "000f", "can.fuel.rate", 1.5), (112, "000f", "can.adblue", 1.5),
    (115, "fff6", "can.engine.temperature", -1.0), (118, "1388", "can.axle.1", 5000),
    (121, "1388", "can.axle.4", 5000), (175, "01", "geofence.auto", 1), (236, "01", "alarm.button", 1),
    (237, "02", "network.type", 2), (238, "00000000000000ff", "user.id", "00000000000000ff"),
    (243, "0258", "driving.duration", 600), (263, "01", "bt.status", 1), (303, "01", "movement.instant", 1),
    (269, "f6", "ble.lls.temperature.1", -10), (278, "f6", "ble.lls.temperature.4", -10),
    (270, "0a97", "ble.lls.level.1", 2711), (279, "0a97", "ble.lls.level.4", 2711),
    (327, "fff6", "ultrasonic.level", -1.0), (389, "0000000f", "obd.odometer", 15),
    (390, "0000000f", "obd.fuel", 1.5), (449, "0000000f", "ignition.counter", 15), (622, "000f", "frequency.1", 1.5),
    (636, "0000000f", "lte.cell", 15), (637, "0f", "wake.reason", 15), (10800, "f8c6", "eye.temperature.1", -18.5),
    (10803, "f8c6", "eye.temperature.4", -18.5), (10804, "2d", "eye.humidity.1", 45),
    (10811, "01", "eye.magnet.4", 1), (10820, "01", "eye.battery.low.1", 1), (216, "0000000f", "can.odometer", 15),
    (218, "0000e3b5a8f2b9c7", "sim.imsi", 0xE3B5A8F2B9C7), (195, "3132333435363738", "tacho.driver.1", "12345678"),
    (69, "01", "gnss.status", 1), (80, "05", "data.mode", 5),
]  # fmt: skip


@pytest.mark.parametrize(("identifier", "wire", "name", "value"), SHEET, ids=lambda v: str(v))
def test_an_id_of_its_size_has_its_name(identifier: int, wire: str, name: str, value: Any) -> None:
    assert measures_of((identifier, bytes.fromhex(wire))) == {name: value}


AMBIGUOUS = [
    (6, 2), (18, 2), (22, 1), (23, 1), (25, 2), (28, 2), (30, 1), (31, 1), (37, 1), (48, 1), (81, 1), (82, 1), (87, 4),
    (90, 2), (116, 1), (141, 2), (248, 1), (251, 1), (252, 1), (317, 1), (318, 1), (380, 1), (381, 1), (4, 1), (70, 1),
    (155, 1), (358, 1), (641, 1), (12, 2), (69, 2), (71, 1), (80, 4), (113, 4), (76, 4),
    (11, 4), (17, 1), (239, 8), (66, 8), (256, 1), (999, 2),
]  # fmt: skip


@pytest.mark.parametrize(("identifier", "size"), AMBIGUOUS)
def test_what_models_mean_differently_stays_raw_and_unsigned(identifier: int, size: int) -> None:
    assert measures_of((identifier, b"\xff" * size)) == {f"io.{identifier}": 2 ** (8 * size) - 1}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_narrower_or_wider_number_is_the_same_number(size: int) -> None:
    assert measures_of((66, (120).to_bytes(size, "big"))) == {"power.external": 0.12}
    assert measures_of((202, (-7).to_bytes(size, "big", signed=True))) == {"fuel.temperature.1": -7}


def test_temperatures_below_zero_and_their_codes() -> None:
    assert measures_of((72, b"\xff\xff\xff\x97"), (73, b"\xff\xfe"), (74, b"\x0b\xb8"), (75, b"\3\x52")) == {
        "temperature.1": -10.5,
        "temperature.2": -0.2,
        "temperature.status.3": 3000,
        "temperature.status.4": 850,
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
