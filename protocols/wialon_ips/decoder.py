"""Many lines to columns.

Messages are split into their ten leading fields, which become columns by numpy, and a tail (fields 11 to 16).
Tails of one terminal look alike, so they are grouped by what is left of them without digits and read by a
learned pattern (`tails`). A message that any fast step does not take goes to the plain parser, so a wrong guess
costs time and never correctness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.records import (
    ARCHIVE,
    EXACT_INTEGER,
    VALID,
    Batch,
    BatchBuilder,
    Decoded,
    Frame,
    MeasureGroup,
    Quarantined,
    fingerprint,
)
from protocols.wialon_ips import columns
from protocols.wialon_ips.declaration import STRUCTURE, FieldError, Reading, read_member
from protocols.wialon_ips.tails import TailReader, merged
from protocols.wialon_ips.wire import MAX_MEMBERS, V1, members, split_checksum, split_line, text_of

_tails = TailReader()  # what was learnt serves all connections; bounded inside


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode `SD`, `D` and `B` lines of any terminals; never raises on any bytes.

    A message that cannot be read comes back as `Quarantined` with the protocol's answer code, its
    neighbours as records. A lone message's quarantine is its whole frame.
    """
    lines = _Lines()
    for index, frame in enumerate(frames):
        lines.add(index, frame)
    if not lines.blobs:
        return Decoded(BatchBuilder().build(), lines.quarantined)
    return lines.decode()


def parts(frame: Frame, most: int) -> list[Frame]:
    """A black box as several of at most `most` messages each; any other line, or a box that is none, as it is.

    They have no checksum of their own: it is the decoder that reads them.
    """
    if not frame.data.startswith(b"#B#"):
        return [frame]
    found = members(frame.data[3:], frame.variant)
    if not most < len(found) <= MAX_MEMBERS:
        return [frame]
    return [
        Frame(b"#B#" + b"|".join(found[at : at + most]) + b"|", min(most, len(found) - at), frame.offset, frame.variant)
        for at in range(0, len(found), most)
    ]


