"""Frames → columns. Exact, never raises.

A container is ``rec_id u32 · time u32 · priority u8 · (length u16 · message)…``, all little-endian, after the frame's
command and length. A message that cannot be read goes to quarantine alone; when a length runs past the end, what is
left of the container does; so too from an empty message on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from struct import Struct
from typing import Any

import fastcrc
import numpy as np

from protocols.keys import key_text
from protocols.omnicomm.columns import Layout, Rows, columns
from protocols.omnicomm.fields import Scaled
from protocols.omnicomm.odd import OddValues
from protocols.omnicomm.parser import BrokenError, Parsed, parse
from protocols.omnicomm.structures import (
    KEY_SIZE,
    MAX_NUMBERS,
    Indices,
    Structure,
    Structures,
    blanked,
    blanked_all,
    learn,
    numbers_of,
)
from protocols.records import Batch, Decoded, Frame, Int64s, Quarantined

ARCHIVE_DATA, LIVE_DATA, WIFI_DATA = 0x86, 0x95, 0x9F
HEADER = Struct("<BHIIB")  # command, length, rec_id, time, priority
_HEADS = np.dtype([("command", "u1"), ("_length", "<u2"), ("_rec_id", "<u4"), ("time", "<u4"), ("_priority", "u1")])
TIMER = 1
_CHECKSUM = 2
_FIRST = HEADER.size + 2  # where the first message begins
# Below this many messages the exact parser is done before numpy has begun.
_FEW = 12
_MAX_LESSONS = 8  # per batch and count of numbers: learning takes as long as reading five messages
_MAX_LAYOUTS = 1024  # remembered field orders; a fleet has a handful, a stranger may send any


class _Members:
    """The messages of a batch, side by side; `counts` of them are in each frame with a header."""

    __slots__ = ("archive", "data", "fingerprint", "frame", "position", "time")

    def __init__(self, frames: list[int], heads: list[bytes], counts: list[int], data: list[bytes]) -> None:
        told = np.frombuffer(b"".join([head[: HEADER.size] for head in heads]), _HEADS)
        count = np.array(counts, np.intp)
        owner = np.repeat(np.arange(len(frames)), count)
        self.data = data
        self.frame = np.array(frames, np.int32)[owner]
        self.position = (np.arange(len(data)) - (np.cumsum(count) - count)[owner]).astype(np.int32)
        self.time = told["time"][owner].astype(np.int64)
        self.archive = (told["command"] != LIVE_DATA)[owner]
        # the same as records.fingerprint, for all at once
        self.fingerprint = np.array([fastcrc.crc64.xz(d) for d in data], np.uint64).view(np.int64)


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode frames whose checksums were verified; rows in no particular order."""
    quarantined: list[Quarantined] = []
    members = _open(frames, quarantined)
    everything = list(range(len(members.data)))
    if len(everything) < _FEW:
        batches: list[Batch] = []
        left = everything
    else:
        batches, left = _alike(members)
    batches += _exactly(members, left, quarantined)
    return Decoded(Batch.concatenate(batches), quarantined)


def parts(frame: Frame, most: int) -> list[Frame]:
    """A container as several with its header and at most `most` of its messages each; what is damaged is in the last.

    They have no checksum of their own: it is the decoder that reads them.
    """
    data = frame.data
    end = len(data) - _CHECKSUM
    cuts, count, at = [HEADER.size], 0, HEADER.size
    while at < end:
        stop = at + 2 + (data[at] | data[at + 1] << 8)
        if stop > end or stop == at + 2:
            break
        at = stop
        count += 1
        if count % most == 0:
            cuts.append(at)
    if len(cuts) < 2:
        return [frame]
    head, checksum = data[: HEADER.size], bytes(_CHECKSUM)
    if cuts[-1] < end:
        cuts.append(end)
    return [
        Frame(head + data[begin:stop] + checksum, most, frame.offset, frame.variant)
        for begin, stop in itertools.pairwise(cuts)
    ]


def _open(frames: Sequence[Frame], quarantined: list[Quarantined]) -> _Members:
    """Take the containers apart: at once where each holds one message, as live terminals send them."""
    datas = [item.data for item in frames]
    if _of_one(datas):
        messages = [data[_FIRST:-_CHECKSUM] for data in datas]
        return _Members(list(range(len(datas))), datas, [1] * len(datas), messages)
    whole: list[int] = []
    heads: list[bytes] = []
    counts: list[int] = []
    parts: list[bytes] = []
    for index, data in enumerate(datas):
        end = len(data) - _CHECKSUM
        if end < HEADER.size:
            quarantined.append(Quarantined(index, "structure"))
            continue
        at, before = HEADER.size, len(parts)
        while at < end:
            start = at + 2
            stop = start + (data[at] | data[at + 1] << 8)  # at the very end this reads into the checksum: harmless
            if stop > end or stop == start:  # an empty message is padding or damage: 32 000 of them fit one frame
                quarantined.append(Quarantined(index, "structure", data[at:end]))
                break
            parts.append(data[start:stop])
            at = stop
        whole.append(index)
        heads.append(data)
        counts.append(len(parts) - before)
    return _Members(whole, heads, counts, parts)


def _of_one(datas: Sequence[bytes]) -> bool:
    """Whether each container is filled by its first message."""
    sizes = np.array([len(data) for data in datas], np.int64)
    if not len(sizes) or sizes.min() <= _FIRST + _CHECKSUM:
        return False
    flat = np.frombuffer(b"".join(datas), np.uint8)
    at = np.cumsum(sizes) - sizes + HEADER.size
    told = flat[at].astype(np.int64) + flat[at + 1] * np.int64(256)
    return bool((told == sizes - (_FIRST + _CHECKSUM)).all())


