"""Measures of records whose bytes lie as in a learned structure, for protocols whose records have a plain head.

A protocol gives two functions. Its *walk* checks one record exactly and says how it is built: a signature, the same for
all records that are built so. Its *lesson* says what lies where in a record of that signature: numbers (`Number`) and
texts (`Text`). From then on records of the structure are read side by side; what differs is walked, one by one.
What everybody's records have at the same place (time, position) the protocol reads itself, for all at once.

Bounds: a stranger may invent structures, so the table is bounded by what they weigh, so many names are learned in one
call, and the rest is read plainly: the same numbers out of the same places, without numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.records import EXACT_INTEGER, MAX_NAMES, Batch, MeasureGroup
from protocols.structures import Rows, Template, record_dtype

MAX_STRUCTURES = 4096  # a fleet has a few per configuration
MAX_WEIGHT = 131_072  # names, texts and words over all structures
_LESSONS = 256  # names learned in one call, some 4 ms
_CANDIDATES = 16  # structures of one length that are tried on whole blocks


class DamagedRecordError(ValueError):
    """A record's counts or lengths and its bytes disagree; `args[0]` is the reason."""


class Number(NamedTuple):
    """A number in a record: raw x `multiplier` / `divisor` is the measure.

    Attributes
    ----------
    format : of numpy, big-endian or one byte: ">u2", "u1", ">i4".
    shift, bits : the part of the raw number that counts; 0 bits: all of it.
    least, most : raw numbers outside tell nothing; None: there are none below, above.
    """

    name: str
    offset: int
    format: str
    multiplier: float = 1.0
    divisor: float = 1.0
    shift: int = 0
    bits: int = 0
    least: int | None = None
    most: int | None = None


class Text(NamedTuple):
    """`size` bytes that `read` makes a text of; None: they tell nothing."""

    name: str
    offset: int
    size: int
    read: Callable[[bytes], Any] = bytes.hex


class Lesson(NamedTuple):
    """What lies where; `structural`: (offset, size) of what any record of this structure repeats."""

    numbers: Sequence[Number]
    texts: Sequence[Text]
    structural: Sequence[tuple[int, int]]


@dataclass(slots=True)
class Found:
    """What records told besides their heads, by row; `damaged`: why a row cannot be read."""

    groups: list[MeasureGroup] = field(default_factory=list)
    extra: dict[int, dict[str, Any]] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)

    def batch(self, keep: NDArray[np.bool_], **columns: Any) -> Batch:
        """The records that `keep` leaves, with these columns (as `Batch` takes them) of all rows."""
        told = _merged(self.groups)
        if keep.all():
            return Batch(**columns, groups=told, extra=self.extra)
        place = np.cumsum(keep) - 1
        groups = []
        for group in told:
            good = keep[group.rows]
            if good.any():
                groups.append(MeasureGroup(group.names, place[group.rows[good]], group.values[good]))
        extra = {int(place[row]): told for row, told in self.extra.items() if keep[row]}
        return Batch(**{name: column[keep] for name, column in columns.items()}, groups=groups, extra=extra)


def _merged(groups: list[MeasureGroup]) -> list[MeasureGroup]:
    """One group a layout."""
    by_names: dict[tuple[str, ...], list[MeasureGroup]] = {}
    for group in groups:
        by_names.setdefault(group.names, []).append(group)
    if len(by_names) == len(groups):
        return groups
    return [
        MeasureGroup(names, np.concatenate([p.rows for p in parts]), np.concatenate([p.values for p in parts]))
        for names, parts in by_names.items()
    ]


class _Structure:
    """Where the bytes of one kind of record lie, compiled to numpy fields."""

    __slots__ = (
        "_by", "_exact", "_limits", "_parts", "_read", "_texts", "_times", "_wire", "key", "names", "signature",
        "template", "weight",
    )  # fmt: skip

    def __init__(self, key: tuple[Hashable, int], signature: Hashable, record: bytes, lesson: Lesson) -> None:
        numbers = lesson.numbers
        self.key, self.signature = key, signature
        self.names = tuple(number.name for number in numbers)
        self._wire = record_dtype([(f"n{n}", it.offset, it.format) for n, it in enumerate(numbers)], len(record))
        self._read = np.dtype([(f"n{n}", "f8") for n in range(len(numbers))])
        scale = [(n, it.multiplier, it.divisor) for n, it in enumerate(numbers)]
        self._times = [(n, multiplier) for n, multiplier, _ in scale if multiplier != 1]
        self._by = [(n, divisor) for n, _, divisor in scale if divisor != 1]
        self._parts = [(n, it.shift, (1 << it.bits) - 1) for n, it in enumerate(numbers) if it.bits]
        self._limits = [(n, it.least, it.most) for n, it in enumerate(numbers) if (it.least, it.most) != (None, None)]
        self._exact = [
            (n, it) for n, it in enumerate(numbers) if it.format[-1] == "8" and it.multiplier == it.divisor == 1
        ]
        self._texts = tuple(lesson.texts)
        self.template = Template(record, lesson.structural)
        self.weight = len(numbers) + len(self._texts) + len(record) // 8

    def read(self, rows: Rows, numbers: NDArray[np.intp], found: Found) -> None:
        """Read every number and text; `numbers` are the rows' places."""
        n = len(rows)
        if self.names:
            wire = rows.view(self._wire)
            values = wire.astype(self._read).view(np.float64).reshape(n, -1)
            for column, shift, mask in self._parts:
                values[:, column] = wire[f"n{column}"] >> shift & mask
            for column, least, most in self._limits:
                whole = wire[f"n{column}"]
                if least is not None:
                    values[whole < least, column] = np.nan
                if most is not None:
                    values[whole > most, column] = np.nan
            for column, multiplier in self._times:
                values[:, column] *= multiplier
            for column, divisor in self._by:
                values[:, column] /= divisor
            for column, number in self._exact:
                for row in np.flatnonzero(np.abs(values[:, column]) >= EXACT_INTEGER).tolist():
                    raw = rows.bytes[row, number.offset : number.offset + 8].tobytes()
                    found.extra.setdefault(int(numbers[row]), {})[number.name] = int.from_bytes(raw, "big")
                    values[row, column] = np.nan
        else:
            values = np.empty((n, 0))
        found.groups.append(MeasureGroup(self.names, numbers, values))
        for name, offset, size, read in self._texts:
            for row, place in enumerate(numbers.tolist()):
                text = read(rows.bytes[row, offset : offset + size].tobytes())
                if text is not None:
                    found.extra.setdefault(place, {})[name] = text


