"""The template's packets to columns: all records of all packets in one numpy view.

Records here have one size, which makes it easy. Where their fields vary, `protocols.learned` learns each structure
and reads its records together (`protocols/galileosky` shows how); text goes through an exact parser and `BatchBuilder`
(`protocols/wialon_ips`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.records import (
    ARCHIVE,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    VALID,
    Batch,
    Decoded,
    Frame,
    MeasureGroup,
    Quarantined,
)
from protocols.structures import Rows, record_dtype
from protocols.template.session import HEAD, RECORD, TAIL

MEASURES: dict[str, tuple[str, str]] = {}  # what only this protocol tells: name -> (unit, meaning)
SHARED = ("ignition", "power.external")  # names of `protocols.measures.SHARED` that it tells
_DTYPE = record_dtype(
    [
        ("time", 0, "<u4"),
        ("lat", 4, "<i4"),
        ("lon", 8, "<i4"),
        ("altitude", 12, "<i2"),
        ("speed", 14, "u1"),
        ("course", 15, "<u2"),
        ("satellites", 17, "u1"),
        ("external", 18, "<u2"),
        ("status", 20, "u1"),
    ],
    RECORD,
)


def decode(frames: Sequence[Frame]) -> Decoded:
    """Frames to columns; never raises. What does not follow the declaration comes back in quarantine."""
    quarantined: list[Quarantined] = []
    bodies, places, counts = [], [], []
    for place, frame in enumerate(frames):
        body = frame.data[HEAD:-TAIL]
        if len(frame.data) < HEAD + TAIL + RECORD or len(body) != frame.data[3] * RECORD:
            quarantined.append(Quarantined(place, "structure"))
            continue
        bodies.append(body)
        places.append(place)
        counts.append(len(body) // RECORD)
    records = Rows(np.frombuffer(b"".join(bodies), np.uint8).reshape(-1, RECORD))
    told = records.view(_DTYPE)
    lat, lon = told["lat"] / 1e6, told["lon"] / 1e6
    valid = (told["satellites"] > 0) & (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    ignition = told["status"] & 1
    flags = valid * np.int16(VALID) | np.int16(IGNITION_KNOWN) | ignition * np.int16(IGNITION_ON)
    flags |= (valid & (told["speed"] > 0)) * np.int16(MOVING) | (told["status"] >> 1 & 1) * np.int16(ARCHIVE)
    n = len(told)
    values = np.stack([ignition.astype(np.float64), told["external"] / 1000], axis=1)
    batch = Batch(
        frame=np.repeat(np.array(places, np.int32), counts),
        position=np.concatenate([np.arange(count, dtype=np.int32) for count in counts] or [np.zeros(0, np.int32)]),
        time=told["time"].astype(np.int64) * 1_000_000,
        lat=np.where(valid, lat, np.nan),
        lon=np.where(valid, lon, np.nan),
        altitude=told["altitude"].astype(np.float32),
        speed=told["speed"].astype(np.float32),
        course=told["course"].astype(np.float32),
        satellites=told["satellites"].astype(np.int16),
        flags=flags.astype(np.int16),
        fingerprint=_fingerprints(told),
        groups=[MeasureGroup(SHARED, np.arange(n), values)] if n else [],
    )
    return Decoded(batch, quarantined)


def _fingerprints(told: np.ndarray[tuple[int], np.dtype[np.void]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Of the record without its mark of the black box: sent live and once more as archive it is the same record."""
    plain = np.frombuffer(told.tobytes(), np.uint8).reshape(-1, _DTYPE.itemsize)[:, :RECORD].copy()
    plain[:, RECORD - 1] &= 0xFD
    return Rows(plain).fingerprints()
