"""AVL frames to columns, by learned structures.

A record's structure is its codec, the AVL ids of each group and the lengths of the variable values. `walk` is
the exact parser: it checks every count against the frame's end and yields the structure; the columns themselves
are always read through numpy, so that one code decides what bytes mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocols.records import (
    EVENT,
    EXACT_INTEGER,
    IGNITION_KNOWN,
    IGNITION_ON,
    MAX_NAMES,
    MOVING,
    VALID,
    Batch,
    BatchBuilder,
    Decoded,
    Frame,
    MeasureGroup,
    Quarantined,
)
from protocols.structures import MAX_RECORD, Rows, Template, record_dtype
from protocols.teltonika.declaration import AVL_CODECS, CODEC_8, CODEC_16
from protocols.teltonika.plain import LAST_MS, Plain, meanings, read_plainly, text_of
from protocols.teltonika.walk import PREFIX, DamagedFrameError, Walked, items_of, payload_span, walk

MAX_STRUCTURES = 4096  # a fleet has a few per configuration; a stranger may invent more, so the table is bounded
MAX_WEIGHT = 131_072  # ids, columns and words over all structures: one record of 64 KiB can invent 20 000 ids
_LESSONS = 256  # names of structures learned in one call, some 4 ms; what is more is read plainly, and may come again
_CANDIDATES = 16  # structures of one length tried on whole blocks before each frame is walked


# What every record has, where it is, and what it is read as.
_CORE = [
    ("lon", 9, ">i4"), ("lat", 13, ">i4"), ("time", 0, ">u8"), ("altitude", 17, ">i2"), ("course", 19, ">u2"),
    ("speed", 22, ">u2"), ("satellites", 21, "u1"),
]  # fmt: skip
_READ = [
    ("lon", "f8"), ("lat", "f8"), ("time", "u8"), ("altitude", "f4"), ("course", "f4"), ("speed", "f4"),
    ("satellites", "i2"),
]  # fmt: skip
_LIMITS = np.array([180.0, 90.0])
_VALID, _IGNITION_KNOWN, _IGNITION_ON, _MOVING, _EVENT = (
    flag.bit_length() - 1 for flag in (VALID, IGNITION_KNOWN, IGNITION_ON, MOVING, EVENT)
)

_index = itemgetter(0)
_Refused: TypeAlias = tuple[int, int, Quarantined]  # frame, position in it


class _Structure:
    """Where the bytes of one kind of record lie, compiled to numpy fields."""

    __slots__ = (
        "_divide", "_exact", "_ignition", "_integers", "_movement", "_multiply", "_read", "_split", "_texts", "_wire",
        "codec", "length", "names", "template", "weight",
    )  # fmt: skip

    def __init__(self, codec: int, record: bytes, items: Sequence[tuple[int, int, int, int]]) -> None:
        """`items` are (AVL id, offset of its value, its size, the size its meaning goes by) in the wire's order."""
        self.codec = codec
        self.length = len(record)
        wide = codec != CODEC_8
        fields = [*_CORE, ("priority", 8, "u1"), ("event", PREFIX, ">u2" if wide else "u1")]
        names = ["event", "priority"]
        numbers = ["event", "priority"]
        divide, multiply = [1.0, 1.0], [1.0, 1.0]
        if codec == CODEC_16:
            fields.append(("generation", PREFIX + 2, "u1"))
            names.append("event.generation")
            numbers.append("generation")
            divide.append(1.0)
            multiply.append(1.0)
        self._split: list[tuple[int, int, tuple[int, ...]]] = []
        self._exact: list[tuple[int, str, str]] = []
        self._texts: list[tuple[str, int, int, str]] = []
        self._ignition = self._movement = -1
        free = [(0, PREFIX + (3 if codec == CODEC_16 else 2 if wide else 1))]
        for (identifier, offset, size, _), meaning in zip(
            items, meanings([(identifier, size) for identifier, _, _, size in items]), strict=True
        ):
            free.append((offset, size))
            if meaning.kind not in ("number", "coded"):
                self._texts.append((meaning.name, offset, size, meaning.kind))
                continue
            field = f"v{offset}"
            fields.append((field, offset, f">{'i' if meaning.signed else 'u'}{size}"))
            column = len(names)
            names.append(meaning.name)
            numbers.append(field)
            divide.append(meaning.divisor)
            multiply.append(meaning.multiplier)
            if meaning.kind == "coded":
                self._split.append((column, len(names), meaning.codes))
                names.append(meaning.status)
                numbers.append(field)
                divide.append(1.0)
                multiply.append(1.0)
            if size == 8 and meaning.divisor == meaning.multiplier == 1:
                self._exact.append((column, field, meaning.name))
            if identifier == 239 and meaning.name == "ignition":
                self._ignition = column
            elif identifier == 240 and meaning.name == "movement":
                self._movement = column
        self.names = tuple(names)
        self._divide = np.array(divide) if set(divide) != {1.0} else None
        self._multiply = np.array(multiply) if set(multiply) != {1.0} else None
        # One cast of numpy's reads all numbers: the measures as float8 side by side, then what every record has.
        formats = {name: (offset, fmt) for name, offset, fmt in fields}
        read = [(f"m{n}", *formats[field]) for n, field in enumerate(numbers)] + _CORE
        self._wire = record_dtype(read, self.length)
        self._read = np.dtype([(f"m{n}", "f8") for n in range(len(numbers))] + _READ, align=True)
        exact = dict.fromkeys(field for _, field, _ in self._exact)
        self._integers = record_dtype([(field, *formats[field]) for field in exact], self.length)
        self.template = Template(record, _complement(free, self.length))
        self.weight = len(items) + len(self.names) + self.length // 8

    def columns(self, rows: Rows, frame: NDArray[Any], position: NDArray[Any]) -> tuple[Batch, NDArray[np.bool_]]:
        """Read every column; the mask tells rows whose time is beyond any calendar, and there is no time for them."""
        n, width = len(rows), len(self.names)
        told = rows.view(self._wire).astype(self._read)
        whole = told.view(np.float64).reshape(n, -1)
        values = whole[:, :width]
        if self._multiply is not None:
            values *= self._multiply
        if self._divide is not None:
            values /= self._divide
        for column, status, codes in self._split:
            code = values[:, status]
            bad = np.isin(code, codes) if codes else code < 0
            np.copyto(values[:, column], np.nan, where=bad)
            np.copyto(code, np.nan, where=~bad)
        extra: dict[int, dict[str, Any]] = {}
        for column, field, name in self._exact:
            large = np.flatnonzero(np.abs(values[:, column]) >= EXACT_INTEGER)
            for row in large.tolist():
                extra.setdefault(row, {})[name] = int(rows.view(self._integers)[field][row])
            values[large, column] = np.nan
        for name, offset, size, kind in self._texts:
            for row in range(n):
                text = text_of(rows.bytes[row, offset : offset + size].tobytes(), kind)
                if text is not None:
                    extra.setdefault(row, {})[name] = text
        satellites, milliseconds = told["satellites"], told["time"]
        place = whole[:, width : width + 2] / 1e7
        inside = np.abs(place) <= _LIMITS
        valid = inside[:, 0] & inside[:, 1] & (satellites != 0)
        if np.count_nonzero(valid) < n:
            place[~valid] = np.nan
        bits = np.zeros((n, 8), np.bool_)
        bits[:, _VALID] = valid
        np.not_equal(values[:, 0], 0, out=bits[:, _EVENT])
        if self._ignition >= 0:
            bits[:, _IGNITION_KNOWN] = True
            np.not_equal(values[:, self._ignition], 0, out=bits[:, _IGNITION_ON])
        if self._movement >= 0:
            np.not_equal(values[:, self._movement], 0, out=bits[:, _MOVING])
        else:
            np.logical_and(valid, told["speed"] > 0, out=bits[:, _MOVING])
        batch = Batch(
            frame=frame.astype(np.int32, copy=False),
            position=position.astype(np.int32, copy=False),
            time=milliseconds.astype(np.int64) * 1000,
            lat=place[:, 1],
            lon=place[:, 0],
            altitude=told["altitude"],
            speed=told["speed"],
            course=told["course"],
            satellites=satellites,
            flags=np.packbits(bits, axis=1, bitorder="little")[:, 0].astype(np.int16),
            fingerprint=rows.fingerprints(),
            groups=[MeasureGroup(self.names, np.arange(n), values)],
            extra=extra,
            time_digits=3,
        )
        return batch, milliseconds > LAST_MS