class Structures:
    """The structures of one protocol that were seen, and how the others are learned."""

    def __init__(
        self,
        walk: Callable[[Any, bytes], Hashable],
        lesson: Callable[[Any, bytes, Any], Lesson],
    ) -> None:
        """`walk(kind, record) -> signature` raises `DamagedRecordError`; `lesson(kind, record, signature)`."""
        self._walk = walk
        self._lesson = lesson
        self._known: dict[tuple[tuple[Hashable, int], Hashable], _Structure] = {}
        self._by_length: dict[tuple[Hashable, int], list[_Structure]] = {}
        self._weight = 0
        self._lessons = 0

    def begin(self) -> None:
        """A new call of the decoder: so many names may be learned in it."""
        self._lessons = _LESSONS

    def read(self, kind: Hashable, rows: Rows, found: Found) -> None:
        """The measures of records of one kind and length; a row's place is its number."""
        numbers = np.arange(len(rows))
        key = (kind, rows.length)
        structures = self._by_length.get(key)
        if structures is None:
            self._each(key, rows, numbers, found)
            return
        if structures[0].template.fits(rows):
            structures[0].read(rows, numbers, found)
            return
        left = np.ones(len(rows), np.bool_)
        for structure in structures[:_CANDIDATES]:
            fit = left & structure.template.matches(rows)
            if fit.any():
                structure.read(rows.take(fit), numbers[fit], found)
                left &= ~fit
                if not left.any():
                    return
        self._each(key, rows, numbers[left], found)

    def _each(self, key: tuple[Hashable, int], rows: Rows, numbers: NDArray[np.intp], found: Found) -> None:
        """The exact way: walk each record, then read those of one structure together."""
        gathered: dict[int, tuple[_Structure, list[int]]] = {}
        for row in numbers.tolist():
            record = rows.bytes[row].tobytes()
            try:
                signature = self._walk(key[0], record)
            except DamagedRecordError as error:
                found.damaged[row] = error.args[0]
                continue
            structure = self._known.get((key, signature))
            if structure is None:
                lesson = self._lesson(key[0], record, signature)
                names = len(lesson.numbers) + len(lesson.texts) + 1
                if names > min(self._lessons, MAX_NAMES):
                    read_plainly(record, lesson, row, found)
                    continue
                self._lessons -= names
                structure = _Structure(key, signature, record, lesson)
                self._remember(structure)
            elif len(siblings := self._by_length[key]) > _CANDIDATES:  # in use: not behind what somebody invented once
                siblings.remove(structure)
                siblings.insert(0, structure)
            gathered.setdefault(id(structure), (structure, []))[1].append(row)
        for structure, places in gathered.values():
            chosen = np.array(places, np.intp)
            structure.read(rows.take(chosen), chosen, found)

    def _remember(self, structure: _Structure) -> None:
        while self._known and (len(self._known) >= MAX_STRUCTURES or self._weight + structure.weight > MAX_WEIGHT):
            oldest = self._known.pop(next(iter(self._known)))
            self._weight -= oldest.weight
            siblings = self._by_length[oldest.key]
            siblings.remove(oldest)
            if not siblings:
                del self._by_length[oldest.key]
        self._known[structure.key, structure.signature] = structure
        self._weight += structure.weight
        self._by_length.setdefault(structure.key, []).append(structure)


def number_of(record: bytes, number: Number) -> float:
    """One number of a record, as numpy reads it; NaN where it tells nothing."""
    size = int(number.format[-1])
    raw = int.from_bytes(record[number.offset : number.offset + size], "big", signed="i" in number.format)
    if (number.least is not None and raw < number.least) or (number.most is not None and raw > number.most):
        return float("nan")
    if number.bits:
        raw = raw >> number.shift & (1 << number.bits) - 1
    return float(raw) * number.multiplier / number.divisor


def read_plainly(record: bytes, lesson: Lesson, row: int, found: Found) -> None:
    """One record without numpy, for what is not worth learning; beyond `MAX_NAMES` its numbers are no columns."""
    numbers = {number.name: number_of(record, number) for number in lesson.numbers}
    extra: dict[str, Any] = {}
    for number in lesson.numbers:
        if number.format[-1] == "8" and abs(numbers[number.name]) >= EXACT_INTEGER:
            extra[number.name] = int.from_bytes(record[number.offset : number.offset + 8], "big")
            numbers[number.name] = float("nan")
    for text in lesson.texts:
        told = text.read(record[text.offset : text.offset + text.size])
        if told is not None:
            extra[text.name] = told
    if len(numbers) > MAX_NAMES:
        extra = {name: value for name, value in numbers.items() if value == value} | extra
        numbers = {}
    values = np.array(list(numbers.values()), np.float64).reshape(1, -1)
    found.groups.append(MeasureGroup(tuple(numbers), np.array([row], np.intp), values))
    if extra:
        found.extra[row] = extra
