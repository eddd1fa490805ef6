"""Register profiles: what the registers of one make of sensor mean, as data.

    name = "Daviteq CAP10"
    source = "Daviteq, CAP10 manual"
    [[value]]
    measure = "level"        # fuel.level.N
    function = 4             # 3 holding registers, 4 input registers
    start = 0                # of the first register, as on the wire: 30001 and 40001 are 0
    type = "u16"             # u16 i16 u32 i32 u64 i64 f32 f64
    words = "ABCD"           # order of bytes: ABCD, CDAB, BADC, DCBA
    scale = 1.0              # value = scale × raw
    unit = "‰"               # of the level, for people; other measures have their own
    least = 0                # of the value; outside it is invalid
    most = 1000
    invalid = [65535]        # raw numbers that stand for "none"

Values whose registers adjoin are read at once; `gap` at the top says how many unused registers may be read over for
that. A level that is none has its code in `fuel.code.N`; any other value that is none is left out.
"""

from __future__ import annotations

import math
import struct
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from protocols.errors import ProtocolError

HOLDING, INPUT = 3, 4
MAX_REGISTERS = 125  # in one answer, by the protocol
MAX_VALUES = 16  # of one sensor: a line's record has room for some hundred names

# Measure, without `fuel.` and the sensor's number -> unit and meaning; "raw": the profile says.
MEASURES: Mapping[str, tuple[str, str]] = {
    "level": ("raw", ""),
    "temperature": ("°C", ""),
    "frequency": ("Hz", ""),
    "undamped": ("raw", "level of fuel sensor N before its own damping"),
    "water": ("mm", "water below the fuel, told by fuel sensor N"),
    "capacitance": ("raw", "capacitance that fuel sensor N measured: for diagnosis"),
    "change": ("raw", "change of the level in a minute, told by fuel sensor N"),
    "flow": ("l/h", "flow through fuel meter N"),
    "used": ("l", "volume that fuel meter N has counted"),
    "alarm": ("bits", "error or alarm word of fuel sensor N; 0 none"),
    "reversals": ("", "changes of direction that fuel meter N has counted"),
}
_TYPES = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_SCALES = 1e9  # and its inverse; 1 / scale must have room for a decimal fraction's digits
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class ProfileError(ProtocolError):
    """A profile that cannot be used; the message says why."""


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One measure, and where it lies."""

    measure: str
    function: int
    start: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
    type: str = "u16"
    words: str = "ABCD"
    scale: float = 1.0
    unit: str = ""
    least: float | None = None
    most: float | None = None
    invalid: Annotated[tuple[float, ...], msgspec.Meta(max_length=16)] = ()

    @property
    def registers(self) -> int:
        """How many it takes."""
        return struct.calcsize(_TYPES[self.type]) // 2

    def read(self, data: bytes) -> tuple[float, bool]:
        """The value in its bytes as they were sent, and whether it is one."""
        raw: float = struct.unpack(f">{_TYPES[self.type]}", reorder(data, self.words))[0]
        if not math.isfinite(raw):
            return math.nan, False
        told = raw * self.scale if self.scale == 1 or self.scale % 1 == 0 else _decimal(raw, self.scale)
        if not math.isfinite(told):  # a double may be larger than what can be told of it
            return math.nan, False
        within = (self.least is None or told >= self.least) and (self.most is None or told <= self.most)
        return told, within and raw not in self.invalid

    def pack(self, told: float) -> bytes:
        """The bytes that say this value, most significant first; what the type cannot hold is cut to what it can."""
        raw, letter = told / self.scale, _TYPES[self.type]
        if letter in "fd":
            return struct.pack(f">{letter}", raw)
        bits, signed = 16 * self.registers, letter.islower()
        least = -(1 << bits - 1) if signed else 0
        most = (1 << bits - 1) - 1 if signed else (1 << bits) - 1
        return struct.pack(f">{letter}", min(max(round(raw), least), most))


class _Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Name
    source: Annotated[str, msgspec.Meta(max_length=400)] = ""
    gap: Annotated[int, msgspec.Meta(ge=0, le=32)] = 0
    value: Annotated[tuple[Value, ...], msgspec.Meta(min_length=1, max_length=MAX_VALUES)]


@dataclass(frozen=True, slots=True)
class Read:
    """Registers that are read at once; `values` with the offset of each, in bytes."""

    function: int
    start: int
    count: int
    values: tuple[tuple[int, Value], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """One make of sensor.

    Attributes
    ----------
    reads : what is asked for one reading.
    names : of its measures, without `fuel.` and number; `code` too where it tells a level.
    """

    name: str
    source: str
    reads: tuple[Read, ...]
    names: tuple[str, ...]

    @property
    def level(self) -> bool:
        """Whether it tells a level."""
        return "level" in self.names


def parse(text: str) -> Profile:
    """Read a profile.

    Raises
    ------
    ProfileError
        If it is none.
    """
    try:
        told = msgspec.convert(tomllib.loads(text), _Source)
    except msgspec.ValidationError as error:
        raise ProfileError(f"is no register profile: {error}") from error
    except (ValueError, RecursionError) as error:  # of an integer without end Python says so in a plain ValueError
        raise ProfileError(f"is not TOML: {error}") from error
    seen: set[str] = set()
    for number, value in enumerate(told.value, 1):
        if what := _wrong(value, seen):
            raise ProfileError(f"value {number}: {what}")
        seen.add(value.measure)
    names = tuple(dict.fromkeys(value.measure for value in told.value))
    if "level" in names:
        names = (*names, "code")
    return Profile(told.name, told.source, _reads(told.value, told.gap), names)


def _wrong(value: Value, seen: set[str]) -> str:
    if value.measure not in MEASURES:
        return f"there is no measure {value.measure!r}: there are {', '.join(MEASURES)}"
    if value.measure in seen:
        return f"{value.measure} stands twice"
    if value.function not in (HOLDING, INPUT):
        return "function is 3 (holding registers) or 4 (input registers)"
    if value.type not in _TYPES:
        return f"there is no type {value.type!r}: there are {', '.join(_TYPES)}"
    if value.words not in _ORDERS:
        return f"there is no order of bytes {value.words!r}: there are {', '.join(_ORDERS)}"
    if value.start + value.registers > 1 << 16:
        return "ends behind the last register"
    if not math.isfinite(value.scale) or value.scale == 0:
        return "scale must be a number other than 0"
    if not 1 / _SCALES <= abs(value.scale) <= _SCALES:
        return f"scale must be from {1 / _SCALES:g} to {_SCALES:g}"
    bounds = [bound for bound in (value.least, value.most) if bound is not None]
    if not all(map(math.isfinite, (*bounds, *value.invalid))):
        return "least, most and invalid must be numbers"
    if bounds != sorted(bounds):
        return "least is above most: no value would be one"
    unit = MEASURES[value.measure][0]
    if value.unit and unit not in ("raw", value.unit):
        return f"{value.measure} is told in {unit or 'no unit'}, not in {value.unit}: scale it"
    return ""


def _reads(values: Sequence[Value], gap: int) -> tuple[Read, ...]:
    reads: list[Read] = []
    for value in sorted(values, key=lambda value: (value.function, value.start)):
        last = reads[-1] if reads else None
        end = value.start + value.registers
        if (
            last is not None
            and last.function == value.function
            and value.start <= last.start + last.count + gap
            and max(end, last.start + last.count) - last.start <= MAX_REGISTERS
        ):
            count = max(end, last.start + last.count) - last.start
            at = 2 * (value.start - last.start)
            reads[-1] = Read(last.function, last.start, count, (*last.values, (at, value)))
        else:
            reads.append(Read(value.function, value.start, value.registers, ((0, value),)))
    return tuple(reads)


def reorder(data: bytes, words: str) -> bytes:
    """Bytes in the order in which numbers are written, most significant first."""
    if words[0] in "DB" and words != "ABCD":  # bytes of each register the other way round
        data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
    if words in ("CDAB", "DCBA"):  # registers the other way round
        data = b"".join(data[at : at + 2] for at in range(len(data) - 2, -2, -2))
    return data


def _decimal(raw: float, scale: float) -> float:
    """Without binary noise where the scale is a decimal fraction: 315 × 0.1 is 31.5."""
    return raw / round(1 / scale) if abs(1 / scale - round(1 / scale)) < 1e-9 else raw * scale
