"""Omnicomm: what cannot be decoded, core columns, measures.

Scales: the published message description and SAE J1939-71.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest

from protocols.omnicomm import declaration
from protocols.omnicomm.columns import FLAG_BITS, NEW_FLAG_BITS
from protocols.omnicomm.decoder import decode, parts
from protocols.omnicomm.fields import EPOCH, MESSAGE, Group, Odd
from protocols.omnicomm.measures import MEASURES
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    VALID,
    Batch,
    Quarantined,
)
from tests.protocols.omnicomm_vectors import (
    E1,
    E3,
    E4,
    Told,
    decoded_of,
    measures_of,
    records,
)

# --- what cannot be decoded ------------------------------------------------------------------------------------------

GOOD = {"mID": [1], "general": {"Time": 1000, "FLG": 0}}
BROKEN = {
    "unterminated group": b"\x13\x08\x01",
    "wrong end": b"\x13\x08\x01\x2c",
    "end without start": b"\x14",
    "number beyond ten bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "number without end": b"\x08\xff",
    "no number": b"\x08",
    "string past the end": b"\x13\x1a\x09abc\x14",
    "fixed past the end": b"\x4b\x4b\x0d\x00\x00\x4c\x4c",
    "field number 0": b"\x00\x01",
    "wire type 6": b"\x0e\x01",
    "wire type 7": b"\x0f\x01",
    "five groups deep": b"\x13\x1b\x1b\x1b\x1b\x1c\x1c\x1c\x1c\x14",
    "packed number past its end": b"\x0a\x01\x80",
    "packed floats of odd size": bytes.fromhex("4b3b2203000000") + b"\x3c\x4c",
}


@pytest.mark.parametrize("fill", [1, 30])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_goes_to_quarantine_alone(name: str, fill: int) -> None:
    broken = BROKEN[name]
    decoded = decoded_of(*[GOOD] * fill, broken, *[GOOD] * fill)
    assert decoded.quarantined == [Quarantined(0, "structure", broken)]
    assert sorted(decoded.batch.position.tolist()) == [*range(fill), *range(fill + 1, 2 * fill + 1)]


def test_four_groups_deep_is_read() -> None:
    assert measures_of(b"\x08\x01\x13\x1b\x1b\x1b\x1c\x1c\x1c\x14") == {"event": 1}


@pytest.mark.parametrize("size", range(1, 9))
def test_container_shorter_than_its_header(size: int) -> None:
    told = Told().feed(E1 + declaration.frame(0x86, bytes(range(1, size + 1))) + E3)
    short, good = told.frames()
    decoded = decode([short, good])
    assert decoded.quarantined == [Quarantined(0, "structure")]
    assert len(decoded.batch) == 2
    expected = [(0x87, 0x04030201)] if size >= 4 else []
    assert declaration.ServerFrames().feed(told.session.acknowledge(short)) == expected
    assert told.session.acknowledge(good) == E4


@pytest.mark.parametrize("rest", [b"\x05", b"\x09\x00abc", b"\xff\xff", b"\x00\x00", b"\x00\x00\x02\x00\x08\x01"])
def test_length_past_the_end_keeps_what_stood_before_it(rest: bytes) -> None:
    good = declaration.message(GOOD)
    payload = struct.pack("<IIBH", 1, 2, 0, len(good)) + good + rest
    told = Told().feed(E1 + declaration.frame(0x86, payload))
    decoded = decode(told.frames())
    assert decoded.quarantined == [Quarantined(0, "structure", rest)]
    assert [r["time"] for r in records(decoded)] == [1000 + EPOCH]


# --- core columns ----------------------------------------------------------------------------------------------------

NAV = {"LAT": 546034435, "LON": 558210224, "GPSVel": 615, "GPSDir": 247, "GPSNSat": 13, "GPSAlt": 1437}


@pytest.mark.parametrize(
    ("general", "nav", "valid"),
    [
        ({"FLG": 4}, NAV, True),
        ({"FLG": 3}, NAV, False),
        ({}, NAV, False),
        (None, NAV, False),
        ({"FLG": 4}, None, False),
        *(({"FLG": 4}, {k: v for k, v in NAV.items() if k != missing}, False) for missing in NAV),
        ({"FLG": 4}, NAV | {"LAT": 900_000_001}, False),
        ({"FLG": 4}, NAV | {"LON": -1_800_000_001}, False),
        ({"FLG": 4}, NAV | {"LAT": -900_000_000, "LON": 1_800_000_000}, True),
        ({"FLG": 4}, NAV | {"LAT": 0, "LON": 0, "GPSNSat": 0}, False),  # a flag alone makes no fix of nothing
        ({"FLG": 4}, NAV | {"LAT": 0, "LON": 0}, True),
        ({"FLG": 4}, NAV | {"LAT": 0, "GPSNSat": 0}, True),
    ],
)
def test_position_only_with_a_valid_fix(general: Any, nav: Any, valid: bool) -> None:
    content = {name: part for name, part in (("general", general), ("nav", nav)) if part is not None}
    (record,) = records(decoded_of({"mID": [1]} | content))
    assert bool(record["flags"] & VALID) == valid
    assert (record["lat"], record["lon"]) == ((nav["LAT"] / 1e7, nav["LON"] / 1e7) if valid else (None, None))
    told = nav or {}
    assert record["speed"] == (61.5 if "GPSVel" in told else None)
    assert record["altitude"] == (143.7 if "GPSAlt" in told else None)
    assert record["course"] == (247 if "GPSDir" in told else None)
    assert record["satellites"] == told.get("GPSNSat", -1)


def test_no_fix_of_zeros_is_no_position() -> None:
    (record,) = records(decoded_of({"general": {"FLG": 3}, "nav": dict.fromkeys(NAV, 0)}))
    assert (record["lat"], record["lon"], record["satellites"]) == (None, None, 0)


@pytest.mark.parametrize(("command", "archive"), [(0x86, True), (0x9F, True), (0x95, False)])
def test_archive_is_the_wires_own_mark(command: int, archive: bool) -> None:
    assert bool(decoded_of(GOOD, command=command).batch.flags[0] & ARCHIVE) == archive


@pytest.mark.parametrize(
    ("events", "event", "listed"), [([], None, None), ([1], False, None), ([5], True, None), ([1, 8], True, "1,8")]
)
@pytest.mark.parametrize("count", [1, 40])
def test_events(events: list[int], event: bool | None, listed: str | None, count: int) -> None:
    decoded = decoded_of(*[{"mID": events, "general": {"Time": 5}}] * count)
    for record in records(decoded):
        assert bool(record["flags"] & EVENT) == bool(event)
        assert record["measures"].get("events") == listed
        assert record["measures"].get("event") == (events[0] if events else None)


def test_ignition_is_unknown_without_flags() -> None:
    flags = [r["flags"] & (IGNITION_KNOWN | IGNITION_ON) for r in records(
        decoded_of({"mID": [1]}, {"general": {"FLG": 2}}, {"general": {"FLG": 1}})
    )]  # fmt: skip
    assert flags == [0, IGNITION_KNOWN, IGNITION_KNOWN | IGNITION_ON]


def test_time_of_the_header_where_the_message_has_none() -> None:
    assert [r["time"] - EPOCH for r in records(decoded_of({"mID": [1]}, GOOD, time=77))] == [77, 1000]


@pytest.mark.parametrize("time", [0, 1, 2**32 - 1])
def test_absurd_times_are_kept(time: int) -> None:
    (record,) = records(decoded_of({"general": {"Time": time}}))
    assert record["time"] == time + EPOCH


# --- measures --------------------------------------------------------------------------------------------------------

SCALES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("voltage in tenths", {"general": {"Uboard": 126}}, {"power.external": 12.6}),
    ("unit", {"general": {"IDFAS": 2**32 - 1}}, {"unit.id": 2**32 - 1}),
    ("driver", {"general": {"IDDrv": bytes.fromhex("01A0B0C0D0E0F0FF")}}, {"driver.key": "01a0b0c0d0e0f0ff"}),
    ("phone", {"general": {"Phone": b"\x07\x91"}}, {"phone": "0791"}),
    ("card", {"general": {"TachoCardID": b"RUS1"}}, {"driver.card": "52555331"}),
    (
        "newer firmware",
        {"general": {"AccelStatus": 2, "HoursKoef": 3605, "WifiSignalQuality": 3}},
        {"acceleration.status": 2, "engine.seconds": 3605, "wifi.signal": 60},
    ),
    ("signal in steps", {"general": {"GsmSignalQuality": 4}}, {"gsm.signal": 80}),
    ("signal in percent", {"general": {"GsmSignalQuality": 100}}, {"gsm.signal": 100}),
    ("no signal value", {"general": {"GsmSignalQuality": 255}}, {}),
    ("fix of another time", {"general": {"Time": 50}, "nav": {"GPSTime": 49}}, {"gnss.time": EPOCH + 49}),
    ("fix of the record's time", {"general": {"Time": 50}, "nav": {"GPSTime": 50}}, {}),
    (
        "photo",
        {"photo": {"POSBLK": 2, "SZPHOTO": 9000, "SIZEBLK": 3, "IMGDAT": b"\xff\xd8\x00", "IDPH": 5, "IMGSTAT": 1}},
        {
            "photo.position": 2,
            "photo.size": 9000,
            "photo.block.size": 3,
            "photo.data": "ffd800",
            "photo.id": 5,
            "photo.status": 1,
        },
    ),
    ("inputs", {"unidt": {"UniVal0": -5, "UniVal5": 2**31 - 1}}, {"universal.1": -5, "universal.6": 2**31 - 1}),
    ("1-Wire", {"other": {"onewire": {"OneWire1": -40, "OneWire8": 125}}},
     {"temperature.1": -40, "temperature.8": 125}),
    ("1-Wire without sensor", {"other": {"onewire": {"OneWire2": -128}}}, {}),
    (
        "peripherals",
        {"other": {"pherip": {"PassengerIn": 3, "PassengerOut": 2, "DoorMask": 5, "DriverStatus": 1, "TPMS": b"\1\2",
                              "iQFreeze": b"\3"}}},
        {"passengers.in": 3, "passengers.out": 2, "passengers.doors": 5, "driver.status": 1, "tpms": "0102",
         "refrigerator": "03"},
    ),
    (
        "further CAN",
        {"other": {"excan": {"SPNid": [100, 7], "SPNval": [5, 2**32 - 1], "Adr64TEREX": 2**64 - 1, "Adr69TEREX": 3,
                             "Adr11TEREX": [1, 2**60]}}},
        {"can.spn.100": 5, "can.spn.7": 2**32 - 1, "can.terex.64": 2**64 - 1, "can.terex.69": 3, "can.terex.11.1": 1,
         "can.terex.11.2": 2**60},
    ),
    (
        "further CAN that does not pair",
        {"other": {"excan": {"SPNid": [1, 2], "SPNval": [5]}}},
        {"can.spn.ids": "1,2", "can.spn.values": "5"},
    ),
    (
        "tachograph",
        {"other": {"tahoddd": {"BLKPOS": 1024, "FILEDATA": b"\0\1", "CARDID": b"\xaa", "STATUSDATA": 1}}},
        {"tachograph.position": 1024, "tachograph.data": "0001", "tachograph.card": "aa", "tachograph.status": 1},
    ),
    (
        "counters",
        {"other": {"apc": {"Status1": 3, "Status4": 1, "In1": 5, "Out1": 6, "In4": 11, "Out4": 12}}},
        {"passengers.status.1": 3, "passengers.status.4": 1, "passengers.in.1": 5, "passengers.out.1": 6,
         "passengers.in.4": 11, "passengers.out.4": 12},
    ),
    (
        "driver assistance",
        {"other": {"mobileeye": {"Status": 9, "CAN700": [b"\1", b"\2\3"], "CAN727": [b"\4"], "CAN760": [b"\5"]}}},
        {"mobileye.status": 9, "mobileye.700": "01,0203", "mobileye.727": "04", "mobileye.760": "05"},
    ),
    (
        "driving",
        {"other": {"safedriving": {"EventMask": 3, "SpeedThreshold": 90, "RPMThreshold": 3000,
                                   "AccelThresholds": [0.3, 12.6]}}},
        {"driving.events": 3, "driving.threshold.speed": 90, "driving.threshold.rpm": 3000,
         "driving.threshold.acceleration.1": 0.3, "driving.threshold.acceleration.2": 12.6},
    ),
    (
        "gauge",
        {"other": {"fuelsensormodbus": {"Level": 12.6, "Median": math.nan, "Percent": 40, "Volume": math.inf,
                                        "FuelTemp": -5, "Density": 0.84, "VaporTemp": -6, "PointTemp": [-1, 2]}}},
        {"gauge.level": 12.6, "gauge.percent": 40, "gauge.temperature": -5, "gauge.density": 0.84,
         "gauge.vapour.temperature": -6, "gauge.point.temperature.1": -1, "gauge.point.temperature.2": 2},
    ),
    (
        "weights",
        {"other": {"weightcontrol": {"AxleWeight": [1.5, 2.25], "AxleLimit": [8.1], "TotalWeight": 3.75,
                                     "TotalLimit": -math.inf}}},
        {"axle.weight.1": 1.5, "axle.weight.2": 2.25, "axle.limit.1": 8.1, "weight.total": 3.75},
    ),
    (
        "display",
        {"icondt": {"Status": "Погрузка".encode() + bytes(4), "StatusID": 2, "GroupID": 1, "MsgID": 2**63 + 1,
                    "MsgStatus": 4, "StatDate": 10, "StatusPrev": b"\xff\xfe", "Active": 1}},
        {"display.status": "Погрузка", "display.status.id": 2, "display.group": 1, "display.message": 2**63 + 1,
         "display.message.status": 4, "display.message.time": EPOCH + 10, "display.status.previous": "fffe",
         "display.active": 1},
    ),
    (
        "OBD",
        {"obddt": {"Speed": 0xFF50, "Distance": 0x3412, "Minutes": 0x0201, "Voltage": 0x1736, "RPM": 0xF81A,
                   "FuelLevel": 51, "FuelRate": 0x6400, "OilTemp": 130, "CoolantTemp": 0, "Monitor": 0x81,
                   "VIN": b"XTA210990Y2765499\0", "Samples": 4}},
        {"obd.speed": 0x50, "obd.distance": 0x1234, "obd.engine.minutes": 0x0102, "obd.voltage": 13.847,
         "obd.engine.rpm": 1726, "obd.fuel.level": 20, "obd.fuel.rate": 5, "obd.oil.temperature": 90,
         "obd.coolant.temperature": -40, "obd.monitor": 0x81, "vin": "XTA210990Y2765499", "obd.samples": 4},
    ),
    ("no VIN", {"obddt": {"VIN": b"\0\0"}}, {}),
    (
        "log",
        {"log": {"Debug": [b"Ver308\r\n", b"a\0b"], "LLSRefNum": 3, "LLSRefLevelBef": [1, 2], "LLSRefLevelAfter": [3],
                 "LLSRefKoef": [4], "LLSRefSens": [5], "LLSRefTemp": [6]}},
        {"log": "Ver308\r\n\n610062", "fuel.reference.sensors": 3, "fuel.reference.before.1": 1,
         "fuel.reference.before.2": 2, "fuel.reference.after.1": 3, "fuel.reference.coefficient.1": 4,
         "fuel.reference.sensitivity.1": 5, "fuel.reference.temperature.1": 6},
    ),
    ("coefficients", {"llsdt": {"LLSRefKoef": [100] * 8}}, {f"fuel.coefficient.{n}": 100 for n in range(1, 9)}),
    ("too many for columns", {"llsdt": {"LLSRefKoef": [1] * 65}}, {"fuel.coefficient": ",".join("1" * 65)}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "measures"), [s[1:] for s in SCALES], ids=[s[0] for s in SCALES])
def test_measures(message: dict[str, Any], measures: dict[str, Any]) -> None:
    assert measures_of(message) == measures


def test_generator_block_is_kept_as_bytes() -> None:
    block = bytes.fromhex("08051dcdcccc41")
    assert measures_of(b"\x4b\x43" + block + b"\x44\x4c") == {"generator.data": block.hex()}


# SPN, raw, measure, value; then the raw values that mean "error" or "not available"
CAN = [
    (70, 1, "can.parking_brake", 1, [2, 3]),
    (91, 36, "can.accelerator", 14.4, [254, 255]),
    (96, 250, "can.fuel.percent", 100, [251, 252, 254, 255]),
    (100, 100, "can.oil.pressure", 400, [254, 255]),
    (110, 0, "can.coolant.temperature", -40, [254, 255]),
    (174, 65, "can.fuel.temperature", 25, [254, 255]),
    (175, 11936, "can.oil.temperature", 100, [65024, 65535]),
    (182, 3, "can.trip.fuel", 1.5, [0xFE000000, 0xFFFFFFFF]),
    (184, 1024, "can.fuel.economy", 2, [65024, 65280]),
    (190, 6001, "can.engine.rpm", 750.125, [65024, 65535]),
    (244, 1, "can.trip.distance", 0.125, [0xFE000000]),
    (245, 0xFDFFFFFF, "can.distance", 532676607.875, [0xFE000000, 0xFF000000]),
    (247, 3, "can.engine.hours", 0.15, [0xFE000000]),
    (250, 7, "can.fuel.used", 3.5, [0xFE000000]),
    (521, 1, "can.brake", 0.4, [254, 255]),
    (522, 250, "can.clutch", 100, [254, 255]),
    (527, 6, "can.cruise.state", 6, [7]),
    (597, 0, "can.brake.switch", 0, [2, 3]),
    (598, 1, "can.clutch.switch", 1, [2, 3]),
    (914, 32000, "can.service.distance", -635, [65024, 65535]),
    (916, 32127, "can.service.hours", 0, [65024, 65535]),
    (1624, 384, "can.speed", 1.5, [65024, 65535]),
    (1821, 2, "can.doors", 2, [14, 15]),
    (1856, 1, "can.seat_belt", 1, [2, 3]),
]


@pytest.mark.parametrize(("spn", "raw", "measure", "value", "absent"), CAN)
def test_can(spn: int, raw: int, measure: str, value: float, absent: list[int]) -> None:
    assert measures_of({"candt": {f"SPN{spn}": raw}}) == {measure: value}
    for code in absent:
        assert measures_of({"candt": {f"SPN{spn}": code}}) == {}


def test_axles_pair_by_place() -> None:
    assert measures_of({"candt": {"SPN582": [9001, 65535, 4], "SPN928": [0, 1, 255]}}) == {
        "can.axle.weight.1": 4500.5,
        "can.axle.weight.3": 2,
        "can.axle.location.1": 0,
        "can.axle.location.2": 1,
    }


@pytest.mark.parametrize("sensor", range(1, 9))
@pytest.mark.parametrize(
    ("status", "level", "good", "assumed"),
    [
        (2, 0, True, False),
        (2, 2110, True, False),
        (1, 2110, False, False),
        (3, 2110, False, False),
        (0, 2110, True, True),
        (0, 0, False, False),
        (-1, 4095, True, True),
        (7, 4096, False, False),
        (None, 4095, True, True),
        (None, 0, False, False),
    ],
)
def test_fuel_level_stands_only_where_its_status_allows(
    sensor: int, status: int | None, level: int, good: bool, assumed: bool
) -> None:
    part = {f"TLLS{sensor}": -7, f"CLLS{sensor}": level} | ({} if status is None else {f"FLLS{sensor}": status})
    expected = {}
    if status is not None:
        expected[f"fuel.status.{sensor}"] = status
    if good:
        expected[f"fuel.level.{sensor}"] = level
        expected[f"fuel.temperature.{sensor}"] = -7  # a sensor without a level tells no temperature
    if assumed:
        expected[f"fuel.assumed.{sensor}"] = 1
    assert measures_of({"llsdt": part}) == expected


def test_a_temperature_without_its_level_is_none() -> None:
    assert measures_of({"llsdt": {"TLLS1": -7, "FLLS1": 2}}) == {"fuel.status.1": 2}
    messages = [{"llsdt": {"TLLS1": n, "CLLS1": 100, "FLLS1": 2 + n % 2}} for n in range(30)]
    assert [measures_of(m) for m in messages] == [r["measures"] for r in records(decoded_of(*messages))]


@pytest.mark.parametrize("bit", range(12))
def test_status_bits(bit: int) -> None:
    got = measures_of({"general": {"FLG": 1 << bit}})
    names = FLAG_BITS | (NEW_FLAG_BITS if bit >= 8 else {})
    assert got == {"flags": 1 << bit} | {name: int(place == bit) for name, place in names.items()}


def test_rows_with_rare_measures_stand_apart_and_none_is_lost() -> None:
    messages = [
        {"general": {"Time": n, "FLG": 1 << (n % 12)}, "llsdt": {"CLLS1": 5, "FLLS1": n % 4}} for n in range(48)
    ]
    got = records(decoded_of(*messages))
    assert [r["measures"] for r in got] == [measures_of(m) for m in messages]


def test_unknown_fields_and_wire_types_are_skipped() -> None:
    unknown = bytes.fromhex("980601 a20602ffff ad0601020304 a1060102030405060708 ab06 0801 ac06 1805 2d00000000")
    assert measures_of(b"\x08\x01" + unknown.replace(b" ", b"")) == {"event": 1}


def test_every_measure_is_in_the_dictionary() -> None:
    def names(group: Group) -> set[str]:
        found = set()
        for entry in group.fields.values():
            if isinstance(entry, Group):
                found |= names(entry)
            elif entry.measure:
                repeated = isinstance(entry, Odd) and entry.kind in ("numbers", "floats")
                found.add(entry.measure + ".1" if repeated else entry.measure)
        return found

    produced = names(MESSAGE) | set(FLAG_BITS) | set(NEW_FLAG_BITS) | {"fuel.level.1", "fuel.assumed.1"}
    produced |= {"gsm.signal", "wifi.signal", "gnss.time", "events", "flags"}
    known = set(MEASURES)
    for name in produced:
        pattern = ".".join("N" if part.isdigit() else part for part in name.split("."))
        last = ".".join([*name.split(".")[:-1], "N"])
        assert known & {name, pattern, last}, name
    assert all(len(entry) == 2 and entry[1] for entry in MEASURES.values())


def test_a_container_in_parts_is_the_same_messages() -> None:
    good = [{"mID": [1], "general": {"Time": 1000 + n, "FLG": n % 3}} for n in range(40)]
    wire = declaration.container(
        7, 1000, [*good[:20], b"\x00", *good[20:], b""]
    )  # one is broken, and the end is damaged
    told = Told().feed(E1 + wire)
    (frame,) = told.frames()
    whole = decode([frame])
    assert len(whole.batch) == 40
    for most in (1, 7, 41, 42, 43):
        pieces = parts(frame, most)
        assert len(pieces) == -(-41 // most) + (41 % most == 0 and most < 42)
        decoded = [decode([piece]) for piece in pieces]
        fingerprints = [number for part in decoded for number in _in_order(part.batch)]
        assert fingerprints == _in_order(whole.batch)
        assert {bad.data for part in decoded for bad in part.quarantined} == {bad.data for bad in whole.quarantined}


def _in_order(batch: Batch) -> list[int]:
    order = np.argsort(batch.position)
    return [int(number) for number in batch.fingerprint[order]]
