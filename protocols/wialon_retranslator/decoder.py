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

    __slots__ = ("_exact", "_fields", "_ignition", "_position", "_texts", "_wire", "apart", "key", "length", "template",
                 "weight")  # fmt: skip

    def __init__(self, data: bytes, found: Sequence[wire.Block], key: bytes) -> None:
        self.key, self.length = key, len(data)
        self._position = -1
        self._ignition = ""
        self._texts: list[tuple[str, int, int, Callable[[bytes], str]]] = []
        self.apart: list[tuple[int, int]] = []  # blocks that are kept beside the record
        self._fields: list[tuple[str, str, str]] = []  # field, measure, kind
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
                field = f"v{one.value}"
                form = ">u4" if name in ("avl_inputs", "avl_outputs") and one.kind == wire.INT else _FORMS[one.kind]
                kind = "level" if called.startswith("fuel.level.") else "exact" if one.kind == wire.LONG else ""
                read.append((field, one.value, form))
                self._fields.append((field, called, kind))
                if called == "ignition":
                    self._ignition = field
            elif one.end - one.value > MAX_BINARY:
                self.apart.append((one.at, one.end))
            elif one.kind == wire.TEXT:
                self._texts.append((called, one.value, one.end, told))
            else:
                self._texts.append((called, one.value, one.end, bytes.hex))
        self._wire = record_dtype(read, self.length)
        self.template = Template(data, _fixed(found))
        self.weight = len(self._fields) + len(self._texts) + self.length // 8

    def columns(self, rows: Rows, frame: NDArray[Any]) -> Batch:
        """All records of it."""
        n = len(rows)
        view = rows.view(self._wire)
        extra: dict[int, dict[str, Any]] = {}
        named: list[tuple[str, Floats]] = []
        for field, called, kind in self._fields:
            raw = view[field]
            value: Floats = raw.astype(np.float64)
            if kind == "exact":
                large = np.flatnonzero(np.abs(value) >= EXACT_INTEGER)
                for row in large.tolist():
                    extra.setdefault(row, {})[called] = int(raw[row])
                value[large] = np.nan
            elif kind == "level":  # what is no level is the code of an error
                wrong = (value < 0) | (value > _HIGHEST)
                if np.count_nonzero(wrong):
                    named.append((called.replace("level", "status", 1), np.where(wrong, value, np.nan)))
                    value = np.where(wrong, np.nan, value)
            else:
                value = np.where(np.isfinite(value), value, np.nan)
            named.append((called, value))
        for called, start, end, read in self._texts:
            for row in range(n):
                extra.setdefault(row, {})[called] = read(rows.bytes[row, start:end].tobytes())
        flags = np.zeros(n, np.int16)
        alarm = view["flags"] & wire.ALARM != 0
        for row in np.flatnonzero(alarm).tolist():
            extra.setdefault(row, {})["alarm"] = 1
        flags[alarm] |= EVENT
        if self._ignition:
            flags |= np.where(view[self._ignition] != 0, IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN).astype(np.int16)
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
        for called, value in named[MAX_NAMES:]:
            for row in np.flatnonzero(~np.isnan(value)).tolist():
                extra.setdefault(row, {})[called] = float(value[row])
        del named[MAX_NAMES:]
        values = np.ascontiguousarray(np.array([value for _, value in named]).T) if named else np.empty((n, 0))
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
            groups=[MeasureGroup(tuple(called for called, _ in named), np.arange(n), values)],  # also of no names
            extra=extra,
        )


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
        by_length: dict[int, tuple[list[int], list[bytes]]] = {}
        for index, data in enumerate([frame.data for frame in frames]):  # never runs: nobody logs in
            start = data.find(0, 4) + 1
            length = len(data) - start
            if not start or length < _HEAD:
                quarantined.append(Quarantined(index, "structure"))
                continue
            same = by_length.get(length)
            if same is None:
                same = by_length[length] = ([], [])
            same[0].append(index)
            same[1].append(data[start:])
        batches: list[Batch] = []
        for length, (members, bodies) in by_length.items():
            if length > MAX_RECORD:  # a picture
                self._large(members, bodies, batches, quarantined)
            else:
                self._alike(np.array(members), Rows.of(bodies), bodies, batches, quarantined)
        quarantined.sort(key=lambda one: one.frame)
        return Decoded(Batch.concatenate(batches), quarantined)

    def _large(
        self, members: list[int], bodies: list[bytes], batches: list[Batch], quarantined: list[Quarantined]
    ) -> None:
        """Without what is kept beside the record they are of ordinary length."""
        for index, body in zip(members, bodies, strict=True):
            try:
                found = list(wire.blocks(body, _HEAD))
            except wire.DamagedError:
                quarantined.append(Quarantined(index, "structure"))
                continue
            large = [one for one in found if one.end - one.value > MAX_BINARY]
            rest = body[:_HEAD] + b"".join([body[one.at : one.end] for one in found if one not in large])
            quarantined += [Quarantined(index, "unsupported", body[one.at : one.end]) for one in large]
            if len(rest) <= MAX_RECORD:
                self._alike(np.array([index]), Rows.of([rest]), [rest], batches, quarantined)

    def _alike(
        self,
        members: NDArray[Any],
        rows: Rows,
        bodies: Sequence[bytes],
        batches: list[Batch],
        quarantined: list[Quarantined],
    ) -> None:
        def put(structure: _Structure, its: Rows, which: NDArray[Any]) -> None:
            batches.append(structure.columns(its, members[which]))
            for start, end in structure.apart:
                quarantined.extend(
                    [Quarantined(int(members[row]), "unsupported", bodies[row][start:end]) for row in which.tolist()]
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
                structure = self._structure(bodies[row])
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
