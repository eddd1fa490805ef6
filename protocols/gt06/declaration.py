"""GT06 frames: the readable truth, parser and builder.

Bytes from the wire go through `session` and `decoder`; this reads them for people and the tests, and builds them for
the simulator. Source: JM-VL03 GPS Tracker Communication Protocol V1.1.2.
"""

from __future__ import annotations

from typing import Any

from construct import (
    Bytes,
    Construct,
    ConstructError,
    GreedyBytes,
    If,
    Int8ub,
    Int16ub,
    Int24ub,
    Int32ub,
    Int64ub,
    Optional,
    Prefixed,
    Struct,
    Terminated,
    this,
)

from protocols.gt06 import wire
from protocols.instants import binary

TIME = Bytes(6)  # year since 2000, month, day, hour, minute, second, a byte each
GPS = Struct(
    "satellites" / Int8ub,  # low nibble; the high one is the length of this part, 12
    "latitude" / Int32ub,  # 1 / 1 800 000 degree, no sign
    "longitude" / Int32ub,
    "speed" / Int8ub,  # km/h
    "course" / Int16ub,  # bits 0-9 degrees, 10 north, 11 west, 12 positioned
)
LBS = Struct("mcc" / Int16ub, "mnc" / Int8ub, "area" / Int16ub, "cell" / Int24ub)
LBS_4G = Struct(
    "mcc" / Int16ub,
    "mnc" / Int8ub,
    "mnc_low" / If(this.mcc >= 0x8000, Int8ub),
    "area" / Int32ub,
    "cell" / Int64ub,
)
_ADDED = Struct("ignition" / Int8ub, "mode" / Int8ub, "again" / Int8ub, "odometer" / Optional(Int32ub))
_STATE = Struct("info" / Int8ub, "voltage" / Int8ub, "gsm" / Int8ub, "alarm" / Int8ub, "language" / Int8ub)


def _content(*parts: Any) -> Construct:
    return Struct("time" / TIME, "gps" / GPS, *parts, "tail" / GreedyBytes)


def _alarm(*parts: Any) -> Construct:
    """The length before the cells counts itself."""
    return _content("lbs" / Prefixed(Int8ub, GreedyBytes, includelength=True), "state" / _STATE, *parts)


CONTENTS: dict[int, Construct] = {
    wire.LOGIN: Struct("imei" / Bytes(8), "type" / Optional(Int16ub), "zone" / Optional(Int16ub), Terminated),
    wire.HEARTBEAT: Struct("info" / Int8ub, "voltage" / Int8ub, "gsm" / Int8ub, "tail" / GreedyBytes),
    wire.GPS: _content(),
    wire.GPS_LBS: _content(),
    wire.LOCATION: _content("lbs" / LBS),
    wire.LOCATION_UTC: _content("lbs" / LBS, "added" / _ADDED),
    wire.LOCATION_4G: _content("lbs" / LBS_4G, "added" / _ADDED),
    wire.ALARM: _alarm(),
    wire.ALARM_UTC: _alarm(),
    wire.ALARM_FENCE: _alarm("fence" / Optional(Int8ub)),
    wire.ALARM_4G: _alarm("fence" / Optional(Int8ub)),
    wire.INFO: Struct("kind" / Int8ub, "data" / GreedyBytes),
    wire.COMMAND: Struct("length" / Int8ub, "flag" / Int32ub, "text" / GreedyBytes),
    wire.ANSWER: Struct("length" / Int8ub, "flag" / Int32ub, "text" / GreedyBytes),
    wire.ANSWER_LONG: Struct("flag" / Int32ub, "coding" / Int8ub, "text" / GreedyBytes),
}


def tree(data: bytes) -> Any:
    """A frame as nested containers; never raises."""
    told = wire.parts_of(data)
    if told is None:
        return {"bytes": data.hex()}
    protocol, content = told
    return {
        "protocol": f"0x{protocol:02x}",
        "content": content_of(protocol, content),
        "serial": int.from_bytes(data[-6:-4], "big"),
    }


def content_of(protocol: int, content: bytes) -> Any:
    """What a content holds; its hex where no declaration reads it."""
    form = CONTENTS.get(protocol)
    if form is None:
        return content.hex()
    try:
        return form.parse(content)
    except ConstructError:
        return content.hex()


# -- builders: what terminals send -------------------------------------------------------------------------------------


def login(imei: str, serial: int = 1, *, kind: int = 0x3612, zone: int | None = 0x12C2) -> bytes:
    """The first frame; `zone` in the wire's own form, None: an old terminal without one."""
    content = (
        bytes.fromhex("0" + imei) + kind.to_bytes(2, "big") + (zone.to_bytes(2, "big") if zone is not None else b"")
    )
    return wire.frame(wire.LOGIN, content, serial)


def heartbeat(serial: int, *, info: int = 0x46, voltage: int = 5, gsm: int = 4) -> bytes:
    """A sign of life."""
    return wire.frame(wire.HEARTBEAT, bytes((info, voltage, gsm, 0, 2)), serial)


def place(
    *,
    time: float,
    latitude: float = 0.0,
    longitude: float = 0.0,
    satellites: int = 9,
    speed: int = 0,
    course: int = 0,
    fixed: bool = True,
) -> bytes:
    """Time and gps part; `time` Unix s by the clock that the terminal shows."""
    bits = course | (1 << 12 if fixed else 0) | (1 << 10 if latitude >= 0 else 0) | (1 << 11 if longitude < 0 else 0)
    built: bytes = GPS.build(
        {
            "satellites": 0xC0 | satellites,
            "latitude": round(abs(latitude) * 1_800_000),
            "longitude": round(abs(longitude) * 1_800_000),
            "speed": speed,
            "course": bits,
        }
    )
    return binary(time) + built


def cell(mcc: int = 250, mnc: int = 1, area: int = 8092, number: int = 42194) -> bytes:
    """A cell of 2G."""
    built: bytes = LBS.build({"mcc": mcc, "mnc": mnc, "area": area, "cell": number})
    return built


def answer(text: str, flag: int, serial: int) -> bytes:
    """The answer to a command."""
    return wire.frame(wire.ANSWER_LONG, flag.to_bytes(4, "big") + b"\1" + text.encode("ascii"), serial)
