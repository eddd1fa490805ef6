"""Packets to columns: records are laid side by side by length and read by layout.

Which bytes mean what is told once per layout (`layouts`); a masked comparison finds the records of one (`structures`).
Where records lie is found in all packets at once (`walk`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.egts import wire
from protocols.egts.layouts import DamagedError, Field, Layout, Section, read_layout
from protocols.egts.walk import RECORDS, REMAINDER, Places, span_of, spans, walk
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MAX_NAMES,
    MOVING,
    SATELLITES_UNKNOWN,
    TIME_UNKNOWN,
    VALID,
    Batch,
    BatchBuilder,
    Decoded,
    Frame,
    MeasureGroup,
    Quarantined,
)
from protocols.structures import MAX_RECORD, Rows, Template, record_dtype

MAX_STRUCTURES = 2048  # layouts that are remembered; a fleet has a few per configuration, a stranger may invent more
MAX_WEIGHT = 131_072  # columns and words over all of them
_CANDIDATES = 16  # layouts of one length that are tried before each record is read for itself
_LATITUDE, _LONGITUDE = 90.0, 180.0
_FULL = float(0xFFFF_FFFF)
_SIGN_EXTENDED = float(0xFFFF_0000)
_HIGHEST = 4095.0  # code of a fuel-level sensor
_SIGN = np.array([1.0, -1.0])
# `flags` by POS_DATA's own, and by the reason: timers tell of the ignition, distance and turn are no event.
_BY_FLAGS = np.array([VALID * (n & 1) | MOVING * (n >> 4 & 1) | ARCHIVE * (n >> 3 & 1) for n in range(256)], np.int16)
_BY_REASON = np.array([0 if n in (1, 2) else EVENT for n in range(256)], np.int16)
_BY_REASON[0], _BY_REASON[5] = IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN
_CORE = ("time", "lat", "lon", "flags", "speed", "course", "altitude", "satellites")


class _Part:
    """One section of a layout, compiled to numpy fields."""

    __slots__ = (
        "_cut", "_divide", "_flags", "_levels", "_multiply", "_read", "_reason", "_shift", "_texts", "_told", "_wire",
        "_wrap", "names", "placed", "section", "statuses",
    )  # fmt: skip

    def __init__(self, section: Section, length: int) -> None:
        self.section = section
        self.placed = section.position >= 0
        # Those that are a part of what is read stand behind the others: they are cut out of it side by side.
        fields = section.fields = sorted(section.fields, key=lambda one: (_is_part(one), one.kind == "flag"))
        names = [one.name for one in fields]
        self._levels = [(n, one.status) for n, one in enumerate(fields) if one.kind == "level"]
        self._flags = [(n, one.kind) for n, one in enumerate(fields) if one.kind in ("flag", "fix", "code", "flagged")]
        self._told = sum(one.kind != "flag" for one in fields)  # in each record; flags only where they are set
        self.names = tuple(names[: self._told])
        self.statuses = tuple(status for _, status in self._levels)
        cut = [one for one in fields if _is_part(one)]
        self._cut = len(fields) - len(cut)
        self._shift, self._wrap = (
            np.array([getattr(one, what) or 2.0**32 for one in cut]) for what in ("shift", "wrap")
        )
        divide = np.array([one.divide for one in fields])
        multiply = np.array([one.multiply for one in fields])
        self._divide = divide if (divide != 1).any() else None
        self._multiply = multiply if (multiply != 1).any() else None
        self._texts = section.texts
        self._reason = next((n for n, one in enumerate(fields) if one.offset == section.position + 20), 0)
        read = [(f"m{n}", one.offset, one.form) for n, one in enumerate(fields)]
        at = section.position
        if self.placed:
            core = [(at, "<u4"), (at + 4, "<u4"), (at + 8, "<u4"), (at + 12, "u1"), (at + 13, "<u2"), (at + 15, "u1")]
            core.append((at + 20, "<u4") if section.altitude else (at + 12, "u1"))
            core.append((section.satellites, "u1") if section.satellites >= 0 else (at + 12, "u1"))
            read += [(name, offset, form) for name, (offset, form) in zip(_CORE, core, strict=True)]
        elif section.satellites >= 0:
            read.append(("satellites", section.satellites, "u1"))
        self._wire = record_dtype(read, length)
        self._read = np.dtype([(name, "f8") for name, _, _ in read])

    def empty(self) -> bool:
        """Whether it tells nothing: no record is made of it."""
        return not (self.placed or self.names or self._texts or self.section.satellites >= 0 or self._flags)

    def columns(self, rows: Rows, places: Places, number: int) -> Batch:
        """Its records; `number` counts the sections of a layout."""
        n = len(rows)
        fields = self.section.fields
        told = np.empty((n, 0)) if not self._read.names else rows.view(self._wire).astype(self._read).view("f8")
        told = told.reshape(n, -1)
        values = told[:, : len(fields)]
        extra: dict[int, dict[str, Any]] = {}
        values, names = self._measures(values, extra)
        for text in self._texts:
            whole = rows.bytes[:, text.offset : text.offset + text.size]
            for row in range(n):
                extra.setdefault(row, {})[text.name] = text.read(whole[row].tobytes())
        nothing = np.full(n, np.nan)
        lat = lon = nothing
        altitude = speed = course = nothing.astype(np.float32)
        flags = np.zeros(n, np.int16)
        time = np.where(places.tm >= 0, (places.tm + wire.EPOCH) * 1_000_000, TIME_UNKNOWN)
        satellites = np.full(n, SATELLITES_UNKNOWN, np.int16)
        if self.section.satellites >= 0:
            satellites = told[:, -1].astype(np.int16)
        made = nothing
        if self.placed:
            reason = told[:, self._reason].astype(np.intp)
            ntm, lat, lon, bits, word, low, high, _ = told[:, len(fields) :].T
            fallen = (ntm == 0) & (places.tm >= 0)
            time = np.where(fallen, time, (ntm.astype(np.int64) + wire.EPOCH) * 1_000_000)
            made = np.where(places.own & ~fallen & (places.tm != ntm), places.tm + float(wire.EPOCH), np.nan)
            bits = bits.astype(np.intp)
            word = word.astype(np.int64)
            valid = bits & 1 != 0
            lat = np.where(valid, lat * _LATITUDE / _FULL * _SIGN[bits >> 5 & 1], np.nan)
            lon = np.where(valid, lon * _LONGITUDE / _FULL * _SIGN[bits >> 6 & 1], np.nan)
            speed = ((word & 0x3FFF) / 10.0).astype(np.float32)
            course = (low + (word >> 15) * 256).astype(np.float32)
            if self.section.altitude:
                altitude = (np.floor(high / 256.0) * _SIGN[word >> 14 & 1]).astype(np.float32)
            flags = _BY_FLAGS[bits] | _BY_REASON[reason]
        optional = []
        if not np.isnan(made).all():
            optional.append(("record.time", made))
        if (places.evid >= 0).any() and not number:
            optional.append(("event.id", np.where(places.evid >= 0, places.evid.astype(np.float64), np.nan)))
        if optional:
            names = (*names, *(name for name, _ in optional))
            values = np.column_stack([values, *(column for _, column in optional)])
        if len(names) > MAX_NAMES:
            for row, rest in enumerate(values[:, MAX_NAMES:].tolist()):
                beyond = {name: value for name, value in zip(names[MAX_NAMES:], rest, strict=True) if value == value}
                extra.setdefault(row, {}).update(beyond)
            names, values = names[:MAX_NAMES], values[:, :MAX_NAMES]
        return Batch(
            frame=places.frame.astype(np.int32),
            position=places.ordinal.astype(np.int32),
            time=time,
            lat=lat,
            lon=lon,
            altitude=altitude,
            speed=speed,
            course=course,
            satellites=satellites,
            flags=flags,
            fingerprint=rows.fingerprints() + number,
            groups=[MeasureGroup(names, np.arange(n), values)] if names else [],
            extra=extra,
        )

    def _measures(
        self, values: NDArray[np.float64], extra: dict[int, dict[str, Any]]
    ) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        names = self.names
        if len(self._shift):  # by powers of two: exact
            some = values[:, self._cut :]
            some /= self._shift
            np.floor(some, out=some)
            some -= np.floor(some / self._wrap) * self._wrap
        if self._multiply is not None:
            values *= self._multiply
        if self._divide is not None:
            values /= self._divide
        for column, kind in self._flags:
            if kind == "fix":
                values[:, column] += 2
            elif kind == "code":
                values[:, column] %= np.where(values[:, column] >= _SIGN_EXTENDED, 65536.0, np.inf)
            elif kind == "flagged":
                values[:, column] = values[:, column] != 0
            else:
                for row in np.flatnonzero(values[:, column]).tolist():
                    extra.setdefault(row, {})[self.section.fields[column].name] = 1
        added = []
        for column, status in self._levels:
            code = values[:, column]
            wrong = code > _HIGHEST
            if np.count_nonzero(wrong):
                code = np.where(code >= _SIGN_EXTENDED, code - _SIGN_EXTENDED, code)
                added.append((status, np.where(wrong, code, np.nan)))
                values[wrong, column] = np.nan
        values = values[:, : self._told]
        if added:
            names = (*names, *(name for name, _ in added))
            values = np.column_stack([values, *(column for _, column in added)])
        return values, names


def _is_part(field: Field) -> bool:
    return field.shift != 1 or field.wrap != 0


class _Structure:
    """A layout of one length."""

    __slots__ = ("key", "length", "parts", "template", "weight")

    def __init__(self, data: bytes, layout: Layout, key: bytes) -> None:
        self.key = key
        self.length = len(data)
        parts = [_Part(section, self.length) for section in layout.sections]
        self.parts = [part for part in parts if not part.empty()]
        self.template = Template(data, layout.fixed, layout.bits)
        self.weight = sum(len(part.names) for part in parts) + self.length // 8


class Decoder:
    """Frames of `EgtsSession` to columns; remembers the layouts it has seen."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[int, bytes], _Structure] = {}
        self._by_length: dict[int, list[_Structure]] = {}
        self._weight = 0

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Decode frames and runs; never raises on any bytes. A run counts in the indices as the frames it holds."""
        quarantined: list[tuple[int, int, Quarantined]] = []
        data = b"".join([frame.data for frame in frames])
        flat = np.frombuffer(data + bytes(32), np.uint8)
        begin, end, nothing = spans(frames, data, flat)
        quarantined += [(number, 0, Quarantined(number, "structure")) for number in nothing]
        places, damaged = walk(data, flat, begin, end)
        for owner, ordinal, start, stop in damaged:
            bad = Quarantined(owner, "structure", data[start:stop] if ordinal else None)
            quarantined.append((owner, ordinal, bad))
        batches = self._batches(data, flat, places, quarantined)
        quarantined.sort(key=lambda one: one[:2])
        return Decoded(Batch.concatenate(batches), [bad for _, _, bad in quarantined])

    def _batches(
        self, data: bytes, flat: NDArray[np.uint8], places: Places, quarantined: list[tuple[int, int, Quarantined]]
    ) -> list[Batch]:
        batches: list[Batch] = []
        several: list[tuple[Batch, int]] = []
        for structure, rows, its in self._alike(data, flat, places, quarantined):
            for number, part in enumerate(structure.parts):
                batch = part.columns(rows, its, number)
                batches.append(batch)
                several.append((batch, number))
        if any(number for _, number in several):  # a record that became several: the ones behind move
            frame = np.concatenate([batch.frame for batch in batches])
            ordinal = np.concatenate([batch.position for batch in batches])
            section = np.concatenate([np.full(len(batch), number) for batch, number in several])
            order = np.lexsort((section, ordinal, frame))
            ordered = frame[order]
            first = np.searchsorted(ordered, ordered)
            position = np.empty(len(order), np.int32)
            position[order] = np.arange(len(order)) - first
            begin = 0
            for batch in batches:
                batch.position = position[begin : begin + len(batch)]
                begin += len(batch)
        return batches

    def _alike(
        self, data: bytes, flat: NDArray[np.uint8], places: Places, quarantined: list[tuple[int, int, Quarantined]]
    ) -> Iterator[tuple[_Structure, Rows, Places]]:
        """Records by layout."""

        def refuse(its: Places, row: int) -> None:
            frame, ordinal, start = int(its.frame[row]), int(its.ordinal[row]), int(its.start[row])
            bad = _refused(frame, data[start : int(its.at[row] + its.size[row])])
            quarantined.append((frame, ordinal, bad))

        if not len(places.size):
            return
        lengths = np.unique(places.size)
        for length in lengths.tolist():
            its = places if len(lengths) == 1 else places.take(places.size == length)
            if length > MAX_RECORD:
                for row in range(len(its.at)):
                    refuse(its, row)
                continue
            windows = np.lib.stride_tricks.as_strided(flat, (len(flat) - length, max(length, 1)), (1, 1))
            rows = Rows(windows[its.at][:, :length])
            known = self._by_length.get(length, [])
            if known and known[0].template.fits(rows):
                yield known[0], rows, its
                continue
            left = np.ones(len(rows), np.bool_)
            for structure in known[:_CANDIDATES]:
                fit = left & structure.template.matches(rows)
                if fit.any():
                    left &= ~fit
                    yield structure, rows.take(fit), its.take(fit)
                    if not left.any():
                        break
            found: dict[int, tuple[_Structure, list[int]]] = {}
            for row in np.flatnonzero(left).tolist():
                at = int(its.at[row])
                try:
                    structure = self._structure(data[at : at + length])
                except DamagedError:
                    refuse(its, row)
                    continue
                found.setdefault(id(structure), (structure, []))[1].append(row)
            for structure, members in found.values():
                yield structure, rows.take(np.array(members)), its.take(np.array(members))

    def _structure(self, data: bytes) -> _Structure:
        layout = read_layout(data)
        key = b"".join([data[at : at + size] for at, size in layout.fixed])
        key += bytes([data[at] & mask for at, mask in layout.bits])
        structure = self._by_key.get((len(data), key))
        if structure is not None:
            siblings = self._by_length[len(data)]
            if len(siblings) > _CANDIDATES:  # in use: must not stay behind those somebody invented once
                siblings.remove(structure)
                siblings.insert(0, structure)
            return structure
        structure = _Structure(data, layout, key)
        while self._by_key and (len(self._by_key) >= MAX_STRUCTURES or self._weight + structure.weight > MAX_WEIGHT):
            self._forget(next(iter(self._by_key.values())))
        self._by_key[len(data), key] = structure
        self._by_length.setdefault(len(data), []).append(structure)
        self._weight += structure.weight
        return structure

    def _forget(self, structure: _Structure) -> None:
        del self._by_key[structure.length, structure.key]
        self._weight -= structure.weight
        siblings = self._by_length[structure.length]
        siblings.remove(structure)
        if not siblings:
            del self._by_length[structure.length]


def _refused(frame: int, data: bytes) -> Quarantined:
    """One record; its code tells the session which, and what to say."""
    number = int.from_bytes(data[2:4], "little")
    return Quarantined(frame, "structure", data, f"{number}:{wire.INC_DATA}")


def parts(frame: Frame, most: int) -> list[Frame]:
    """A frame of many records as several, of at most `most` each."""
    if frame.variant == REMAINDER:
        return [frame]
    begin, end = span_of(frame.data, frame.variant)
    found, bad = wire.records(frame.data, begin, end)
    pieces = [
        Frame(
            b"".join([wire.alone(frame.data, one) for one in found[at : at + most]]),
            len(found[at : at + most]), frame.offset, RECORDS, 1, frame.terminal,
        )
        for at in range(0, len(found), most)
    ]  # fmt: skip
    if bad >= 0:
        if pieces and len(found) % most:
            pieces[-1].data += frame.data[bad:end]
        else:
            pieces.append(Frame(frame.data[bad:end], 1, frame.offset, REMAINDER if not pieces else RECORDS, 1))
    return pieces or [frame]


_shared = Decoder()


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of layouts."""
    return _shared.decode(frames) if frames else Decoded(BatchBuilder().build())