class _Lines:
    """The messages of a batch of lines, and how they are read."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self.quarantined: list[Quarantined] = []
        self._frames: list[int] = []
        self._counts: list[int] = []
        self._forms: list[int] = []  # per frame: 0 black box, else the number of fields its type demands

    def add(self, index: int, frame: Frame) -> None:
        data = frame.data
        if data.startswith(b"#B#"):
            form = 0
            found = members(data[3:], frame.variant)
            if not found or len(found) > MAX_MEMBERS:
                self.quarantined.append(Quarantined(index, STRUCTURE[0], None, STRUCTURE[1]))
                return
        else:
            kind, body = split_line(data) or (b"", b"")
            form = {b"SD": 10, b"D": 16}.get(kind, 0)
            if frame.variant != V1:
                body = split_checksum(body)[0][:-1]
            bars = body.count(b";")
            if not form or (bars != 9 if form == 10 else bars < 15):
                self.quarantined.append(Quarantined(index, STRUCTURE[0], None, STRUCTURE[1]))
                return
            found = [body]
        self.blobs += found
        self._frames.append(index)
        self._counts.append(len(found))
        self._forms.append(form)

    def decode(self) -> Decoded:
        counts = np.array(self._counts, np.intp)
        frame = np.repeat(np.array(self._frames, np.int32), counts)
        form = np.repeat(np.array(self._forms, np.int8), counts)
        position = (np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)).astype(np.int32)
        fast, left = _decode_fast(self.blobs, frame, position, form)
        if not left:
            return Decoded(fast, self.quarantined)
        slow = BatchBuilder()
        for row in left:
            self._decode_one(slow, row, int(frame[row]), int(position[row]), int(form[row]))
        self.quarantined.sort(key=lambda q: q.frame)  # stable: members of one frame stay in the wire's order
        return Decoded(Batch.concatenate([b for b in (fast, slow.build()) if len(b)]), self.quarantined)

    def _decode_one(self, slow: BatchBuilder, row: int, frame: int, position: int, form: int) -> None:
        blob = self.blobs[row]
        try:
            reading = read_member(blob, form)
        except FieldError as error:
            whole = form != 0
            self.quarantined.append(Quarantined(frame, error.reason, None if whole else blob, error.code))
            return
        add_reading(slow, reading, blob, frame, position, archive=form == 0)


def add_reading(
    builder: BatchBuilder, reading: Reading, blob: bytes, frame: int, position: int, *, archive: bool
) -> None:
    """Append what the plain parser read to `builder`: texts and long integers go to `extra`."""
    numbers: dict[str, float] = {}
    extra: dict[str, Any] = {}
    for name, value in reading.measures.items():
        if isinstance(value, str) or (isinstance(value, int) and abs(value) > EXACT_INTEGER):
            extra[name] = value
        else:
            numbers[name] = value
    builder.add(
        frame=frame,
        position=position,
        time=reading.time,
        fingerprint=fingerprint(blob),
        lat=reading.lat,
        lon=reading.lon,
        altitude=reading.altitude,
        speed=reading.speed,
        course=reading.course,
        satellites=reading.satellites,
        flags=(ARCHIVE if archive else 0) | (VALID if reading.lat == reading.lat else 0),
        names=tuple(numbers),
        values=tuple(numbers.values()),
        extra=extra or None,
        time_digits=reading.time_digits,
    )


def _decode_fast(
    blobs: list[bytes], frame: NDArray[np.int32], position: NDArray[np.int32], form: NDArray[np.int8]
) -> tuple[Batch, list[int]]:
    """Columns of every message the fast way takes, and the rows it leaves to the plain parser."""
    rows = [text.split(";", 10) for text in _texts(blobs)]
    widths = np.fromiter(map(len, rows), np.intp, len(rows))
    taken = widths >= 10
    if not taken.all():
        rows = [row if len(row) >= 10 else _NOTHING for row in rows]
    heads: list[tuple[str, ...]] = list(zip(*rows, strict=False))
    time, ok = columns.times(heads[0], heads[1])
    taken &= ok
    lat, lon, ok = columns.positions(*heads[2:6])
    taken &= ok
    speed, ok = columns.numbers(heads[6], most=1e6)
    taken &= ok
    course, ok = columns.numbers(heads[7], most=360)
    taken &= ok
    altitude, ok = columns.numbers(heads[8], most=1e6, signed=True)
    taken &= ok
    satellites, ok = columns.counts(heads[9])
    taken &= ok
    nowhere = (lat == 0) & (lon == 0) & (satellites == 0)
    lat[nowhere] = lon[nowhere] = np.nan

    long = np.flatnonzero(taken & (widths == 11))
    groups, extra, failed = _tails.read([rows[row][10] for row in long.tolist()], long)
    taken[failed] = False
    short = np.flatnonzero(taken & (widths == 10))
    if len(short):
        groups.append(MeasureGroup((), short, np.empty((len(short), 0))))
    groups = merged(groups)

    kept = np.flatnonzero(taken)
    place = np.cumsum(taken) - 1  # row among the messages -> row of the batch
    for group in groups:
        group.rows = place[group.rows]
    prints = columns.fingerprints([blobs[row] for row in kept.tolist()])
    flags = np.where(form == 0, ARCHIVE, 0) | np.where(np.isnan(lat), 0, VALID)
    batch = Batch(
        frame=frame[kept],
        position=position[kept],
        time=time[kept],
        lat=lat[kept],
        lon=lon[kept],
        altitude=altitude[kept].astype(np.float32),
        speed=speed[kept].astype(np.float32),
        course=course[kept].astype(np.float32),
        satellites=satellites[kept],
        flags=flags[kept].astype(np.int16),
        fingerprint=prints,
        groups=groups,
        extra={int(place[row]): told for row, told in extra.items()},
    )
    return batch, np.flatnonzero(~taken).tolist() if len(kept) < len(rows) else []


_NOTHING = ["NA"] * 10


def _texts(blobs: list[bytes]) -> list[str]:
    """The messages as text: all at once when they are plain ASCII without surprises, else one by one."""
    joined = b"\n".join(blobs)
    if joined.isascii() and joined.count(b"\n") == len(blobs) - 1 and b"\0" not in joined:
        return joined.decode("ascii").split("\n")
    # A NUL or a line feed inside makes the row unfit for the fast way: an empty text sends it to the plain parser.
    return ["" if b"\0" in blob or b"\n" in blob else text_of(blob) for blob in blobs]
