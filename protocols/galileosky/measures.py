"""What Galileosky's tags hold: size, and which measures their bytes make.

Source: Galileosky, "Server exchange protocol" (2019), table of tags; the extended tags from public implementations.
Fuel sensors are numbered by their address on RS485, from 1; the two of RS232 come behind them as 17 and 18.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from protocols.meanings import Meaning

Part: TypeAlias = tuple[Meaning, int, int, str]  # offset in the value, size, format

VARIABLE = -1  # the size stands in the value
IMEI, NUMBER, COMMAND, TEXT, ANSWER, ARRAY, EXTENDED, REFRIGERATOR, TYRES = (
    0x03, 0x04, 0xE0, 0xE1, 0xEB, 0xEA, 0xFE, 0x5B, 0x5C,
)  # fmt: skip
HARDWARE, FIRMWARE = 0x01, 0x02
_LEVEL_MAX = 4095  # of an LLS; no codes of errors are documented, so whatever is above is one
_FORMATS = {1: "<u1", 2: "<u2", 4: "<u4"}


class Tag(NamedTuple):
    """`name` for people; `size` of the value in bytes; its measures."""

    name: str
    size: int
    parts: tuple[Part, ...]


def _number(meaning: Meaning, size: int, *, signed: bool = False, at: int = 0) -> Part:
    form = _FORMATS[size]
    return meaning, at, size, form.replace("u", "i") if signed else form


def _plain(name: str, size: int, *, signed: bool = False, **rest: float) -> Tag:
    return Tag(name, size, (_number(Meaning(name, **rest), size, signed=signed),))  # type: ignore[arg-type]


def _raw(name: str, size: int) -> Tag:
    return Tag(name, size, ((Meaning(name, kind="hex"), 0, size, ""),))


def _bit(name: str, bit: int, size: int = 2) -> Part:
    return _number(Meaning(name, shift=bit, bits=1), size)


def _level(n: int) -> Part:
    return _number(Meaning(f"fuel.level.{n}", low=0, high=_LEVEL_MAX, status=f"fuel.status.{n}"), 2)


def _numbered(first: int, count: int, name: str, size: int, start: int = 1) -> dict[int, Tag]:
    return {first + k: _plain(f"{name}.{start + k}", size) for k in range(count)}


_POSITION = Tag("position", 9, (
    _number(Meaning("@satellites", bits=4), 1),
    _number(Meaning("@fix", shift=4, bits=4), 1),
    _number(Meaning("gnss.source", shift=4, bits=4), 1),
    _number(Meaning("@lat", divisor=1e6), 4, signed=True, at=1),
    _number(Meaning("@lon", divisor=1e6), 4, signed=True, at=5),
))  # fmt: skip
_MOTION = Tag("motion", 4, (
    _number(Meaning("@speed", divisor=10), 2), _number(Meaning("@course", divisor=10, low=0, high=3600), 2, at=2),
))  # fmt: skip
_STATUS = Tag("status", 2, (
    _number(Meaning("status"), 2), _bit("movement", 0), _bit("ignition", 9), _bit("alarm", 15),
    _number(Meaning("gsm.signal", multiplier=100, divisor=3, shift=12, bits=2), 2),
))  # fmt: skip
_ACCELERATION = Tag("acceleration", 4, tuple(
    _number(Meaning(f"acceleration.{axis}", divisor=186, add=-512, shift=10 * k, bits=10), 4)
    for k, axis in enumerate("xyz")
))  # fmt: skip
_DRIVING = Tag("driving", 4, tuple(
    _number(Meaning(f"driving.{what}", divisor=100), 1, at=k)
    for k, what in enumerate(("acceleration", "braking", "cornering", "bump"))
))  # fmt: skip
_ENGINE = Tag("can.engine", 4, (
    _number(Meaning("can.fuel.percent", multiplier=2, divisor=5), 1),
    _number(Meaning("can.coolant.temperature", add=-40), 1, at=1),
    _number(Meaning("can.engine.rpm", divisor=8), 2, at=2),
))  # fmt: skip


def _thermometer(n: int) -> Tag:
    broken = Meaning(f"temperature.{n}", none=(-128,))
    return Tag(f"thermometer.{n}", 2, (
        _number(Meaning(f"temperature.id.{n}"), 1), _number(broken, 1, signed=True, at=1),
    ))  # fmt: skip


def _climate(n: int) -> Tag:
    return Tag(f"climate.{n}", 3, (
        _number(Meaning(f"climate.id.{n}"), 1),
        _number(Meaning(f"climate.temperature.{n}"), 1, signed=True, at=1),
        _number(Meaning(f"climate.humidity.{n}", multiplier=100, divisor=255), 1, at=2),
    ))  # fmt: skip


TAGS: dict[int, Tag] = {
    HARDWARE: _plain("device.hardware", 1),
    FIRMWARE: _plain("device.firmware", 1),
    IMEI: Tag("imei", 15, ()),  # who the terminal is, no measure
    NUMBER: _plain("device.number", 2),
    0x10: _plain("record.number", 2),
    0x20: _plain("@time", 4),
    0x30: _POSITION,
    0x33: _MOTION,
    0x34: _plain("@altitude", 2, signed=True),
    0x35: Tag("hdop", 1, (
        _number(Meaning("hdop", divisor=10), 1), _number(Meaning("gnss.error", multiplier=10), 1),
    )),
    0x40: _STATUS,
    0x41: _plain("power.external", 2, divisor=1000),
    0x42: _plain("power.battery", 2, divisor=1000),
    0x43: _plain("board.temperature", 1, signed=True),
    0x44: _ACCELERATION,
    0x45: _plain("outputs", 2),
    0x46: _plain("inputs", 2),
    0x47: _DRIVING,
    0x48: Tag("status.extended", 2, (_number(Meaning("status.extended"), 2), _bit("gsm.jamming", 2))),
    **_numbered(0x50, 8, "input.value", 2),
    0x58: Tag("fuel.rs232.1", 2, (_level(17),)),
    0x59: Tag("fuel.rs232.2", 2, (_level(18),)),
    0x5A: _plain("energy.meter", 4),
    REFRIGERATOR: _raw("refrigerator", VARIABLE),
    TYRES: _raw("tpms", 68),
    0x5D: _raw("dosimeter", 3),
    **{0x60 + k: Tag(f"fuel.rs485.{k + 1}", 2, (_level(k + 1),)) for k in range(3)},
    **{
        0x60 + k: Tag(f"fuel.rs485.{k + 1}", 3, (
            _level(k + 1), _number(Meaning(f"fuel.temperature.{k + 1}"), 1, signed=True, at=2),
        ))
        for k in range(3, 16)
    },
    **{0x70 + k: _thermometer(k + 1) for k in range(8)},
    **{0x80 + k: _climate(k + 1) for k in range(8)},
    0x88: _plain("fuel.temperature.17", 1, signed=True),
    0x89: _plain("fuel.temperature.18", 1, signed=True),
    **{0x8A + k: _plain(f"fuel.temperature.{k + 1}", 1, signed=True) for k in range(3)},
    0x90: Tag("driver.key", 4, ((Meaning("driver.key", kind="little key"), 0, 4, ""),)),
    **_numbered(0xA0, 16, "can.byte", 1, 16),
    **_numbered(0xB0, 10, "can.word", 2, 6),
    0xC0: _plain("can.fuel.used", 4, divisor=2),
    0xC1: _ENGINE,
    0xC2: _plain("can.odometer", 4, multiplier=5),
    0xC3: _plain("can.b1", 4),
    **_numbered(0xC4, 15, "can.byte", 1),
    0xD3: Tag("driver.key.2", 4, ((Meaning("driver.key.2", kind="little key"), 0, 4, ""),)),
    0xD4: _plain("odometer", 4),
    0xD5: _plain("driver.keys", 1),
    **_numbered(0xD6, 5, "can.word", 2),
    **_numbered(0xDB, 5, "can.dword", 4),
    COMMAND: _plain("command.number", 4),
    TEXT: Tag("command.text", VARIABLE, ((Meaning("command.text", kind="cp1251"), 0, VARIABLE, ""),)),
    **_numbered(0xE2, 8, "user", 4),
    ARRAY: _raw("user.array", VARIABLE),
    ANSWER: _raw("command.data", VARIABLE),
    **_numbered(0xF0, 10, "can.dword", 4, 6),
    0xFA: _raw("io.250", 3),  # seen in recordings, unexplained
    0xFD: _raw("io.253", 8),
    EXTENDED: Tag("extended", VARIABLE, ()),
}  # fmt: skip

EXTENDED_TAGS: dict[int, Tag] = {
    **_numbered(0x0001, 32, "modbus", 4),
    **_numbered(0x0021, 64, "bluetooth", 4),
    **_numbered(0x0061, 32, "modbus", 4, 33),
    0x0081: _plain("gsm.cell", 2),
    0x0082: _plain("gsm.area", 2),
    0x0083: _plain("gsm.mcc", 2),
    0x0084: _plain("gsm.mnc", 2),
    0x0085: _plain("gsm.rssi", 1),
}

# The minimal data set of compressed packets: 80 bits, most significant first, read by overlapping words.
MINIMAL = 10
MINIMAL_PARTS: tuple[Part, ...] = (
    (Meaning("@time", shift=6, bits=25), 0, 4, ">u4"),  # s since the year began
    (Meaning("@fix", shift=5, bits=1), 0, 4, ">u4"),
    (Meaning("@lon", shift=7, bits=22, add=-(1 << 21), multiplier=360, divisor=1 << 22), 3, 4, ">u4"),
    (Meaning("@lat", shift=10, bits=21, add=-(1 << 20), multiplier=180, divisor=1 << 21), 6, 4, ">u4"),
    (Meaning("alarm", shift=9, bits=1), 6, 4, ">u4"),
    (Meaning("user.tag", bits=9), 6, 4, ">u4"),
)

SHARED = (
    "ignition", "movement", "power.external", "power.battery", "acceleration.x", "acceleration.z", "can.engine.rpm",
    "can.fuel.percent", "can.fuel.used", "gsm.signal", "odometer", "inputs", "outputs", "hdop", "fuel.level.N",
    "fuel.temperature.N", "fuel.status.N", "temperature.N", "driver.key", "io.<id>", "io.<id>.N",
)  # fmt: skip

MEASURES: dict[str, tuple[str, str]] = {
    "device.hardware": ("number", "hardware version, as the terminal numbers it"),
    "device.firmware": ("number", "firmware version, as the terminal numbers it"),
    "device.number": ("number", "the terminal's number, given by its user"),
    "record.number": ("number", "the record's number in the terminal's archive, from 0 again after 65535"),
    "gnss.source": ("code", "where the position is from: 0 satellites, 2 cells; others: no fix"),
    "gnss.error": ("m", "error of a position by cells"),
    "status": ("bits", "the terminal's status word"),
    "status.extended": ("bits", "0 main server connected, 1 GPRS session, 2 GSM jamming"),
    "alarm": ("0/1", "the alarm was triggered"),
    "acceleration.y": ("g", "acceleration along the terminal's y axis"),
    "driving.acceleration": ("g", "hardest acceleration since the last record"),
    "driving.braking": ("g", "hardest braking since the last record"),
    "driving.cornering": ("g", "hardest cornering since the last record"),
    "driving.bump": ("g", "hardest bump since the last record"),
    "board.temperature": ("°C", "temperature of the terminal's board"),
    "gsm.jamming": ("0/1", "GSM is jammed"),
    "input.value.N": ("raw", "input N: millivolts, pulses or hertz, by the terminal's settings"),
    "energy.meter": ("raw", "energy meter"),
    "refrigerator": ("hex", "refrigerating unit, as sent"),
    "tpms": ("hex", "tyre pressure sensors, as sent"),
    "dosimeter": ("hex", "dosimeter, as sent"),
    "temperature.id.N": ("number", "number of temperature sensor N"),
    "climate.id.N": ("number", "number of temperature and humidity sensor N"),
    "climate.temperature.N": ("°C", "temperature told by temperature and humidity sensor N"),
    "climate.humidity.N": ("%", "relative humidity told by temperature and humidity sensor N"),
    "can.byte.N": ("raw", "one-byte CAN value N - 1 of the terminal's settings"),
    "can.word.N": ("raw", "two-byte CAN value N - 1 of the terminal's settings"),
    "can.dword.N": ("raw", "four-byte CAN value N - 1 of the terminal's settings"),
    "can.b1": ("raw", "CAN_B1 of the terminal's settings"),
    "can.coolant.temperature": ("°C", "coolant temperature by CAN"),
    "can.odometer": ("m", "distance by CAN, in total"),
    "driver.key.N": ("text", "key on reader N, from 2"),
    "driver.keys": ("bits", "which keys are on the readers"),
    "command.number": ("number", "number of the command that a record answers"),
    "command.text": ("text", "answer to a command within a record"),
    "command.data": ("hex", "binary part of an answer within a record"),
    "user.N": ("raw", "user value N - 1"),
    "user.tag": ("raw", "user value 0 as a compressed packet has it: nine bits"),
    "user.array": ("hex", "user array, as sent"),
    "modbus.N": ("raw", "Modbus value N - 1; hundredths by the terminal's default"),
    "bluetooth.N": ("raw", "Bluetooth value N - 1"),
    "gsm.cell": ("number", "cell id"),
    "gsm.area": ("number", "location area code"),
    "gsm.mcc": ("number", "country code of the mobile network"),
    "gsm.mnc": ("number", "network code of the mobile network"),
    "gsm.rssi": ("raw", "signal strength as sent"),
}
