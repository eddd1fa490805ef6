"""Frames → columns. Exact, never raises.

A container is ``rec_id u32 · time u32 · priority u8 · (length u16 · message)…``, all little-endian, after the frame's
command and length. A message that cannot be read goes to quarantine alone; when a length runs past the end, what is
left of the container does; so too from an empty message on.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

import numpy as np

from protocols.omnicomm.columns import Layout, Rows, columns
from protocols.omnicomm.fields import EVENTS, Scaled
from protocols.omnicomm.odd import OddValues
from protocols.omnicomm.parser import BrokenError, Parsed, parse
from protocols.records import Batch, Decoded, Frame, Quarantined, fingerprint

ARCHIVE_DATA, LIVE_DATA, WIFI_DATA = 0x86, 0x95, 0x9F
HEADER = Struct("<BHIIB")  # command, length, rec_id, time, priority
TIMER = 1
_CHECKSUM = 2
_MAX_LAYOUTS = 1024  # remembered field orders; a fleet has a handful, a stranger may send any


class Member:
    """One message of a container and where it stood."""

    __slots__ = ("archive", "data", "frame", "position", "time")

    def __init__(self, frame: int, position: int, time: int, archive: bool, data: bytes) -> None:
        self.frame = frame
        self.position = position
        self.time = time
        self.archive = archive
        self.data = data


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode frames whose checksums were verified; rows in no particular order."""
    quarantined: list[Quarantined] = []
    members: list[Member] = []
    for i, frame in enumerate(frames):
        _open(i, frame.data, members, quarantined)
    batches = _exactly(members, quarantined)
    return Decoded(Batch.concatenate(batches), quarantined)


def _open(index: int, data: bytes, members: list[Member], quarantined: list[Quarantined]) -> None:
    """Take one container apart."""
    end = len(data) - _CHECKSUM
    if end < HEADER.size:
        quarantined.append(Quarantined(index, "structure"))
        return
    command, _, _, time, _ = HEADER.unpack_from(data)
    archive = command != LIVE_DATA
    at = HEADER.size
    position = 0
    while at < end:
        start = at + 2
        stop = start + (data[at] | data[at + 1] << 8)  # at the very end this reads into the checksum: harmless
        if stop > end or stop == start:  # an empty message is padding or damage: 32 000 of them fit one frame
            quarantined.append(Quarantined(index, "structure", data[at:end]))
            return
        members.append(Member(index, position, time, archive, data[start:stop]))
        at = stop
        position += 1


_layouts: dict[tuple[Scaled, ...], Layout] = {}


def layout_of(keys: tuple[Scaled, ...]) -> Layout:
    layout = _layouts.get(keys)
    if layout is None:
        if len(_layouts) >= _MAX_LAYOUTS:
            _layouts.clear()
        layout = _layouts[keys] = Layout(keys)
    return layout


def _exactly(members: list[Member], quarantined: list[Quarantined]) -> list[Batch]:
    """Message by message; those with the same fields then become columns together."""
    alike: dict[tuple[tuple[Scaled, ...], tuple[str, ...], bool], list[tuple[Member, Parsed, OddValues]]] = {}
    for member in members:
        try:
            parsed = parse(member.data)
        except BrokenError:
            quarantined.append(Quarantined(member.frame, "structure", member.data))
            continue
        odd = OddValues(parsed.odd)
        key = (tuple(parsed.scaled), tuple(odd.names), EVENTS in parsed.odd)
        alike.setdefault(key, []).append((member, parsed, odd))
    return [_together(keys, names, rows) for (keys, names, _), rows in alike.items()]


def _together(keys: tuple[Scaled, ...], names: tuple[str, ...], parts: list[tuple[Member, Parsed, OddValues]]) -> Batch:
    events = [parsed.events for _, parsed, _ in parts]
    extra: dict[int, dict[str, Any]] = {row: odd.extra for row, (_, _, odd) in enumerate(parts) if odd.extra}
    members = [member for member, _, _ in parts]
    rows = Rows(
        frame=np.array([m.frame for m in members], np.int32),
        position=np.array([m.position for m in members], np.int32),
        fingerprint=np.array([fingerprint(m.data) for m in members], np.int64),
        header_time=np.array([m.time for m in members], np.int64),
        archive=np.array([m.archive for m in members], np.bool_),
        raw=np.array([list(parsed.scaled.values()) for _, parsed, _ in parts], np.int64).reshape(len(parts), len(keys)),
        events=np.array([e[0] if e else -1 for e in events], np.int64),
        eventful=np.array([any(number != TIMER for number in e) for e in events], np.bool_),
        names=names,
        values=np.array([odd.values for _, _, odd in parts], np.float64).reshape(len(parts), len(names)),
        extra=extra,
    )
    return columns(layout_of(keys), rows)
