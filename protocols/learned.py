"""Records of tagged values to columns, whatever the protocol: by learned structures, or one by one.

A protocol says where its records lie (a `Grammar`); what is made of that is the same for all:

    frames → bodies of one kind and size → records of a known structure, verified and read whole blocks at a time
                                        └→ cut exactly → structures learned, or read plainly where that does not pay

Names that begin with `@` are no measures but what every record has: `@time` s, `@lat` `@lon` degrees, `@fix` 1 where
they are a fix (without it: where they are told), `@altitude` m, `@speed` km/h, `@course` degrees, `@satellites`,
`@event` and `@archive` 1 where the record is so. Measures `ignition` and `movement` are flags besides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocols.meanings import Element, text_of
from protocols.plainly import Plain, read_plainly
from protocols.records import (
    EXACT_INTEGER,
    MAX_NAMES,
    Batch,
    BatchBuilder,
    Decoded,
    Floats,
    Frame,
    MeasureGroup,
    Quarantined,
)
from protocols.structures import MAX_RECORD, Rows, Template, record_dtype
from protocols.told import Hook, flagged, placed

MAX_STRUCTURES = 1024  # a fleet has a few per configuration; a stranger may invent more, so the table is bounded
MAX_WEIGHT = 65_536  # columns and words over all structures
_LESSONS = 256  # names of structures learned in one call, some 4 ms; what is more is read plainly, and may come again
_CANDIDATES = 16  # structures of one kind tried on whole blocks before each frame is cut


class DamagedError(ValueError):
    """A body's own lengths and its bytes disagree.

    `args[0]` is the reason; `at`: the records before it are good, the rest is kept; None: nothing of it can be used.
    """

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason)
        self.at = at


class Body(msgspec.Struct, gc=False):
    """The records of a frame, end to end.

    Attributes
    ----------
    kind : what one has to know to read them; records of two kinds never share a structure.
    data : their bytes.
    units : how many the frame says there are; 0: it does not say.
    """

    kind: Hashable
    data: bytes
    units: int = 0


class Cut(NamedTuple):
    """One record of a body: where it lies, what of it is structure, of how many units it is, what `cut` knows of it."""

    start: int
    end: int
    signature: Hashable
    units: int = 1
    walked: Any = None


class Explained(NamedTuple):
    """What a record's bytes are.

    Attributes
    ----------
    elements : its values; a name comes once.
    free : (offset, size) of bytes that may differ from record to record besides, without being values.
    fixed : (offset, size) of bytes of values that are structure too: what else lies where depends on them.
    alike : (offset, offset, size) of bytes that must be the same in both places.
    """

    elements: Sequence[Element]
    free: Sequence[tuple[int, int]] = ()
    fixed: Sequence[tuple[int, int]] = ()
    alike: Sequence[tuple[int, int, int]] = ()


class Grammar(ABC):
    """How a protocol's frames hold their records.

    Attributes
    ----------
    hook : what is to be done with the columns of a record besides; works in place.
    hooked : the measures it looks at or changes.
    """

    hook: Hook | None = None
    hooked: tuple[str, ...] = ()

    @abstractmethod
    def body(self, frame: Frame) -> Body | str:
        """The records of a frame, or why there are none."""

    @abstractmethod
    def cut(self, body: Body) -> Iterator[Cut]:
        """Each record in turn, exactly.

        Raises
        ------
        DamagedError
            In place of the first record that is none.
        """

    @abstractmethod
    def explain(self, kind: Hashable, record: bytes, walked: Any) -> Explained:
        """The values of a record that was cut."""


class _Structure:
    """Where the bytes of one kind of record lie, compiled to numpy fields."""

    __slots__ = (
        "_add", "_alike", "_bits", "_divide", "_exact", "_finite", "_integers", "_judged", "_multiply", "_read",
        "_texts", "_when", "_wire", "at", "kind", "length", "names", "template", "units", "weight",
    )  # fmt: skip

    def __init__(self, kind: Hashable, record: bytes, units: int, explained: Explained) -> None:
        self.kind, self.units, self.length = kind, units, len(record)
        self._alike = list(explained.alike)
        numbers = [e for e in explained.elements if not e.meaning.kind]
        numbers.sort(key=lambda e: e.meaning.name.startswith("@"))  # measures first
        self._texts = [e for e in explained.elements if e.meaning.kind]
        columns = [e for e in numbers for _ in range(2 if e.meaning.status else 1)]
        self._when: list[tuple[int, tuple[int, int], bool]] = []
        self._bits: list[tuple[int, int, int, int]] = []
        self._judged: list[tuple[int, int | None, Element]] = []
        self._exact: list[tuple[int, str, str]] = []
        names: list[str] = []
        measures = 0
        for element in numbers:
            column, meaning = len(names), element.meaning
            names.append(meaning.name)
            if meaning.status:
                names.append(meaning.status)
            if not meaning.name.startswith("@"):
                measures = len(names)
            for place in (column, column + 1) if meaning.status else (column,):
                if meaning.when is not None:
                    self._when.append((place, meaning.when, False))
                if meaning.unless is not None:
                    self._when.append((place, meaning.unless, True))
                if meaning.bits:
                    sign = 1 << (meaning.bits - 1) if meaning.signed else 0
                    self._bits.append((place, meaning.shift, (1 << meaning.bits) - 1, sign))
            if meaning.judges:
                self._judged.append((column, column + 1 if meaning.status else None, element))
            if element.size == 8 and element.format[1] != "f" and meaning.plain and not meaning.name.startswith("@"):
                self._exact.append((column, f"e{element.offset}", meaning.name))
        self.names = tuple(names[:measures])
        self.at = {name: place for place, name in enumerate(names)}
        scales = [(1.0, 1.0, 0.0)] * len(names)
        for element in numbers:
            m = element.meaning
            scales[self.at[m.name]] = (m.multiplier, m.divisor, m.add)
        self._multiply, self._divide, self._add = (
            np.array(one) if set(one) != {neutral} else None
            for one, neutral in zip(zip(*scales, strict=True) if scales else ((), (), ()), (1.0, 1.0, 0.0), strict=True)
        )
        self._finite = any(e.format[1:2] == "f" for e in numbers)
        self._wire = record_dtype([(f"m{n}", e.offset, e.format) for n, e in enumerate(columns)], self.length)
        self._read = np.dtype([(f"m{n}", "f8") for n in range(len(columns))])
        integers = {f"e{e.offset}": (e.offset, e.format) for e in numbers if e.size == 8 and e.format[1] != "f"}
        self._integers = record_dtype([(name, *its) for name, its in integers.items()], self.length)
        taken = [(e.offset, e.size) for e in explained.elements]
        spans = complement([*taken, *explained.free], self.length)
        self.template = Template(record, [*spans, *explained.fixed])
        self.weight = len(names) + len(self._texts) + self.length // 8

    def matches(self, rows: Rows) -> NDArray[np.bool_] | None:
        """Which rows are of this structure; None: all."""
        if not self._alike and self.template.fits(rows):
            return None
        found = self.template.matches(rows)
        for one, other, size in self._alike:
            found &= (rows.bytes[:, one : one + size] == rows.bytes[:, other : other + size]).all(axis=1)
        return None if found.all() else found

    def columns(self, rows: Rows, frame: NDArray[Any], position: NDArray[Any], hook: Hook | None) -> Batch:
        """Read every column."""
        n, width = len(rows), len(self.at)
        extra: dict[int, dict[str, Any]] = {}
        with np.errstate(all="ignore"):  # a float on the wire may be anything
            values: Floats = rows.view(self._wire).astype(self._read).view(np.float64).reshape(n, width)
            self._raw(values)
            for column, field, name in self._exact:
                large = np.flatnonzero(np.abs(values[:, column]) >= EXACT_INTEGER)
                for row in large.tolist():
                    extra.setdefault(row, {})[name] = int(rows.view(self._integers)[field][row])
                values[large, column] = np.nan
            if self._add is not None:
                values += self._add
            if self._multiply is not None:
                values *= self._multiply
            if self._divide is not None:
                values /= self._divide
            if self._finite:
                values[~np.isfinite(values)] = np.nan
        for element in self._texts:
            begin, size, meaning = element.offset, element.size, element.meaning
            cut = rows.bytes[:, begin : begin + size]
            for row in range(n):
                text = text_of(cut[row].tobytes(), meaning.kind)
                if text is not None:
                    extra.setdefault(row, {})[meaning.name] = text
        told = {name: values[:, place] for name, place in self.at.items()}
        if hook is not None:
            hook(told, self.kind)
        core = placed(told, n)
        return Batch(
            frame=frame.astype(np.int32, copy=False),
            position=position.astype(np.int32, copy=False),
            time=core.time,
            lat=core.lat,
            lon=core.lon,
            altitude=core.altitude.astype(np.float32),
            speed=core.speed.astype(np.float32),
            course=core.course.astype(np.float32),
            satellites=core.satellites,
            flags=flagged(told, core),
            fingerprint=rows.fingerprints(),
            groups=[MeasureGroup(self.names, np.arange(n), values[:, : len(self.names)])],
            extra=extra,
        )

    def _raw(self, values: Floats) -> None:
        """Bits out of numbers, and what of them is a value."""
        away = [
            (place, ((values[:, place].astype(np.int64) & mask) == wanted) == unless)
            for place, (mask, wanted), unless in self._when
        ]
        for place, shift, mask, sign in self._bits:
            values[:, place] = ((values[:, place].astype(np.int64) >> shift & mask) ^ sign) - sign
        for column, status, element in self._judged:
            raw = values[:, column]
            meaning = element.meaning
            bad = ~((raw >= meaning.low) & (raw <= meaning.high))
            if status is not None:
                np.copyto(values[:, status], np.nan, where=~bad)
            for value in meaning.none:
                nothing = raw == value
                bad |= nothing
                if status is not None:
                    values[nothing, status] = np.nan
            np.copyto(raw, np.nan, where=bad)
        for place, other in away:
            values[other, place] = np.nan


def complement(taken: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """The spans of a record that are in none of `taken`."""
    spans, at = [], 0
    for offset, size in sorted(taken):
        if offset > at:
            spans.append((at, offset - at))
        at = max(at, offset + size)
    if at < length:
        spans.append((at, length - at))
    return spans


def _apart(frames: Sequence[Frame]) -> Iterator[Frame]:
    """Each frame of each run."""
    for frame in frames:
        yield from frame.singles()


class _Block:
    """Bodies of one kind and size."""

    __slots__ = ("data", "index")

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.index: list[int] = []


class Decoder:
    """Frames of one protocol to columns; remembers the structures it has seen."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._by_signature: dict[tuple[Hashable, Hashable], _Structure] = {}
        self._by_kind: dict[Hashable, list[_Structure]] = {}
        self._weight = 0
        self._lessons = 0

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Frames, runs among them, to columns; never raises on any bytes. A run counts as the frames it holds."""
        if not frames:
            return Decoded(BatchBuilder().build())
        quarantined: list[tuple[int, int, Quarantined]] = []
        parts: list[Batch] = []
        blocks: dict[tuple[Hashable, int, int], _Block] = {}
        bodies: dict[int, Body] = {}
        grammar_body = self._grammar.body
        singles = frames if {frame.count for frame in frames} == {1} else _apart(frames)
        for index, item in enumerate(singles):
            body = grammar_body(item)
            if isinstance(body, str):
                quarantined.append((index, 0, Quarantined(index, body)))
            else:
                data = body.data
                key = (body.kind, len(data), body.units)
                block = blocks.get(key)
                if block is None:
                    block = blocks[key] = _Block()
                block.data.append(data)
                block.index.append(index)
        for (kind, size, units), block in blocks.items():
            left = self._match(kind, size, units, block, parts)
            bodies.update({block.index[at]: Body(kind, block.data[at], units) for at in left})
        if bodies:
            self._each(sorted(bodies.items()), parts, quarantined)
        quarantined.sort(key=lambda q: q[:2])
        return Decoded(Batch.concatenate(parts), [q for _, _, q in quarantined])

    def _match(self, kind: Hashable, size: int, units: int, block: _Block, parts: list[Batch]) -> Sequence[int]:
        """Read the bodies that are nothing but records of one known structure; returns the places of the others."""
        left: Sequence[int] = range(len(block.data))
        if not size:
            return left
        for structure in self._by_kind.get(kind, [])[:_CANDIDATES]:
            length = structure.length
            if size % length or (units and size // length * structure.units != units):
                continue
            count = size // length
            data = block.data if len(left) == len(block.data) else [block.data[at] for at in left]
            rows = Rows(np.frombuffer(b"".join(data), np.uint8).reshape(-1, length))
            index = np.array([block.index[at] for at in left], np.intp)
            fit = structure.matches(rows)
            if fit is None:
                self._append(structure, rows, np.repeat(index, count), np.tile(np.arange(count), len(index)), parts)
                return ()
            whole: NDArray[np.bool_] = np.logical_and.reduce(fit.reshape(-1, count), axis=1)
            if whole.any():
                self._append(
                    structure, rows.take(np.repeat(whole, count)), np.repeat(index[whole], count),
                    np.tile(np.arange(count), int(np.count_nonzero(whole))), parts,
                )  # fmt: skip
                left = [at for at, matched in zip(left, whole.tolist(), strict=True) if not matched]
        return left

    def _each(
        self,
        bodies: Sequence[tuple[int, Body]],
        parts: list[Batch],
        quarantined: list[tuple[int, int, Quarantined]],
    ) -> None:
        """The exact way: cut each body, then read records of one structure together."""
        found: dict[int, tuple[_Structure, list[bytes], list[int], list[int]]] = {}
        plain: list[Plain] = []
        self._lessons = _LESSONS
        for index, body in bodies:
            cuts: list[Cut] = []
            try:
                for cut in self._grammar.cut(body):
                    cuts.append(cut)  # noqa: PERF402 - what came before damage is kept
            except DamagedError as error:
                if error.at is None:
                    quarantined.append((index, 0, Quarantined(index, error.args[0])))
                    continue
                quarantined.append((index, len(cuts), Quarantined(index, error.args[0], body.data[error.at :])))
            for position, cut in enumerate(cuts):
                record = body.data[cut.start : cut.end]
                structure = self._structure(body.kind, record, cut)
                if isinstance(structure, Explained):
                    plain.append(Plain(index, position, record, body.kind, structure.elements))
                    continue
                entry = found.setdefault(id(structure), (structure, [], [], []))
                entry[1].append(record)
                entry[2].append(index)
                entry[3].append(position)
        for structure, records, indexes, positions in found.values():
            self._append(structure, Rows.of(records), np.array(indexes), np.array(positions), parts)
        if plain:
            parts.append(read_plainly(plain, self._grammar.hook, self._grammar.hooked))

    def _append(
        self, structure: _Structure, rows: Rows, frame: NDArray[Any], position: NDArray[Any], parts: list[Batch]
    ) -> None:
        parts.append(structure.columns(rows, frame, position, self._grammar.hook))

    def _structure(self, kind: Hashable, record: bytes, cut: Cut) -> _Structure | Explained:
        """How to read a record: by its structure, or plainly if that is not to be learned now."""
        key = (kind, cut.signature)
        structure = self._by_signature.get(key)
        if structure is not None:
            siblings = self._by_kind[kind]
            if len(siblings) > _CANDIDATES:  # in use: must not stay behind those somebody invented once
                siblings.remove(structure)
                siblings.insert(0, structure)
            return structure
        explained = self._grammar.explain(kind, record, cut.walked)
        names = len(explained.elements)
        if names > MAX_NAMES or self._lessons <= 0 or not 0 < len(record) <= MAX_RECORD:
            return explained
        self._lessons -= names
        structure = _Structure(kind, record, cut.units, explained)
        if len(structure.names) > MAX_NAMES or structure.weight > MAX_WEIGHT:
            return explained
        while self._by_signature and (
            len(self._by_signature) >= MAX_STRUCTURES or self._weight + structure.weight > MAX_WEIGHT
        ):
            self._forget(next(iter(self._by_signature)))
        self._by_signature[key] = structure
        self._weight += structure.weight
        self._by_kind.setdefault(kind, []).append(structure)
        return structure

    def _forget(self, key: tuple[Hashable, Hashable]) -> None:
        structure = self._by_signature.pop(key)
        self._weight -= structure.weight
        siblings = self._by_kind[key[0]]
        siblings.remove(structure)
        if not siblings:
            del self._by_kind[key[0]]
