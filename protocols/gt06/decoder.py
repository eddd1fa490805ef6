"""Frames to columns: contents of one protocol and length side by side; fuel, voltage and doors one by one.

Whether a place is sent again is no part of the record: the same place told anew is a resend.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.gt06.contents import HEAD, lesson, upload_at, walk
from protocols.gt06.wire import (
    CELLS,
    CELLS_4G,
    INFO,
    INFO_DOOR,
    INFO_FUEL,
    INFO_VOLTAGE,
    LOCAL,
    LONG,
    PLACES,
    is_record,
    parts_of,
)
from protocols.headed import Found, Structures
from protocols.instants import instants
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
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
    fingerprint,
)
from protocols.runs import alike
from protocols.structures import Rows, record_dtype

_POSITIONED, _WEST, _NORTH = 1 << 12, 1 << 11, 1 << 10
_PER_DEGREE = 1_800_000
_CHECKED = frozenset((*PLACES, CELLS, CELLS_4G))

# !AIOIL,address,level,temperature,version,wave and two states,measured level,moving,…
_FUEL = re.compile(
    rb"!AIOIL,([0-9]{1,3}),[^,]*,([-+]?[0-9]{1,4}(?:\.[0-9]{1,6})?),[^,]*,([0-9A-Fa-f]*),([0-9]{1,6}(?:\.[0-9]{1,6})?),.*",
    re.DOTALL,
)


class Decoder:
    """Frames to columns; remembers the structures it has seen."""

    def __init__(self) -> None:
        self._structures = Structures(walk, lesson)

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Decode frames and runs as the session gives them; never raises on any bytes."""
        self._structures.begin()
        refused: list[tuple[int, Quarantined]] = []
        slow = BatchBuilder()
        parts: list[Batch] = []
        for its in alike(frames):
            matrix = its.matrix
            head = 4 if its.data[:2] == LONG else 3
            begin = its.data[: min(head + 1, its.size)]
            if begin and all(not np.count_nonzero(matrix[:, at] != told) for at, told in enumerate(begin)):
                kinds = [(begin, np.arange(len(matrix)))]
            else:
                found: dict[bytes, list[int]] = {}
                for row, one in enumerate(matrix[:, :5].tolist()):
                    head = 4 if bytes(one[:2]) == LONG else 3
                    found.setdefault(bytes(one[: head + 1]), []).append(row)
                kinds = [(begin, np.array(places, np.intp)) for begin, places in found.items()]
                if not its.size:
                    refused += [(int(at), Quarantined(int(at), "structure")) for at in its.places.tolist()]
            for begin, rows in kinds:
                chosen = matrix if len(rows) == len(matrix) else matrix[rows]
                self._kind(begin, its.variant, chosen, its.places[rows], parts, slow, refused)
        if len(slow):
            parts.append(slow.build())
        refused.sort(key=lambda it: it[0])
        return Decoded(Batch.concatenate([part for part in parts if len(part)]), [told for _, told in refused])

    def _kind(
        self,
        begin: bytes,
        zone: int,
        matrix: NDArray[np.uint8],
        index: NDArray[np.int32],
        parts: list[Batch],
        slow: BatchBuilder,
        refused: list[tuple[int, Quarantined]],
    ) -> None:
        """Frames of one size that begin alike."""
        told = parts_of(matrix[0].tobytes())
        if told is not None and told[0] != INFO and is_record(*told):
            parts.append(self._block(begin, zone, matrix, index, refused))
            return
        for row, at in enumerate(index.tolist()):
            whole = parts_of(matrix[row].tobytes())
            known = whole is not None and is_record(*whole)
            reason = _info(slow, whole[1], at) if known and whole is not None else "structure"
            if reason:
                refused.append((at, Quarantined(at, reason)))

    def _block(
        self,
        begin: bytes,
        zone: int,
        whole: NDArray[np.uint8],
        frame: NDArray[np.int32],
        refused: list[tuple[int, Quarantined]],
    ) -> Batch:
        protocol = begin[-1]
        matrix = whole[:, len(begin) : -6]
        if matrix.shape[1] < (HEAD if protocol in PLACES else 6):
            refused += [(at, Quarantined(at, "length")) for at in frame.tolist()]
            return BatchBuilder().build()
        rows = Rows(matrix)
        found = Found()
        self._structures.read(protocol, rows, found)
        time, wrong = instants(matrix[:, :6], zone if protocol in LOCAL else 0)
        again = upload_at(protocol, matrix)
        archive = np.zeros(len(rows), np.int16)
        neutral = rows
        if again is not None:
            known = np.flatnonzero(again < rows.length)
            archive[known] = np.where(matrix[known, again[known]] == 1, ARCHIVE, 0)
            neutral = Rows(matrix)
            neutral.bytes[known, again[known]] = 0
        prints = neutral.fingerprints()
        core = _places(rows) if protocol in PLACES else _nowhere(len(rows))
        flags = core.pop("flags") | archive
        for number, group in enumerate(found.groups):
            found.groups[number] = told = _operator(group)
            for name, bit in (("event", EVENT), ("ignition", 0)):
                if name not in told.names:
                    continue
                its = told.values[:, told.names.index(name)]
                if bit:
                    flags[told.rows] |= np.where(its > 0, bit, 0).astype(np.int16)
                else:
                    flags[told.rows] |= (~np.isnan(its) * IGNITION_KNOWN | (its > 0) * IGNITION_ON).astype(np.int16)
        keep = ~wrong
        for row in np.flatnonzero(wrong).tolist():
            found.damaged.setdefault(row, "time")
        for row, reason in found.damaged.items():
            keep[row] = False
            refused.append((int(frame[row]), Quarantined(int(frame[row]), reason)))
        return found.batch(
            keep,
            frame=frame,
            position=np.zeros(len(rows), np.int32),
            time=time,
            fingerprint=prints,
            flags=flags,
            **core,
        )