_structures = Structures()
_layouts: dict[tuple[Scaled, ...], Layout] = {}


def _layout(keys: tuple[Scaled, ...]) -> Layout:
    layout = _layouts.get(keys)
    if layout is None:
        if len(_layouts) >= _MAX_LAYOUTS:
            _layouts.clear()
        layout = _layouts[keys] = Layout(keys)
    return layout


def _alike(members: _Members) -> tuple[list[Batch], list[int]]:
    """Messages that repeat, by columns; and which are left for the exact parser."""
    ends = np.array([data[-1] for data in members.data], np.uint8) < 0x80
    which, left = np.flatnonzero(ends), np.flatnonzero(~ends).tolist()
    if not len(which):
        return [], left
    batches: list[Batch] = []
    cleaned, blanks_at = blanked_all([members.data[i] for i in which.tolist()] if left else members.data)
    numbers = numbers_of(cleaned)
    blank = np.array(blanks_at, np.intp)
    counts = np.diff(numbers.first)
    counts[numbers.wide()] = 0
    for count in np.unique(counts).tolist():
        here = np.flatnonzero(counts == count)
        if not 0 < count <= MAX_NUMBERS:
            left += which[here].tolist()
            continue
        values, widths = numbers.of(here, count)
        rows, blanks = which[here], blank[here]
        known = _structures.of(count)
        lessons = 0
        while len(rows):
            structure = known.pop(0) if known else None
            if structure is None:
                if lessons == _MAX_LESSONS:
                    left += rows.tolist()
                    break
                lessons += 1
                structure = _lesson(members.data[rows[0]])
                if structure is None:
                    left.append(int(rows[0]))
                    values, widths, rows, blanks = values[1:], widths[1:], rows[1:], blanks[1:]
                    continue
            good = structure.matches(values, widths, blanks)
            if good.any():
                _structures.used(count, structure)
                batches.append(_columns(structure, members, rows[good], values[good], blanks[good]))
                bad = ~good
                values, widths, rows, blanks = values[bad], widths[bad], rows[bad], blanks[bad]
    return batches, left


def _lesson(message: bytes) -> Structure | None:
    try:
        parse(message)
    except BrokenError:
        return None
    return learn(*blanked(message))


def _columns(structure: Structure, members: _Members, at: Indices, values: Int64s, blanks: Indices) -> Batch:
    """Rows of one structure; `values` holds all their numbers, `blanks` where their driver's key was."""
    raw = values[:, structure.leaf_at] & 0xFFFFFFFF
    n = len(raw)
    events = values[:, structure.events] & 0xFFFFFFFF
    extra: dict[int, dict[str, Any]] = {}
    if len(structure.events) > 1:
        extra = {row: {"events": ",".join(map(str, numbers))} for row, numbers in enumerate(events.tolist())}
    if structure.key >= 0:
        for row, (i, start) in enumerate(zip(at.tolist(), blanks.tolist(), strict=True)):
            key = key_text(members.data[i][start : start + KEY_SIZE])
            if key:
                extra.setdefault(row, {})["driver.key"] = key
    rows = Rows(
        frame=members.frame[at],
        position=members.position[at],
        fingerprint=members.fingerprint[at],
        header_time=members.time[at],
        archive=members.archive[at],
        raw=raw,
        events=events[:, 0] if structure.events else np.full(n, -1),
        eventful=(events != TIMER).any(axis=1),
        names=(),
        values=np.empty((n, 0)),
        extra=extra,
    )
    return columns(structure.layout, rows)


def _exactly(members: _Members, left: list[int], quarantined: list[Quarantined]) -> list[Batch]:
    """Message by message; those with the same fields then become columns together."""
    alike: dict[tuple[tuple[Scaled, ...], tuple[str, ...], bool], list[tuple[int, Parsed, OddValues]]] = {}
    for i in left:
        try:
            parsed = parse(members.data[i])
        except BrokenError:
            quarantined.append(Quarantined(int(members.frame[i]), "structure", members.data[i]))
            continue
        odd = OddValues(parsed.odd)
        key = (tuple(parsed.scaled), tuple(odd.names), bool(parsed.events))
        alike.setdefault(key, []).append((i, parsed, odd))
    return [_together(keys, names, members, rows) for (keys, names, _), rows in alike.items()]


def _together(
    keys: tuple[Scaled, ...],
    names: tuple[str, ...],
    members: _Members,
    parts: list[tuple[int, Parsed, OddValues]],
) -> Batch:
    at = np.array([i for i, _, _ in parts], np.intp)
    events = [parsed.events for _, parsed, _ in parts]
    rows = Rows(
        frame=members.frame[at],
        position=members.position[at],
        fingerprint=members.fingerprint[at],
        header_time=members.time[at],
        archive=members.archive[at],
        raw=np.array([list(parsed.scaled.values()) for _, parsed, _ in parts], np.int64).reshape(len(parts), len(keys)),
        events=np.array([e[0] if e else -1 for e in events], np.int64),
        eventful=np.array([any(number != TIMER for number in e) for e in events], np.bool_),
        names=names,
        values=np.array([odd.values for _, _, odd in parts], np.float64).reshape(len(parts), len(names)),
        extra={row: odd.extra for row, (_, _, odd) in enumerate(parts) if odd.extra},
    )
    return columns(_layout(keys), rows)
