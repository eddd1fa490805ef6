"""Packets to columns, by learned structures: blocks of the same names, types and sizes lie at the same places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.records import (
    EVENT,
    EXACT_INTEGER,
    IGNITION_KNOWN,
    IGNITION_ON,
    MAX_NAMES,
    MOVING,
    SATELLITES_UNKNOWN,
    VALID,
    Batch,
    BatchBuilder,
    Decoded,
    Floats,
    Frame,
    MeasureGroup,
    Quarantined,
)
from protocols.runs import alike
from protocols.structures import CANDIDATES, MAX_RECORD, Remembering, Rows, Template, record_dtype
from protocols.wialon_retranslator import wire
from protocols.wialon_retranslator.measures import measure

MAX_STRUCTURES = 2048
MAX_WEIGHT = 131_072  # columns and words over all of them
MAX_BINARY = 4096  # bytes of a value that are kept in its record; a picture is kept beside it
_HEAD = 8  # time and flags
_FORMS = {wire.INT: ">i4", wire.DOUBLE: "<f8", wire.LONG: ">i8"}
_HIGHEST = 4095.0  # code of a fuel-level sensor


def told(raw: bytes) -> str:
    """A text as it was sent, or its bytes where it is none."""
    raw = raw.split(b"\0")[0]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.hex()
    return text if "\0" not in text else raw.hex()


class _Structure:
    """Where the values of one kind of message lie, behind the identity."""

    __slots__ = (
        "_exact", "_ignition", "_levels", "_names", "_numbers", "_position", "_read", "_texts", "_wire", "apart", "key",
        "length", "template", "weight",
    )  # fmt: skip

    def __init__(self, data: bytes, found: Sequence[wire.Block], key: bytes) -> None:
        self.key, self.length = key, len(data)
        self._position = self._ignition = -1
        self._texts: list[tuple[str, int, int, Callable[[bytes], str]]] = []
        self.apart: list[tuple[int, int]] = []  # blocks that are kept beside the record
        numbers: list[tuple[str, int, str]] = []
        self._names: list[str] = []  # of the numbers, in their order
        self._levels: list[int] = []  # which of them
        self._exact: list[int] = []
        read = [("time", 0, ">u4"), ("flags", 4, ">u4")]
        names: dict[str, int] = {}
        for one in found:
            name = one.name.decode("ascii")
            if name == "posinfo" and self._position < 0:
                at = self._position = one.value
                read += [("lon", at, "<f8"), ("lat", at + 8, "<f8"), ("altitude", at + 16, "<f8")]
                read += [("speed", at + 24, ">i2"), ("course", at + 26, ">i2"), ("satellites", at + 28, "u1")]
                continue
            called = measure(name)
            if called == "ignition" and one.kind != wire.INT:
                called = f"param.{name}"
            count = names[called] = names.get(called, 0) + 1
            called = called if count == 1 else f"again.{called}.{count}"
            if one.kind in _FORMS:
                place = len(numbers)
                form = ">u4" if name in ("avl_inputs", "avl_outputs") and one.kind == wire.INT else _FORMS[one.kind]
                numbers.append((f"n{place}", one.value, form))
                self._names.append(called)
                if called.startswith("fuel.level."):
                    self._levels.append(place)
                elif one.kind == wire.LONG:
                    self._exact.append(place)
                elif called == "ignition":
                    self._ignition = place
            elif one.end - one.value > MAX_BINARY:
                self.apart.append((one.at, one.end))
            elif one.kind == wire.TEXT:
                self._texts.append((called, one.value, one.end, told))
            else:
                self._texts.append((called, one.value, one.end, bytes.hex))
        self._wire = record_dtype(read, self.length)
        self._numbers = record_dtype(numbers, self.length)
        self._read = np.dtype([(field, "f8") for field, _, _ in numbers])
        self.template = Template(data, _fixed(found))
        self.weight = len(self._names) + len(self._texts) + self.length // 8

    def columns(self, rows: Rows, frame: NDArray[Any]) -> Batch:
        """All records of it."""
        n = len(rows)
        view = rows.view(self._wire)
        extra: dict[int, dict[str, Any]] = {}
        names, values = self._measures(rows, extra)
        for called, start, end, read in self._texts:
            for row in range(n):
                extra.setdefault(row, {})[called] = read(rows.bytes[row, start:end].tobytes())
        flags = np.zeros(n, np.int16)
        alarm = view["flags"] & wire.ALARM != 0
        for row in np.flatnonzero(alarm).tolist():
            extra.setdefault(row, {})["alarm"] = 1
        flags[alarm] |= EVENT
        if self._ignition >= 0:
            on = rows.view(self._numbers)[f"n{self._ignition}"] != 0
            flags |= np.where(on, IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN).astype(np.int16)
        lat = lon = np.full(n, np.nan)
        altitude = speed = course = np.full(n, np.nan, np.float32)
        satellites = np.full(n, SATELLITES_UNKNOWN, np.int16)
        if self._position >= 0:
            lat, lon = view["lat"].astype(np.float64), view["lon"].astype(np.float64)
            satellites = view["satellites"].astype(np.int16)
            with np.errstate(invalid="ignore", over="ignore"):
                valid = (np.abs(lat) <= 90) & (np.abs(lon) <= 180) & ((lat != 0) | (lon != 0))
                high = view["altitude"].astype(np.float64)
                altitude = np.where(np.isfinite(high) & (np.abs(high) < 1e7), high, np.nan).astype(np.float32)
            lat[~valid] = lon[~valid] = np.nan
            speed, course = view["speed"].astype(np.float32), view["course"].astype(np.float32)
            flags |= (valid * VALID + (valid & (speed > 0)) * MOVING).astype(np.int16)
        for called, its in zip(names[MAX_NAMES:], values.T[MAX_NAMES:], strict=True):
            for row in np.flatnonzero(~np.isnan(its)).tolist():
                extra.setdefault(row, {})[called] = float(its[row])
        return Batch(
            frame=frame.astype(np.int32),
            position=np.zeros(n, np.int32),
            time=view["time"].astype(np.int64) * 1_000_000,
            lat=lat,
            lon=lon,
            altitude=altitude,
            speed=speed,
            course=course,
            satellites=satellites,
            flags=flags,
            fingerprint=rows.fingerprints(),
            groups=[MeasureGroup(names[:MAX_NAMES], np.arange(n), values[:, :MAX_NAMES])],  # also of no names
            extra=extra,
        )

    def _measures(self, rows: Rows, extra: dict[int, dict[str, Any]]) -> tuple[tuple[str, ...], Floats]:
        """Names and values of the numbers; what no float holds goes to `extra`."""
        n = len(rows)
        if not self._names:
            return (), np.empty((n, 0))
        view = rows.view(self._numbers)
        values: Floats = view.astype(self._read).view(np.float64).reshape(n, -1)
        wrong: list[tuple[int, Floats]] = []  # no levels but codes of errors
        for place in self._levels:
            level = values[:, place]
            bad = (level < 0) | (level > _HIGHEST)
            if np.count_nonzero(bad):
                wrong.append((place, np.where(bad, level, np.nan)))
                level[bad] = np.nan
        for place in self._exact:
            large = np.flatnonzero(np.abs(values[:, place]) >= EXACT_INTEGER)
            for row in large.tolist():
                extra.setdefault(row, {})[self._names[place]] = int(view[f"n{place}"][row])
            values[large, place] = np.nan
        finite = np.isfinite(values)
        if not finite.all():
            values[~finite] = np.nan
        if not wrong:
            return tuple(self._names), values
        names = list(self._names)
        for place, codes in reversed(wrong):  # each before its level
            names.insert(place, names[place].replace("level", "status", 1))
            values = np.insert(values, place, codes, axis=1)
        return tuple(names), values


def _starts(matrix: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where each body begins, behind the zero of its identity; the end where there is none."""
    n, size = matrix.shape
    usual = matrix[0].tobytes().find(0, 4)
    if usual >= 0 and not matrix[:, usual].any() and matrix[:, 4:usual].all():
        return np.full(n, usual + 1)
    starts = np.full(n, size)
    if size > 4:
        zeros = matrix[:, 4:] == 0
        first = zeros.argmax(axis=1)
        known = zeros[np.arange(n), first]
        starts[known] = first[known] + 5
    return starts


