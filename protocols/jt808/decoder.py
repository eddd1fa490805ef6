"""Locations to columns: 0x0200 one, 0x0201 one behind the serial it answers, 0x0704 many behind a count and a kind.

A frame's records are laid side by side where they are of one length; place, time and the two words of bits are read for
all at once, the items by learned structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.headed import Found, Structures
from protocols.instants import from_bcd, instants
from protocols.jt808.locations import lesson, walk
from protocols.jt808.measures import HEAD
from protocols.jt808.wire import BATCH, LOCATION_ANSWER, SHORTEST, head_of, packages
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    SATELLITES_UNKNOWN,
    VALID,
    Batch,
    BatchBuilder,
    Decoded,
    Frame,
    MeasureGroup,
    Quarantined,
)
from protocols.structures import MAX_RECORD, Rows, record_dtype

MEMBERS = 1  # `Frame.variant`: the data is the body of a batch, a part of a larger one
SHIFT = 8 * 60  # minutes: a location's clock is that of GMT+8, whatever the place
BLIND = 1  # kind of a batch: sent late

_CORE = [
    ("alarms", 0, ">u4"), ("status", 4, ">u4"), ("lat", 8, ">u4"), ("lon", 12, ">u4"), ("altitude", 16, ">i2"),
    ("speed", 18, ">u2"), ("course", 20, ">u2"),
]  # fmt: skip
_IGNITION, _FIXED, _SOUTH, _WEST, _SECRET = 1, 2, 4, 8, 32

_Refused = tuple[int, int, Quarantined]  # frame, position in it


class _Block:
    """Records of one length, and where each comes from."""

    __slots__ = ("archive", "data", "frame", "position")

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.frame: list[NDArray[Any]] = []
        self.position: list[NDArray[Any]] = []
        self.archive: list[NDArray[Any]] = []

    def add(self, data: bytes, frame: Any, position: Any, archive: Any) -> None:
        self.data.append(data)
        self.frame.append(frame)
        self.position.append(position)
        self.archive.append(archive)


class Decoder:
    """Frames to columns; remembers the structures it has seen."""

    def __init__(self) -> None:
        self._structures = Structures(walk, lesson)

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Decode frames and runs as the session gives them; never raises on any bytes."""
        self._structures.begin()
        refused: list[_Refused] = []
        blocks: dict[int, _Block] = {}
        alike: dict[tuple[int, int, bytes], list[tuple[int, bytes]]] = {}
        index = 0
        for item in frames:
            if item.variant == MEMBERS:
                self._members(item.data, index, blocks, refused)
            else:
                alike.setdefault((len(item.data), item.count, item.data[:4]), []).append((index, item.data))
            index += item.count
        for (size, count, begin), found in alike.items():
            self._alike(size // count, count, begin, found, blocks, refused)
        parts = [self._block(length, block, refused) for length, block in blocks.items()]
        refused.sort(key=lambda it: it[:2])
        return Decoded(Batch.concatenate([part for part in parts if len(part)]), [told for _, _, told in refused])

    def _alike(
        self,
        size: int,
        count: int,
        begin: bytes,
        found: list[tuple[int, bytes]],
        blocks: dict[int, _Block],
        refused: list[_Refused],
    ) -> None:
        """Frames of one size, message and properties: as a matrix if they are single packages of one inner build."""
        first: NDArray[np.int32] = np.array([index for index, _ in found], np.int32)
        frame = first if count == 1 else np.add.outer(first, np.arange(count, dtype=np.int32)).ravel()
        head = head_of(begin.ljust(SHORTEST + 12, b"\0")) if len(begin) == 4 else None
        if head is None or head.size != size or head.several:
            for index, data in found:
                for n in range(count):
                    self._odd(data[n * size : (n + 1) * size], index + n, blocks, refused)
            return
        matrix = np.frombuffer(b"".join([data for _, data in found]), np.uint8).reshape(-1, size)
        body = matrix[:, head.start : -1]
        zeros = np.zeros(len(frame), np.int32)
        if head.id != BATCH:
            record = body[:, 2:] if head.id == LOCATION_ANSWER else body
            if not HEAD <= record.shape[1] <= MAX_RECORD:
                refused += [(int(index), 0, Quarantined(int(index), "length")) for index in frame.tolist()]
                return
            block = blocks.setdefault(record.shape[1], _Block())
            block.add(record.tobytes(), frame, zeros, zeros)
            return
        length = int(body[0, 3]) << 8 | int(body[0, 4]) if body.shape[1] >= 5 + HEAD else 0
        number = int(body[0, 0]) << 8 | int(body[0, 1]) if length else 0
        if number and length >= HEAD and 3 + number * (2 + length) == body.shape[1]:
            inner = body[:, 3:].reshape(len(body), number, 2 + length)
            fits = (body[:, :2] == body[0, :2]).all() and (inner[:, :, :2] == body[0, 3:5]).all()
            if fits:
                block = blocks.setdefault(length, _Block())
                block.add(
                    inner[:, :, 2:].tobytes(),
                    np.repeat(frame, number),
                    np.tile(np.arange(number, dtype=np.int32), len(frame)),
                    np.repeat((body[:, 2] == BLIND).astype(np.int32), number),
                )
                return
        for row, index in enumerate(frame.tolist()):
            self._members(body[row].tobytes(), index, blocks, refused)

    def _odd(self, data: bytes, index: int, blocks: dict[int, _Block], refused: list[_Refused]) -> None:
        """A frame of several packages, or one whose length is not what its header says."""
        whole = packages(data)
        if whole is None or not _complete(whole):
            refused.append((index, 0, Quarantined(index, "structure")))
            return
        message, body = whole[0][0].id, b"".join([part for _, part in whole])
        if message == BATCH:
            self._members(body, index, blocks, refused)
            return
        record = body[2:] if message == LOCATION_ANSWER else body
        if not HEAD <= len(record) <= MAX_RECORD:
            refused.append((index, 0, Quarantined(index, "length")))
            return
        none = np.zeros(1, np.int32)
        blocks.setdefault(len(record), _Block()).add(record, np.array([index], np.int32), none, none)

    @staticmethod
    def _members(body: bytes, index: int, blocks: dict[int, _Block], refused: list[_Refused]) -> None:
        """The locations of a batch; its lengths must use up all of it."""
        found = members(body)
        if found is None:
            refused.append((index, 0, Quarantined(index, "structure")))
            return
        frame, archive = np.array([index], np.int32), np.array([body[2] == BLIND], np.int32)
        for position, record in enumerate(found):
            if not HEAD <= len(record) <= MAX_RECORD:
                refused.append((index, position, Quarantined(index, "length", record)))
                continue
            place = np.array([position], np.int32)
            blocks.setdefault(len(record), _Block()).add(record, frame, place, archive)

    def _block(self, length: int, block: _Block, refused: list[_Refused]) -> Batch:
        matrix = np.frombuffer(b"".join(block.data), np.uint8).reshape(-1, length)
        rows = Rows(matrix)
        frame, position = np.concatenate(block.frame), np.concatenate(block.position)
        found = Found()
        self._structures.read(None, rows, found)
        core = rows.view(record_dtype(_CORE, length))
        time, wrong = instants(from_bcd(matrix[:, 22:28]), SHIFT)
        status = core["status"].astype(np.int64)
        lat, lon = core["lat"] / 1e6, core["lon"] / 1e6
        speed, course = core["speed"], core["course"]
        valid = (status & (_FIXED | _SECRET) == _FIXED) & (lat <= 90) & (lon <= 180)
        lat[status & _SOUTH != 0] *= -1
        lon[status & _WEST != 0] *= -1
        lat[~valid] = lon[~valid] = np.nan
        flags = np.where(valid, VALID, 0) | IGNITION_KNOWN | np.where(status & _IGNITION, IGNITION_ON, 0)
        flags |= np.where(valid & (speed > 0), MOVING, 0) | np.where(core["alarms"] != 0, EVENT, 0)
        flags |= np.where(np.concatenate(block.archive) != 0, ARCHIVE, 0)
        satellites = np.full(len(rows), SATELLITES_UNKNOWN, np.int16)
        for place, group in enumerate(found.groups):
            if group.names and group.names[-1] == "satellites":
                satellites[group.rows] = group.values[:, -1]
                found.groups[place] = MeasureGroup(group.names[:-1], group.rows, group.values[:, :-1])
        keep = ~wrong
        for row in np.flatnonzero(wrong).tolist():
            found.damaged.setdefault(row, "time")
        for row, reason in found.damaged.items():
            keep[row] = False
            place = int(frame[row])
            refused.append((place, int(position[row]), Quarantined(place, reason, rows.bytes[row].tobytes())))
        return found.batch(
            keep,
            frame=frame,
            position=position,
            time=time,
            lat=lat,
            lon=lon,
            altitude=core["altitude"].astype(np.float32),
            speed=(speed / 10).astype(np.float32),
            course=course.astype(np.float32),
            satellites=satellites,
            flags=flags.astype(np.int16),
            fingerprint=rows.fingerprints(),
        )


def _complete(whole: Sequence[tuple[Any, bytes]]) -> bool:
    """Whether these packages are one message, none missing, in order."""
    first = whole[0][0]
    return len(whole) == first.total and all(
        (head.id, head.total, head.number) == (first.id, first.total, number)
        for number, (head, _) in enumerate(whole, 1)
    )


def members(body: bytes) -> list[bytes] | None:
    """The locations of a batch's body; None where the counts and lengths do not use up all of it."""
    if len(body) < 3:
        return None
    found, at = [], 3
    while at < len(body):
        if at + 2 > len(body):
            return None
        size = body[at] << 8 | body[at + 1]
        at += 2 + size
        if at > len(body):
            return None
        found.append(body[at - size : at])
    return found if len(found) == body[0] << 8 | body[1] and found else None


def parts(frame: Frame, most: int) -> list[Frame]:
    """A large batch as several of at most `most` locations each, only to be decoded; any other frame as it is."""
    body = frame.data
    if frame.variant != MEMBERS:
        whole = packages(frame.data)
        if whole is None or whole[0][0].id != BATCH or not _complete(whole):
            return [frame]
        body = b"".join([part for _, part in whole])
    found = members(body)
    if found is None or len(found) <= most:
        return [frame]
    cut = [found[at : at + most] for at in range(0, len(found), most)]
    return [
        Frame(
            len(some).to_bytes(2, "big")
            + body[2:3]
            + b"".join([len(record).to_bytes(2, "big") + record for record in some]),
            len(some),
            frame.offset,
            MEMBERS,
        )
        for some in cut
    ]


_shared = Decoder()


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames) if frames else Decoded(BatchBuilder().build())
