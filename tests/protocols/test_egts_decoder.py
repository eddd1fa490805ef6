"""Columns against the declaration: on the worked packets, on random ones, and on those whose bytes were changed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from bench.samples import wire_frames
from protocols.egts import PROTOCOL, wire
from protocols.egts import declaration as d
from protocols.egts.decoder import Decoder, decode, parts
from protocols.egts.terminal import EgtsTerminal, subrecords
from protocols.egts.walk import PACKET, RECORDS, REMAINDER
from protocols.records import MAX_NAMES, TIME_UNKNOWN, Frame
from protocols.terminals import FuelReading, Reading
from tests.protocols import egts_oracle
from tests.protocols.egts_vectors import DATA
from tests.protocols.helpers import rows


def packet(*data: bytes, **told: Any) -> bytes:
    """A packet of teledata records."""
    body = b"".join([wire.record(n, wire.TELEDATA, one, **told) for n, one in enumerate(data, 1)])
    return wire.packet(1, wire.APPDATA, body)


def decoded(*packets: bytes) -> list[dict[str, Any]]:
    found = decode([Frame(one) for one in packets])
    assert not found.quarantined
    return rows(found.batch)


def same(row: dict[str, Any], want: dict[str, Any]) -> None:
    """Value by value; float4 columns as float4."""
    for name in ("altitude", "speed", "course"):
        wanted = None if want[name] is None else float(np.float32(want[name]))
        assert row[name] == wanted, name
    time = TIME_UNKNOWN if want["time"] is None else want["time"]
    assert (row["time"], row["satellites"], row["flags"]) == (time, want["satellites"], want["flags"])
    for name in ("lat", "lon"):
        assert row[name] == (None if want[name] is None else pytest.approx(want[name], abs=1e-12, rel=0)), name
    assert row["measures"] == want["measures"]


def test_the_worked_packet_field_by_field() -> None:
    first, second = decoded(DATA)
    assert (first["lat"], first["lon"]) == (pytest.approx(54.318077, abs=1e-7), pytest.approx(48.395562, abs=1e-7))
    assert first["time"] == 1_730_798_070_000_000
    assert (first["altitude"], first["course"], first["satellites"]) == (112, 301, 15)
    assert first["speed"] == pytest.approx(73.4, abs=1e-5)
    assert first["measures"] == {
        "event": 0, "movement": 1, "gnss.fix": 3, "odometer": 128_450_700, "inputs": 5, "vdop": 1.21, "hdop": 0.94,
        "pdop": 1.73, "gnss.systems": 3, "outputs": 2, "inputs.2": 0x81, "analog.1": 13812, "analog.2": 4087,
        "state": 2, "power.external": 13.7, "power.reserve": 0, "power.battery": 4.1, "gnss.on": 1, "state.ibu": 0,
        "state.bbu": 0, "fuel.address.1": 1, "fuel.level.1": 2317, "fuel.address.2": 1, "fuel.litres.2": 386.5,
        "fuel.address.3": 1, "fuel.status.3": 65530, "analog.5": 27430, "counter.1": 90217, "input.9": 1,
    }  # fmt: skip
    assert (second["lat"], second["lon"]) == (pytest.approx(-33.905217, abs=1e-7), pytest.approx(-18.421904, abs=1e-7))
    assert second["time"] == 1_730_798_115_000_000, "its own time, not the one that it would inherit"
    assert (second["altitude"], second["speed"], second["course"], second["satellites"]) == (None, 0, 12, -1)
    assert second["measures"] == {"event": 5, "movement": 0, "gnss.fix": 2, "odometer": 128_450_800, "inputs": 4}
    for row, want in zip((first, second), egts_oracle.rows(DATA), strict=True):
        same(row, want)


# -- random packets, through both ---------------------------------------------------------------------------------

_KINDS = (16, 16, 16, 17, 18, 18, 19, 20, 20, 21, 22, 23, 24, 25, 26, 27, 27, 27, 28, 0, 15, 40, 50, 62, 200)


def _content(dice: random.Random, kind: int) -> bytes:
    def noise(size: int) -> bytes:
        return dice.randbytes(size)

    if dice.random() < 0.05:
        return noise(dice.randrange(30))
    match kind:
        case 16:
            flags = dice.randrange(256)
            size = 24 if flags & 0x80 else 21
            return noise(12) + bytes([flags]) + noise(size - 13 + dice.choice((0, 0, 2)))
        case 17:
            flags = dice.randrange(32)
            return bytes([flags]) + noise(2 * (flags & 7).bit_count() + (3 if flags & 8 else 0))
        case 18:
            inputs, analogs = dice.randrange(256), dice.choice((0, 3, 255))
            return bytes([inputs, 7, analogs]) + noise(inputs.bit_count() + 3 * analogs.bit_count())
        case 19:
            mask = dice.randrange(256)
            return bytes([mask]) + noise(3 * mask.bit_count())
        case 20 if dice.random() < 0.5:
            count = dice.randrange(1, 4)
            return bytes([count]) + noise(4 + 8 * count)
        case 20 | 21:
            return noise(5)
        case 22:
            mask = dice.randrange(256)
            return bytes([mask]) + noise((mask.bit_count() + 1) // 2)
        case 23 | 26:
            return noise(2)
        case 24 | 25:
            return noise(4)
        case 27:
            flags = dice.randrange(128)
            value = dice.choice((dice.randrange(4096), dice.randrange(1 << 32), 0xFFFFFFFA))
            return bytes([flags]) + noise(2) + (noise(9) if flags & 8 else value.to_bytes(4, "little"))
        case 28:
            doors = dice.randrange(256)
            return bytes([dice.randrange(2), doors]) + noise(3 + 2 * doors.bit_count())
    return noise(dice.randrange(6))


def _random_packet(dice: random.Random) -> bytes:
    body = b""
    for number in range(dice.randrange(1, 5)):
        data = b"".join([
            wire.subrecord(kind, _content(dice, kind)) for kind in dice.choices(_KINDS, k=dice.randrange(1, 6))
        ])  # fmt: skip
        told = {name: dice.randrange(1 << 32) for name in ("oid", "evid", "tm") if dice.random() < 0.3}
        body += wire.record(number, wire.TELEDATA, data, **told)
    return wire.packet(dice.randrange(65536), wire.APPDATA, body, route=b"\1\0\2\0\5" if dice.random() < 0.2 else b"")


@pytest.mark.parametrize("together", [1, 40], ids=["alone", "side by side"])
def test_random_packets_say_what_the_declaration_says(together: int) -> None:
    dice = random.Random(17)
    decoder = Decoder()
    for _ in range(200 // together):
        packets = [_random_packet(dice) for _ in range(together)]
        found = rows(decoder.decode([Frame(one) for one in packets]).batch)
        wanted = [(n, row) for n, one in enumerate(packets) for row in egts_oracle.rows(one)]
        assert [row["frame"] for row in found] == [n for n, _ in wanted]
        for row, (_, want) in zip(found, wanted, strict=True):
            same(row, want)


def test_changed_bytes_are_read_alike_and_never_raise() -> None:
    dice = random.Random(23)
    decoder = Decoder()
    for _ in range(150):
        spoilt = bytearray(dice.choice((DATA, _random_packet(dice))))
        for _ in range(dice.randrange(1, 4)):
            spoilt[dice.randrange(11, len(spoilt))] ^= 1 << dice.randrange(8)
        data = bytes(spoilt)
        found = decoder.decode([Frame(data)])
        wanted = egts_oracle.rows(data)
        told = rows(found.batch)
        assert len(told) == len(wanted)
        for row, want in zip(told, wanted, strict=True):
            same(row, want)


def test_any_bytes_are_a_record_or_quarantine() -> None:
    dice = random.Random(5)
    for size in (0, 1, 12, 13, 40, 300):
        for variant in (PACKET, RECORDS, REMAINDER):
            for _ in range(20):
                decode([Frame(dice.randbytes(size), 1, 0, variant), Frame(DATA)])


# -- what is particular -------------------------------------------------------------------------------------------


def position(**told: Any) -> bytes:
    """POS_DATA."""
    given = {
        "ntm": 1,
        "lat": 0,
        "long": 0,
        "flags": 1,
        "spd": 0,
        "dir": 0,
        "odm": 0,
        "din": 0,
        "src": 0,
        "alt": 0,
        "srcd": None,
    }
    return d.subrecords((wire.POS_DATA, d.POS_DATA, {**given, **told}))


def test_a_record_with_several_positions_is_as_many_records() -> None:
    state = d.subrecords((wire.STATE, d.STATE, {"st": 2, "mpsv": 130, "bbv": 0, "ibv": 40, "flags": 0}))
    found = decoded(packet(state + position(ntm=5) + position(ntm=6) + state, position(ntm=7)))
    assert [(row["time"] // 1_000_000 - wire.EPOCH, row["position"]) for row in found] == [(5, 0), (6, 1), (7, 2)]
    assert [row["measures"].get("state") for row in found] == [2, 2, None]


def test_without_a_position_the_time_of_the_record_holds_also_inherited() -> None:
    counter = wire.subrecord(wire.ABS_COUNTER, b"\1\5\0\0")
    body = wire.record(1, 2, counter, tm=50) + wire.record(2, 2, counter) + wire.record(3, 2, position(ntm=0))
    found = decoded(wire.packet(1, 1, body))
    assert [row["time"] // 1_000_000 - wire.EPOCH for row in found] == [50, 50, 50]
    (row,) = decoded(packet(position(ntm=0), tm=50))
    assert (row["time"] // 1_000_000 - wire.EPOCH, row["measures"].get("record.time")) == (50, None)
    (row,) = decoded(packet(position(ntm=60), tm=50))
    assert row["measures"]["record.time"] == wire.EPOCH + 50
    (row,) = decoded(packet(counter))
    assert row["time"] == TIME_UNKNOWN
    assert (row["lat"], row["speed"], row["flags"]) == (None, None, 0)


def test_south_west_below_the_sea_and_beyond_255_degrees() -> None:
    (row,) = decoded(packet(position(lat=0x80000000, long=0x40000000, flags=0xE5, spd=0xC000 | 123, dir=40, alt=7)))
    assert (row["lat"], row["lon"]) == (pytest.approx(-45), pytest.approx(-45))
    assert (row["altitude"], row["course"], row["speed"]) == (-7, 296, pytest.approx(12.3, abs=1e-5))
    assert row["measures"]["gnss.pz90"] == 1


def test_a_position_too_short_costs_its_own_record_alone() -> None:
    bad = wire.subrecord(wire.POS_DATA, bytes(20))
    short = wire.subrecord(wire.POS_DATA, bytes(12) + b"\x80" + bytes(8))  # an altitude that is not there
    found = decode([Frame(packet(position(ntm=1), bad, position(ntm=3), short, b"", b"\1\2"))])
    assert [row["position"] for row in rows(found.batch)] == [0, 2]
    assert [one.code for one in found.quarantined] == ["2:132", "4:132", "5:132", "6:132"]
    assert {one.reason for one in found.quarantined} == {"structure"}
    assert PROTOCOL.member(found.quarantined[0].data or b"", 0)["records"][0]["number"] == 2


def test_records_of_a_part_are_those_of_the_whole() -> None:
    frame = Frame(packet(*[position(ntm=n) for n in range(50)]), 50, 7, PACKET, 1, "9")
    pieces = parts(frame, 20)
    assert [piece.records for piece in pieces] == [20, 20, 10]
    assert {(piece.offset, piece.terminal) for piece in pieces} == {(7, "9")}
    whole, cut = rows(decode([frame]).batch), rows(decode(pieces).batch)
    assert [row["time"] for row in cut] == [row["time"] for row in whole]
    fingerprints = [sorted(decode(some).batch.fingerprint.tolist()) for some in ([frame], pieces)]
    assert fingerprints[0] == fingerprints[1]


def test_a_part_keeps_the_time_that_it_inherits() -> None:
    counter = wire.subrecord(wire.ABS_COUNTER, b"\1\5\0\0")
    body = wire.record(1, 2, counter, tm=50) + wire.record(2, 2, counter)
    pieces = parts(Frame(wire.packet(1, 1, body), 2), 1)
    assert [row["time"] // 1_000_000 - wire.EPOCH for row in rows(decode(pieces).batch)] == [50, 50]


def test_more_measures_than_columns_are_kept_beside_them() -> None:
    data = b"".join([wire.subrecord(wire.ABS_DIGITAL, (n << 4 | 1).to_bytes(2, "little")) for n in range(700)])
    found = decode([Frame(packet(data))])
    assert max(len(group.names) for group in found.batch.groups) == MAX_NAMES
    (row,) = rows(found.batch)
    assert row["measures"] == {f"input.{n}": 1 for n in range(700)}


def test_a_resend_in_another_packet_has_the_same_fingerprint() -> None:
    one = position(ntm=5)
    first = decode([Frame(packet(one))]).batch
    again = decode([Frame(wire.packet(9, 1, wire.record(700, 2, one, oid=5, tm=5)))]).batch
    other = decode([Frame(packet(position(ntm=5, din=1)))]).batch
    assert first.fingerprint.tolist() == again.fingerprint.tolist()
    assert first.fingerprint.tolist() != other.fingerprint.tolist()


def test_layouts_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.egts.decoder.MAX_STRUCTURES", 5)
    decoder = Decoder()
    for n in range(40):
        decoder.decode([Frame(packet(wire.subrecord(wire.ABS_ANALOG, bytes([n, 1, 0, 0]))))])
    assert len(decoder._by_key) == 5
    assert sum(map(len, decoder._by_length.values())) == 5
    assert decoder._weight == sum(one.weight for one in decoder._by_key.values())


def test_the_terminals_record_is_built_as_the_declaration_builds_it() -> None:
    reading = Reading(1_700_000_000_000, -554_000_000, -373_000_000, -12, 61, 274, 9, True, True, False, 27_840, 4_100,
                      4, 148_356_210, 20, 0, (FuelReading(2317, 12), FuelReading(0, 3)), "drive")  # fmt: skip
    fast = subrecords(reading, archive=True)
    told = d.parse_records(wire.record(1, 2, fast))[0]["subrecords"]
    assert b"".join([wire.subrecord(one["type"], d.CONTENTS[one["type"]].build(one["data"])) for one in told]) == fast
    (row,) = decoded(packet(fast))
    assert (row["lat"], row["lon"]) == (pytest.approx(-55.4, abs=1e-7), pytest.approx(-37.3, abs=1e-7))
    assert (row["altitude"], row["course"], row["measures"]["fuel.level.2"]) == (-12, 274, 0)
    assert EgtsTerminal.identity(7) == "2150000007"


def test_what_the_declaration_parses_it_builds() -> None:
    _, frames = wire_frames("egts", 3)
    for data in (DATA, *frames):
        assert d.build(d.parse(data)) == data


def test_frames_of_one_length_are_not_alike_for_that() -> None:
    counter = wire.subrecord(wire.ABS_COUNTER, b"\1\5\0\0")
    packets = [packet(counter, **{("oid", "tm", "evid")[n % 3]: 50 + n}) for n in range(12)]
    told = [(row["time"] // 1_000_000 - wire.EPOCH, row["measures"].get("event.id")) for row in decoded(*packets)]
    unknown = TIME_UNKNOWN // 1_000_000 - wire.EPOCH
    assert told == [((unknown, 50 + n, unknown)[n % 3], 50 + n if n % 3 == 2 else None) for n in range(12)]


def test_what_made_a_subrecord_none_is_a_part_of_its_layout() -> None:
    decoder = Decoder()
    found = []
    for content in (b"\xff\0\0", b"\0\7\0", b"\xff\1\0"):
        found += rows(decoder.decode([Frame(packet(wire.subrecord(wire.AD_SENSORS, content)))]).batch)
    assert [row["measures"] for row in found] == [{"io.18": "ff0000"}, {"outputs": 7}, {"io.18": "ff0100"}]


def test_two_positions_of_one_instant_in_a_record_are_two_records() -> None:
    batch = decode([Frame(packet(position(ntm=5) + position(ntm=5)))]).batch
    assert len(set(batch.fingerprint.tolist())) == len(batch) == 2


def test_a_record_of_nothing_but_a_text_has_a_layout_too() -> None:
    """The store keeps records by layout: one without would be acknowledged and nowhere."""
    batch = decode([Frame(packet(wire.subrecord(200, b"\1\2")))]).batch
    assert rows(batch)[0]["measures"] == {"io.200": "0102"}
    assert sum(len(group.rows) for group in batch.groups) == len(batch) == 1