def _fixed(found: Sequence[wire.Block]) -> list[tuple[int, int]]:
    """What of a message tells its structure: all but values."""
    return [(one.at, one.value - one.at) for one in found]


class Decoder(Remembering[_Structure]):
    """Frames of `RetranslatorSession` to columns; remembers the structures it has seen."""

    def __init__(self) -> None:
        super().__init__(MAX_STRUCTURES, MAX_WEIGHT)

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Decode; never raises on any bytes."""
        quarantined: list[Quarantined] = []
        batches: list[Batch] = []
        for its in alike(frames):
            size, members, matrix = its.size, its.places, its.matrix
            starts = _starts(matrix)
            for start in set(starts.tolist()):
                rows = np.flatnonzero(starts == start)
                if size - start < _HEAD:
                    quarantined += [Quarantined(at, "structure") for at in members[rows].tolist()]
                    continue
                bodies = (matrix if len(rows) == len(members) else matrix[rows])[:, start:]
                if size - start > MAX_RECORD:  # a picture
                    self._large(members[rows], bodies, batches, quarantined)
                else:
                    self._alike(members[rows], Rows(bodies), batches, quarantined)
        quarantined.sort(key=lambda one: one.frame)
        return Decoded(Batch.concatenate(batches), quarantined)

    def _large(
        self,
        members: NDArray[np.int32],
        bodies: NDArray[np.uint8],
        batches: list[Batch],
        quarantined: list[Quarantined],
    ) -> None:
        """Without what is kept beside the record they are of ordinary length."""
        for row, index in enumerate(members.tolist()):
            body = bodies[row].tobytes()
            try:
                found = list(wire.blocks(body, _HEAD))
            except wire.DamagedError:
                quarantined.append(Quarantined(index, "structure"))
                continue
            large = [one for one in found if one.end - one.value > MAX_BINARY]
            rest = body[:_HEAD] + b"".join([body[one.at : one.end] for one in found if one not in large])
            quarantined += [Quarantined(index, "unsupported", body[one.at : one.end]) for one in large]
            if len(rest) <= MAX_RECORD:
                self._alike(np.array([index]), Rows.of([rest]), batches, quarantined)

    def _alike(
        self,
        members: NDArray[np.int32],
        rows: Rows,
        batches: list[Batch],
        quarantined: list[Quarantined],
    ) -> None:
        def put(structure: _Structure, its: Rows, which: NDArray[Any]) -> None:
            batches.append(structure.columns(its, members[which]))
            for start, end in structure.apart:
                quarantined.extend(
                    [
                        Quarantined(int(members[row]), "unsupported", rows.bytes[row, start:end].tobytes())
                        for row in which.tolist()
                    ]
                )

        known = self._by_length.get(rows.length, [])
        everything = np.arange(len(rows))
        if known and known[0].template.fits(rows):
            put(known[0], rows, everything)
            return
        left = np.ones(len(rows), np.bool_)
        for structure in known[:CANDIDATES]:
            fit = left & structure.template.matches(rows)
            if fit.any():
                left &= ~fit
                put(structure, rows.take(fit), np.flatnonzero(fit))
        found: dict[int, tuple[_Structure, list[int]]] = {}
        for row in np.flatnonzero(left).tolist():
            try:
                structure = self._structure(rows.bytes[row].tobytes())
            except wire.DamagedError:
                quarantined.append(Quarantined(int(members[row]), "structure"))
                continue
            found.setdefault(id(structure), (structure, []))[1].append(row)
        for structure, its in found.values():
            which = np.array(its)
            put(structure, rows.take(which), which)

    def _structure(self, data: bytes) -> _Structure:
        found = list(wire.blocks(data, _HEAD))
        for one in found:
            if not one.name.isascii() or not one.name.decode("ascii").isprintable():
                raise wire.DamagedError
            if one.name == b"posinfo" and one.end - one.value != wire.POSINFO.size:
                raise wire.DamagedError
        key = b"".join([data[at : at + size] for at, size in _fixed(found)])
        return self._remembered(len(data), key) or self._remember(_Structure(data, found, key))


_shared = Decoder()


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames) if frames else Decoded(BatchBuilder().build())