def _complement(free: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """The spans of a record that are not values: counts, ids and lengths."""
    spans, at = [], 0
    for offset, size in sorted(free):
        if offset > at:
            spans.append((at, offset - at))
        at = max(at, offset + size)
    if at < length:
        spans.append((at, length - at))
    return spans


class _Block:
    """Items of one size and one number of frames; `first` is the index of each one's first frame."""

    __slots__ = ("data", "first", "number", "size", "start", "variant")

    def __init__(self, item: Frame) -> None:
        self.data: list[bytes] = []
        self.first: list[int] | NDArray[np.intp] = []
        self.number = item.count
        self.variant = item.variant
        self.size = len(item.data) // item.count
        self.start = payload_span(item)[0]

    def indices(self) -> NDArray[np.intp]:
        """The index of each frame."""
        first = np.asarray(self.first, np.intp)
        return first if self.number == 1 else (first[:, None] + np.arange(self.number)).ravel()


def _blocks(frames: Sequence[Frame]) -> list[_Block]:
    """What can lie side by side; one configuration's frames all can."""
    data = [item.data for item in frames]
    alike = len(set(map(len, data))) == 1 and len({item.count for item in frames}) == 1
    if alike and {item.variant for item in frames} == {0}:
        block = _Block(frames[0])
        block.data, block.first = data, np.arange(0, len(data) * block.number, block.number)
        return [block]
    found: dict[tuple[int, int, int, bytes], _Block] = {}
    index = 0
    for item in frames:
        # The length of its identity tells where in a datagram the payload begins.
        key = (len(item.data), item.count, item.variant, item.data[6:8] if item.variant else b"")
        block_ = found.get(key)
        if block_ is None:
            block_ = found[key] = _Block(item)
        block_.data.append(item.data)
        block_.first.append(index)  # type: ignore[union-attr]
        index += item.count
    return list(found.values())


class Decoder:
    """Frames of codecs 8, 8E and 16 to columns; remembers the structures it has seen."""

    def __init__(self) -> None:
        self._by_signature: dict[tuple[Any, ...], _Structure] = {}
        self._by_length: dict[tuple[int, int], list[_Structure]] = {}
        self._weight = 0
        self._lessons = 0  # names that may still be learned in this call

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Decode frames and runs as `TeltonikaSession` gives them; never raises on any bytes.

        A run counts in the indices as the frames it holds.
        """
        quarantined: list[_Refused] = []
        parts: list[Batch] = []
        singles: list[tuple[int, Frame]] = []
        for block in _blocks(frames):
            singles += self._block(block, parts, quarantined)
        if singles:
            singles.sort(key=_index)
            self._each(singles, parts, quarantined)
        quarantined.sort(key=lambda q: q[:2])
        return Decoded(Batch.concatenate(parts), [q for _, _, q in quarantined])

    def _block(self, block: _Block, parts: list[Batch], quarantined: list[_Refused]) -> list[tuple[int, Frame]]:
        """Frames of one length: records side by side; returns, by index, those that fit no known structure."""
        members = block.indices()
        start, stop = block.start, block.size - (4 if block.variant == 0 else 0)
        body = stop - start - 3
        if not 0 <= body <= MAX_RECORD:
            quarantined += [(index, 0, Quarantined(index, "length")) for index in members.tolist()]
            return []
        matrix = np.frombuffer(b"".join(block.data), np.uint8).reshape(-1, block.size)
        edges = matrix.take((start, start + 1, stop - 1), axis=1)  # codec, count, count again
        codec, count, again = edges[0].tolist()
        alike = not np.count_nonzero(edges != edges[0])
        if alike and count == again:
            left = self._match(matrix[:, start + 2 : stop - 1], members, codec, count, parts, quarantined)
            if left is None:
                return []
        else:
            left = np.ones(len(matrix), np.bool_)
            kinds = edges[:, 0].astype(np.uint16) << 8 | edges[:, 1]
            for kind in np.unique(kinds).tolist():
                fit = (kinds == kind) & (edges[:, 1] == edges[:, 2])
                if fit.any():
                    rest = self._match(
                        matrix[fit, start + 2 : stop - 1], members[fit], kind >> 8, kind & 0xFF, parts, quarantined
                    )
                    left[fit] = False if rest is None else rest
        singles = []
        for row in np.flatnonzero(left).tolist():
            frame = Frame(matrix[row].tobytes(), int(matrix[row, start + 1]), 0, block.variant)
            index = int(members[row])
            reason = _refusal(frame, start, stop)
            if reason:
                quarantined.append((index, 0, Quarantined(index, reason)))
            else:
                singles.append((index, frame))
        return singles

    def _match(
        self,
        bodies: NDArray[np.uint8],
        members: NDArray[np.intp],
        codec: int,
        count: int,
        parts: list[Batch],
        quarantined: list[_Refused],
    ) -> NDArray[np.bool_] | None:
        """Read the frames, of `count` records of one length each, that fit a structure; which do not, None: all do."""
        structures = self._by_length.get((codec, bodies.shape[1] // count)) if count else None
        if structures is None or bodies.shape[1] % count:
            return np.ones(len(bodies), np.bool_)
        length = bodies.shape[1] // count
        rows = Rows(bodies.reshape(len(bodies) * count, length))
        frame = np.repeat(members, count) if count > 1 else members
        position = np.tile(np.arange(count), len(members)) if count > 1 else np.zeros(len(members), np.int32)
        if structures[0].template.fits(rows):
            self._append(structures[0], rows, frame, position, parts, quarantined)
            return None
        owner = np.full(len(rows), -1)
        for number, structure in enumerate(structures[:_CANDIDATES]):
            owner[structure.template.matches(rows)] = number
            if (owner >= 0).all():
                break
        whole = np.logical_and.reduce(owner.reshape(-1, count) >= 0, axis=1)
        kept = np.repeat(whole, count)
        for number in np.unique(owner[kept]).tolist():
            chosen = kept & (owner == number)
            self._append(structures[number], rows.take(chosen), frame[chosen], position[chosen], parts, quarantined)
        left: NDArray[np.bool_] = ~whole
        return left

    def _each(self, singles: list[tuple[int, Frame]], parts: list[Batch], quarantined: list[_Refused]) -> None:
        """The exact way: walk each record of each frame, then read records of one structure together."""
        found: dict[int, tuple[_Structure, list[bytes], list[int], list[int]]] = {}
        plain: list[Plain] = []
        self._lessons = _LESSONS
        for index, frame in singles:
            data = frame.data
            start, stop = payload_span(frame)
            codec, count = data[start], data[start + 1]
            at = start + 2
            records: list[tuple[_Structure | Walked, bytes]] = []
            try:
                for _ in range(count):
                    structure, end = self._structure(codec, data, at, stop - 1)
                    records.append((structure, data[at:end]))
                    at = end
                if at != stop - 1:
                    raise DamagedFrameError("structure")
            except DamagedFrameError as error:
                quarantined.append((index, 0, Quarantined(index, error.args[0])))
                continue
            for position, (structure, record) in enumerate(records):
                if isinstance(structure, Walked):
                    plain.append(Plain(index, position, record, codec, data, structure))
                    continue
                entry = found.setdefault(id(structure), (structure, [], [], []))
                entry[1].append(record)
                entry[2].append(index)
                entry[3].append(position)
        for structure, records_, indexes, positions in found.values():
            self._append(structure, Rows.of(records_), np.array(indexes), np.array(positions), parts, quarantined)
        if plain:
            parts.append(read_plainly(plain, quarantined).build())

    @staticmethod
    def _append(
        structure: _Structure,
        rows: Rows,
        frame: NDArray[Any],
        position: NDArray[Any],
        parts: list[Batch],
        quarantined: list[_Refused],
    ) -> None:
        batch, absurd = structure.columns(rows, frame, position)
        if np.count_nonzero(absurd):
            quarantined += [
                (
                    int(frame[row]),
                    int(position[row]),
                    Quarantined(int(frame[row]), "time", rows.bytes[row].tobytes()),
                )
                for row in np.flatnonzero(absurd)
            ]
            good = ~absurd
            if not good.any():
                return
            batch, _ = structure.columns(rows.take(good), frame[good], position[good])
        parts.append(batch)

    def _structure(self, codec: int, data: bytes, at: int, limit: int) -> tuple[_Structure | Walked, int]:
        """How to read a record, and where it ends: by its structure, or plainly if that is not to be learned now."""
        signature, walked, end = walk(codec, data, at, limit)
        structure = self._by_signature.get(signature)
        if structure is None:
            names = walked.names + 3
            if names > MAX_NAMES or self._lessons <= 0:
                return walked, end
            self._lessons -= names
            structure = _Structure(
                codec,
                data[at:end],
                [(i, offset - at, size, meant) for i, offset, size, meant in items_of(codec, data, walked)],
            )
            while self._by_signature and (
                len(self._by_signature) >= MAX_STRUCTURES or self._weight + structure.weight > MAX_WEIGHT
            ):
                self._forget(next(iter(self._by_signature)))
            self._by_signature[signature] = structure
            self._weight += structure.weight
            self._by_length.setdefault((codec, structure.length), []).append(structure)
        else:
            siblings = self._by_length[codec, structure.length]
            if len(siblings) > _CANDIDATES:  # in use: must not stay behind those somebody invented once
                siblings.remove(structure)
                siblings.insert(0, structure)
        return structure, end

    def _forget(self, signature: tuple[Any, ...]) -> None:
        structure = self._by_signature.pop(signature)
        self._weight -= structure.weight
        siblings = self._by_length[structure.codec, structure.length]
        siblings.remove(structure)
        if not siblings:
            del self._by_length[structure.codec, structure.length]


def _refusal(frame: Frame, start: int, stop: int) -> str:
    """Why a frame cannot be decoded, if the head and end of its payload tell already."""
    if frame.data[start] not in AVL_CODECS:
        return "codec"
    return "count" if frame.records == 0 or frame.data[stop - 1] != frame.records else ""


_shared = Decoder()


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames) if frames else Decoded(BatchBuilder().build())
