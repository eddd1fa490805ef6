"""The fields that are no single 32-bit number: texts, byte strings, repeated numbers, floats, 64-bit numbers."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from protocols.keys import key_text
from protocols.omnicomm.fields import EVENTS, SPN_IDS, SPN_VALUES, Odd
from protocols.omnicomm.parser import Value
from protocols.records import EXACT_INTEGER

# A terminal sends 8 axles, 8 coefficients or 24 CAN parameters; a list beyond this limit is kept as one text, so that
# no message makes thousands of columns.
MAX_COLUMNS = 64


class OddValues:
    """`names` and `values` for the float8 columns, `extra` for texts and integers beyond 2^53."""

    __slots__ = ("extra", "names", "values")

    def __init__(self, odd: dict[Odd, list[Value]]) -> None:
        self.names: list[str] = []
        self.values: list[float] = []
        self.extra: dict[str, Any] = {}
        for field, values in odd.items():
            numbers = [v for v in values if isinstance(v, int)]
            strings = [v for v in values if isinstance(v, bytes)]
            if field is EVENTS:
                if len(numbers) > 1:
                    self.extra["events"] = _listed(numbers)
            elif field.kind == "number":
                self._number(field.measure, numbers[-1])
            elif field.kind == "numbers":
                self._numbers(field, numbers)
            elif field.kind == "float":
                self._float(field.measure, strings[-1])
            elif field.kind == "floats":
                self._floats(field, strings)
            elif field.kind != "special":
                text = _string(field.kind, strings)
                if text:
                    self.extra[field.measure] = text
        if SPN_IDS in odd or SPN_VALUES in odd:
            self._extended_can(*([v for v in odd.get(key, ()) if isinstance(v, int)] for key in (SPN_IDS, SPN_VALUES)))

    def _number(self, name: str, value: float) -> None:
        if isinstance(value, int) and abs(value) > EXACT_INTEGER:
            self.extra[name] = value
        else:
            self.names.append(name)
            self.values.append(value)

    def _numbers(self, field: Odd, raw: list[int]) -> None:
        numbers = [(v >> 1) ^ -(v & 1) for v in raw] if field.signed else raw
        if len(numbers) > MAX_COLUMNS:
            self.extra[field.measure] = _listed(numbers)
            return
        for n, value in enumerate(numbers, 1):
            if value < field.top:
                self._number(f"{field.measure}.{n}", value if field.div == 1 else value / field.div)

    def _float(self, name: str, raw: bytes) -> None:
        (value,) = struct.unpack("<f", raw)
        if math.isfinite(value):  # neither infinity nor NaN is a measurement, and JSON knows neither
            self.names.append(name)
            self.values.append(float(str(np.float32(value))))  # 12.6 as sent, not 12.600000381

    def _floats(self, field: Odd, strings: list[bytes]) -> None:
        if len(strings) > MAX_COLUMNS:
            self.extra[field.measure] = b"".join(strings).hex()
            return
        for n, raw in enumerate(strings, 1):
            self._float(f"{field.measure}.{n}", raw)

    def _extended_can(self, ids: list[int], values: list[int]) -> None:
        """Pairs in order; lists that do not pair, or too many, are kept as they came."""
        if len(set(ids)) == len(ids) == len(values) <= MAX_COLUMNS:
            for spn, value in zip(ids, values, strict=True):
                self.names.append(f"can.spn.{spn}")
                self.values.append(float(value))
        else:
            self.extra |= {
                name: _listed(got) for name, got in (("can.spn.ids", ids), ("can.spn.values", values)) if got
            }


def _listed(values: list[Any]) -> str:
    return ",".join(map(str, values))


def _string(kind: str, strings: list[bytes]) -> str:
    if kind == "hex":
        return strings[-1].hex()
    if kind == "key":
        return key_text(strings[-1])
    if kind == "hexes":
        return _listed([s.hex() for s in strings])
    if kind == "group":
        return b"".join(strings).hex()
    if kind == "text":  # a fixed field of the terminal's, ended by a zero byte
        return _text(strings[-1].partition(b"\0")[0])
    return "\n".join(_text(s.rstrip(b"\0")) for s in strings)


def _text(data: bytes) -> str:
    """The text; hex where it is none (a zero byte cannot stand in JSON of the store)."""
    if b"\0" in data:
        return data.hex()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.hex()
