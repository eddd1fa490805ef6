"""Where a frame's records begin and end: every count is checked against the frame's end, nothing is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from protocols.records import Frame
from protocols.teltonika.declaration import AVL_CODECS, CODEC_8, CODEC_8E, CODEC_16
from protocols.teltonika.measures import VARIABLE

PREFIX = 24  # timestamp to speed


class DamagedFrameError(ValueError):
    """The frame's counts and its bytes disagree; `args[0]` is the reason."""


class Walked(NamedTuple):
    """Where the values of a record lie: (begin, count, size) of each group, (id, begin, size) of each other value."""

    groups: Sequence[tuple[int, int, int]]
    variable: Sequence[tuple[int, int, int]]

    @property
    def names(self) -> int:
        """How many values there are."""
        return sum(count for _, count, _ in self.groups) + len(self.variable)


def payload_span(frame: Frame) -> tuple[int, int]:
    """Where codec to second count lie in `Frame.data`: TCP behind preamble and length, UDP behind the IMEI."""
    data = frame.data
    return (8, len(data) - 4) if frame.variant == 0 else (8 + int.from_bytes(data[6:8], "big"), len(data))


def walk(codec: int, data: bytes, at: int, limit: int) -> tuple[tuple[Any, ...], Walked, int]:
    """Walk one record: its signature, where its values lie, and where it ends.

    Raises
    ------
    DamagedFrameError
        If a count or a length runs past `limit`, or the groups do not add up to the total.
    """
    wide = codec != CODEC_8
    id_size = 2 if wide else 1
    count_size = 2 if codec == CODEC_8E else 1
    p = at + PREFIX + id_size + (1 if codec == CODEC_16 else 0)
    if p + count_size > limit:
        raise DamagedFrameError("structure")
    total = int.from_bytes(data[p : p + count_size], "big")
    p += count_size
    signature: list[Any] = [codec]
    groups: list[tuple[int, int, int]] = []
    counted = 0
    for size in (1, 2, 4, 8):
        if p + count_size > limit:
            raise DamagedFrameError("structure")
        count = int.from_bytes(data[p : p + count_size], "big")
        p += count_size
        step = id_size + size
        end = p + count * step
        if end > limit:
            raise DamagedFrameError("structure")
        groups.append((p, count, size))
        signature.append(data[p:end:step])
        if wide:
            signature.append(data[p + 1 : end : step])
        counted += count
        p = end
    variable: list[tuple[int, int, int]] = []
    if codec == CODEC_8E:
        if p + 2 > limit:
            raise DamagedFrameError("structure")
        count = int.from_bytes(data[p : p + 2], "big")
        p += 2
        for _ in range(count):
            if p + 4 > limit:
                raise DamagedFrameError("structure")
            identifier, size = int.from_bytes(data[p : p + 2], "big"), int.from_bytes(data[p + 2 : p + 4], "big")
            p += 4
            if p + size > limit:
                raise DamagedFrameError("structure")
            variable.append((identifier, p, size))
            signature.append((identifier, size))
            p += size
        counted += count
    if counted != total:
        raise DamagedFrameError("structure")

    return tuple(signature), Walked(groups, variable), p


def items_of(codec: int, data: bytes, walked: Walked) -> list[tuple[int, int, int, int]]:
    """AVL id, offset of its value, its size and the size its meaning goes by, in the wire's order."""
    id_size = 1 if codec == CODEC_8 else 2
    listed = [
        (int.from_bytes(data[q : q + id_size], "big"), q + id_size, size, size)
        for begin, count, size in walked.groups
        for q in range(begin, begin + count * (id_size + size), id_size + size)
    ]
    return listed + [(identifier, q, size, VARIABLE) for identifier, q, size in walked.variable]


def parts(frame: Frame, most: int) -> list[Frame]:
    """A frame as several of at most `most` records each, without a checksum; one that is damaged stays as it is."""
    data = frame.data
    start, stop = payload_span(frame)
    if frame.records <= most or stop - start < 3 or data[start] not in AVL_CODECS:
        return [frame]
    if data[start + 1] != frame.records or data[stop - 1] != frame.records:
        return [frame]
    cuts, at = [start + 2], start + 2
    try:
        for number in range(1, frame.records + 1):
            _, _, at = walk(data[start], data, at, stop - 1)
            if number % most == 0 or number == frame.records:
                cuts.append(at)
    except DamagedFrameError:
        return [frame]
    if at != stop - 1:
        return [frame]
    counts = [min(most, frame.records - first) for first in range(0, frame.records, most)]
    head, tail = data[: start + 1], data[stop:]
    return [
        Frame(head + bytes((count,)) + data[begin:end] + bytes((count,)) + tail, count, frame.offset, frame.variant)
        for begin, end, count in zip(cuts, cuts[1:], counts, strict=False)
    ]