@lru_cache(256)
def _gps(length: int) -> np.dtype[Any]:
    """The gps part of a content of so many bytes."""
    fields = (("satellites", 6, "u1"), ("lat", 7, ">u4"), ("lon", 11, ">u4"), ("speed", 15, "u1"), ("bits", 16, ">u2"))
    return record_dtype(fields, length)


def _places(rows: Rows) -> dict[str, NDArray[Any]]:
    """The columns of the gps part, and flags."""
    view = rows.view(_gps(rows.length))
    lat, lon = view["lat"] / _PER_DEGREE, view["lon"] / _PER_DEGREE
    bits, satellites, speed = view["bits"].astype(np.int16), view["satellites"], view["speed"]
    valid = (bits & _POSITIONED != 0) & (satellites >= 16) & (lat <= 90) & (lon <= 180)
    np.negative(lat, out=lat, where=bits & _NORTH == 0)
    np.negative(lon, out=lon, where=bits & _WEST != 0)
    lat[~valid] = lon[~valid] = np.nan
    return {
        "lat": lat,
        "lon": lon,
        "altitude": np.full(len(rows), np.nan, np.float32),
        "speed": speed.astype(np.float32),
        "course": (bits & 0x3FF).astype(np.float32),
        "satellites": (satellites & 15).astype(np.int16),
        "flags": (valid * VALID | (valid & (speed > 0)) * MOVING).astype(np.int16),
    }


def _nowhere(n: int) -> dict[str, NDArray[Any]]:
    """The columns of frames without a gps part."""
    missing = np.full(n, np.nan)
    return {
        "lat": missing,
        "lon": missing.copy(),
        "altitude": missing.astype(np.float32),
        "speed": missing.astype(np.float32),
        "course": missing.astype(np.float32),
        "satellites": np.full(n, SATELLITES_UNKNOWN, np.int16),
        "flags": np.zeros(n, np.int16),
    }


def _operator(group: MeasureGroup) -> MeasureGroup:
    """Its country and network as one number."""
    if group.names[-2:] != ("mcc", "mnc"):
        return group
    values = group.values[:, :-1]
    mnc = group.values[:, -1]
    values[:, -1] = values[:, -1] * np.where(mnc < 100, 100, 1000) + mnc
    return MeasureGroup((*group.names[:-2], "gsm.operator"), group.rows, values)


def _info(builder: BatchBuilder, content: bytes, index: int) -> str:
    """A voltage, a door or a fuel sensor: one record, with a time or without; why it is none, or empty."""
    kind, rest = content[0], content[1:]
    time = TIME_UNKNOWN
    timed = (kind == INFO_DOOR and len(rest) == 7) or (kind == INFO_FUEL and rest[:1] != b"!")
    if timed:
        stamp, wrong = instants(np.frombuffer(rest[:6].ljust(6, b"\xff"), np.uint8).reshape(1, 6))
        if wrong[0]:
            return "time"
        time, rest = int(stamp[0]), rest[6:]
    told: dict[str, float] = {}
    if kind == INFO_VOLTAGE and len(rest) == 2:
        told["power.external"] = int.from_bytes(rest, "big") / 100
    elif kind == INFO_DOOR and len(rest) == 1:
        told["inputs"] = rest[0]
    elif kind == INFO_FUEL:
        found = _FUEL.fullmatch(rest)
        if found is None:
            return "structure"
        number, temperature, states, level = found.groups()
        status = int(states[-2:], 16) if states else 0  # the sensor's own two states; what they mean is not public
        if not status:
            told[f"fuel.level.{int(number)}"] = float(level)
        told[f"fuel.temperature.{int(number)}"] = float(temperature)
        told[f"fuel.status.{int(number)}"] = status
    else:
        return "length"
    builder.add(
        frame=index, position=0, time=time, fingerprint=fingerprint(content), names=tuple(told),
        values=tuple(told.values()),
    )  # fmt: skip
    return ""


_shared = Decoder()


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames) if frames else Decoded(BatchBuilder().build())
