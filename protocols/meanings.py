"""What a value on the wire is: which bytes, how they are read, and which measure that makes.

A *meaning* is the same for every record; an *element* is one of them in one record, with its place.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from protocols.keys import key_text

Kind = Literal["", "hex", "text", "cp1251", "key", "little key"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """How raw numbers become a measure: raw → `when` → bits → judged → (raw + add) × multiplier / divisor.

    Attributes
    ----------
    name : the measure; with `@` what every record has (`protocols.learned`).
    divisor, multiplier, add : to the measure's unit; `add` in the number's own.
    shift, bits : of the number; no bits: the whole. `signed`: they are two's complement.
    low, high : a raw number outside is no measurement; `status` keeps it, where there is one.
    none : raw numbers that tell nothing at all.
    status : the measure of the codes in place of a measurement.
    when : (mask, value): only a number with these bits is this measure; `unless`: only one without.
    kind : "" a number; others are texts, and absent where all bytes are zero, but "hex", which is as sent. A "key" is a
        driver's, a "little key" comes least significant byte first.
    """

    name: str
    divisor: float = 1.0
    multiplier: float = 1.0
    add: float = 0.0
    shift: int = 0
    bits: int = 0
    low: float = -math.inf
    high: float = math.inf
    none: tuple[float, ...] = ()
    status: str = ""
    when: tuple[int, int] | None = None
    unless: tuple[int, int] | None = None
    signed: bool = False
    kind: Kind = ""

    @property
    def judges(self) -> bool:
        """Whether a number may be no measurement."""
        return bool(self.none) or self.low != -math.inf or self.high != math.inf

    @property
    def plain(self) -> bool:
        """Whether the number is the measure."""
        return self.divisor == self.multiplier == 1 and not (
            self.add or self.bits or self.judges or self.when or self.unless
        )


class Element(NamedTuple):
    """One value of a record: `size` bytes at `offset`, read as numpy's `format`, which texts have none of."""

    meaning: Meaning
    offset: int
    size: int
    format: str = ""


_CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "u8": "Q", "i8": "q", "f4": "f", "f8": "d"}
_READ = {
    order + code: struct.Struct(order + letter).unpack_from for order in "<>" for code, letter in _CODES.items()
}  # fmt: skip


def raw_of(record: bytes, element: Element) -> float:
    """The number as it stands; of integers an integer."""
    number: float = _READ[element.format](record, element.offset)[0]
    return number


def number_of(raw: float, meaning: Meaning) -> tuple[float, float]:
    """The measure and its code, NaN where there is none: the same that whole columns give."""
    if meaning.when is not None and int(raw) & meaning.when[0] != meaning.when[1]:
        return math.nan, math.nan
    if meaning.unless is not None and int(raw) & meaning.unless[0] == meaning.unless[1]:
        return math.nan, math.nan
    if meaning.bits:
        raw = int(raw) >> meaning.shift & ((1 << meaning.bits) - 1)
        if meaning.signed and raw >> (meaning.bits - 1):
            raw -= 1 << meaning.bits
    if raw in meaning.none:
        return math.nan, math.nan
    if not meaning.low <= raw <= meaning.high:
        return math.nan, float(raw) if meaning.status else math.nan
    number = raw if meaning.plain else (float(raw) + meaning.add) * meaning.multiplier / meaning.divisor
    return (number if math.isfinite(number) else math.nan), math.nan


def text_of(data: bytes, kind: Kind) -> str | None:
    """A text of that kind, None where it tells nothing."""
    if kind == "hex":
        return data.hex()
    if not any(data):
        return None
    if kind == "key":
        return key_text(data)
    if kind == "little key":
        return data[::-1].hex()
    told = data.rstrip(b"\0")
    try:
        text = told.decode("cp1251" if kind == "cp1251" else "ascii")
    except UnicodeDecodeError:
        return data.hex()
    return text if text.isprintable() else data.hex()


class Names:
    """Elements of one record, whose names come once: what has a name already goes by its own number.

    A second value of one number is `io.<id>.2`, whole and as sent; one of another number whose name is taken `io.<id>`.
    """

    def __init__(self) -> None:
        self.elements: list[Element] = []
        self._used: set[str] = set()
        self._times: dict[int, int] = {}

    def add(self, identifier: int, meanings: tuple[tuple[Meaning, int, int, str], ...], at: int, size: int) -> None:
        """A value of `size` bytes at `at`; `meanings` are (meaning, offset in it, size, format)."""
        nth = self._times[identifier] = self._times.get(identifier, 0) + 1
        names = {name for meaning, *_ in meanings for name in (meaning.name, meaning.status) if name}
        if nth > 1:
            self._raw(f"io.{identifier}.{nth}", at, size)
        elif names & self._used:
            self._raw(f"io.{identifier}", at, size)
        else:
            self._used |= names
            self.elements += [Element(m, at + offset, its, form) for m, offset, its, form in meanings]

    def _raw(self, name: str, at: int, size: int) -> None:
        if size and name not in self._used:
            self._used.add(name)
            self.elements.append(Element(Meaning(name, kind="hex"), at, size))


def exact(value: float) -> Any:
    """A number as JSON has it: whole ones without a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
