"""Worked packets of Teltonika, with what each field must read.

The packets follow the Teltonika wiki, "Teltonika Data Sending Protocols"; all of them were read with
alim-zanibekov/teltonika as well, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.records import EVENT, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID
from tests.protocols.vectors import Vector

IMEI = "356938035643809"
LOGIN = bytes.fromhex("000F333536393338303335363433383039")
WIKI = "Teltonika wiki, Data Sending Protocols"


@dataclass(frozen=True)
class AvlVector:
    """A data frame: its bytes, the records it holds and its answer."""

    name: str
    source: str
    wire: bytes
    ack: bytes
    records: list[dict[str, Any]]


def _record(position: int, time: int, where: tuple[float | None, float | None], rest: tuple[int, ...], **measures: Any):
    altitude, course, satellites, speed, flags = rest
    return {
        "frame": 0,
        "position": position,
        "time": time,
        "lat": where[0],
        "lon": where[1],
        "altitude": altitude,
        "course": course,
        "satellites": satellites,
        "speed": speed,
        "flags": flags,
        "measures": {name.replace("__", "."): value for name, value in measures.items()},
    }


CODEC_8 = AvlVector(
    "codec 8, one record",
    f"{WIKI}, Codec 8",
    bytes.fromhex(
        "000000000000003C08010000019CEBAB874800166BFB48213B14FB00A801120B003D000904EF01F0011504CAF903426CC0430FE9C90765"
        "02F1000061A91008D7BC72000100007AA9"
    ),
    bytes.fromhex("00000001"),
    [
        _record(
            0,
            1773480413_000_000,  # 2026-03-14T09:26:53.000Z
            (55.7520123, 37.6175432),
            (168, 274, 11, 61, VALID | IGNITION_KNOWN | IGNITION_ON | MOVING),
            event=0,
            priority=0,
            ignition=1,
            movement=1,
            gsm__signal=80,  # 4 of 5
            fuel__temperature__1=-7,
            power__external=27.84,
            power__battery=4.073,
            fuel__level__1=1893,
            gsm__operator=25001,
            odometer=148356210,
        )
    ],
)

CODEC_8E = AvlVector(
    "codec 8E, two records",
    f"{WIKI}, Codec 8 Extended",
    bytes.fromhex(
        "00000000000000AA8E020000019CEBABFD7201DD33AE59EB5FE39F0019000000000000EF0009000300EF0000450200CA80000300C9FFFF"
        "00B5000000B6000000000002000B000000003544CB9D000E000000005FB20D41000101000011574442393633343033314C373338323931"
        "0000019CEBACE7D200DD33AE58EB5FE39E001900B409000C00000008000300EF0100450100CA15000500C90FFF010E0A9700B5000E00B6"
        "00082A30F8C60000000000000200006C1F"
    ),
    bytes.fromhex("00000002"),
    [
        _record(
            0,
            1773480443_250_000,  # 2026-03-14T09:27:23.250Z
            (None, None),  # no satellites: the wire repeats the last fix
            (25, 0, 0, 0, IGNITION_KNOWN | EVENT),
            event=239,
            priority=1,
            ignition=0,
            gnss__status=2,
            fuel__temperature__1=-128,
            fuel__status__1=-1,  # a sensor error is never a level
            pdop=0,
            hdop=0,
            sim__iccid__1="893701021",
            sim__iccid__2="1605504321",
            vin="WDB9634031L738291",
        ),
        _record(
            1,
            1773480503_250_000,
            (-34.6037346, -58.3815592),
            (25, 180, 9, 12, VALID | IGNITION_KNOWN | IGNITION_ON | MOVING),
            event=0,
            priority=0,
            ignition=1,
            gnss__status=1,
            fuel__temperature__1=21,
            fuel__level__1=4095,
            ble__lls__level__1=2711,
            pdop=1.4,
            hdop=0.8,
            eye__temperature__1=-18.5,
        ),
    ],
)

CODEC_16 = AvlVector(
    "codec 16, one record",
    f"{WIKI}, Codec 16",
    bytes.fromhex(
        "000000000000003010010000019CEBAE61C0020F1160C3209899030071005A0D0058000B05030100010101004237200100"
        "0C0000DFE900010000365B"
    ),
    bytes.fromhex("00000001"),
    [
        _record(
            0,
            1773480600_000_000,  # 2026-03-14T09:30:00.000Z
            (54.6871555, 25.2797123),
            (113, 90, 13, 88, VALID | MOVING | EVENT),
            event=11,
            priority=2,
            event__generation=5,
            input__1=1,
            power__external=14.112,
            fuel__used__gps=57.321,
        )
    ],
)

AVL = [CODEC_8, CODEC_8E, CODEC_16]

UDP_8E = AvlVector(
    "codec 8E over UDP",
    f"{WIKI}, UDP channel protocol",
    bytes.fromhex(
        "0045CAFE012A000F3335363933383033353634333830398E010000019CEBB120E000166BFB48213B14FB00A8000A08000500000002"
        "000100EF01000100C9076200000000000001"
    ),
    bytes.fromhex("0005CAFE012A01"),
    [
        _record(
            0,
            1773480780_000_000,  # 2026-03-14T09:33:00.000Z
            (55.7520123, 37.6175432),
            (168, 10, 8, 5, VALID | IGNITION_KNOWN | IGNITION_ON | MOVING),
            event=0,
            priority=0,
            ignition=1,
            fuel__level__1=1890,
        )
    ],
)

READER = "alim-zanibekov/teltonika"
GETVER = bytes.fromhex("000000000000000E0C010500000006676574766572010000A4C2")
GETVER_TEXT = (
    "Ver:03.29.00_05 GPS:AXN_5.1.9 Hw:FMC130 Mod:11 IMEI:356938035643809 Init: 2026-3-14 8:1 Uptime: 5213 BL:1.11"
)
GETVER_REPLY = bytes.fromhex(
    "00000000000000740C01060000006C5665723A30332E32392E30305F3035204750533A41584E5F352E312E392048773A464D43313330204D6F"
    "643A313120494D45493A33353639333830333536343338303920496E69743A20323032362D332D313420383A3120557074696D653A20353231"
    "3320424C3A312E313101000057F6"
)
CODEC_13 = bytes.fromhex("000000000000001B0D01060000001369B52AD44C564C3D313839333B543D2D370D0A010000FCB2")
CODEC_14_COMMAND = bytes.fromhex("00000000000000170E01050000000F0356938035643809676574696E666F01000051FE")
CODEC_14_REFUSAL = bytes.fromhex("00000000000000100E0111000000080356938035643809010000D92D")
CODEC_15 = bytes.fromhex("00000000000000170F010B0000000F69B52B10035693803564380948690A010000F762")

VECTORS = [
    Vector("login", source=f"{WIKI}, communication with server", wire=LOGIN, checked_with=READER),
    *(Vector(v.name, source=v.source, wire=v.wire, checked_with=READER) for v in (*AVL, UDP_8E)),
    Vector("answer to getver", source=f"{WIKI}, Codec 12", wire=GETVER_REPLY, checked_with=READER),
    Vector("bytes of a serial line", source=f"{WIKI}, Codec 13", wire=CODEC_13, checked_with=READER),
    Vector("command not carried out", source=f"{WIKI}, Codec 14", wire=CODEC_14_REFUSAL, checked_with=READER),
    Vector("message with its time", source=f"{WIKI}, Codec 15", wire=CODEC_15, checked_with=READER),
]
