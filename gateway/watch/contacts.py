"""What a committed batch says of each terminal: when it was heard, whether live, and its ignition.

One element per terminal and arrival. It packs into 13 bytes, so receiving processes can tell the watch cheaply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.receive.pipeline import Committed
from gateway.watch.gaps import Rows, runs
from protocols.records import IGNITION_KNOWN, IGNITION_ON, TIME_UNKNOWN

Int64s: TypeAlias = NDArray[np.int64]
Int32s: TypeAlias = NDArray[np.int32]
Columns: TypeAlias = tuple[Int32s, Int64s, Int32s, Int64s, Int64s, NDArray[np.int16]]

LIVE_WITHIN = 15 * 60 * 1_000_000  # µs between a record's own time and its arrival
_FAR = 1 << 61  # µs: what a record claims is bounded, so that its distance to now is an int64
_PACKED = np.dtype([("terminal", "<i4"), ("received", "<i8"), ("told", "i1")])  # told: ignition, +8 when live
_LIVE = 8


def columns_of(batch: Committed) -> Columns:
    """What `Fleet.note` takes of a committed batch; terminals that have no row (yet) have no state."""
    rows = batch.rows
    frames = batch.frame_terminal >= 0
    if frames.all():
        return (
            batch.frame_terminal, batch.frame_received, rows.terminal, rows.time, rows.received, rows.batch.flags,
        )  # fmt: skip
    records = rows.terminal >= 0
    return (
        batch.frame_terminal[frames], batch.frame_received[frames], rows.terminal[records], rows.time[records],
        rows.received[records], rows.batch.flags[records],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contacts:
    """Arrays, shape (n,), sorted by terminal, then arrival (µs since the Unix epoch).

    `live`: a record was of now; `ignition`: that of the newest record in its own time: -1 not told, 0 on, 1 off.
    """

    terminal: Rows
    received: Int64s
    live: NDArray[np.bool_]
    ignition: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.terminal)

    def pack(self) -> bytes:
        """As bytes, for `unpack`."""
        packed = np.empty(len(self), _PACKED)
        packed["terminal"], packed["received"] = self.terminal, self.received
        packed["told"] = self.ignition + _LIVE * self.live
        return packed.tobytes()

    def newest(self) -> Contacts:
        """Each terminal's last contact and its last live one."""
        starts, sizes = runs(self.terminal)
        kept = np.zeros(len(self), np.bool_)
        kept[starts + sizes - 1] = True
        live = np.flatnonzero(self.live)
        if len(live):
            starts, sizes = runs(self.terminal[live])
            kept[live[starts + sizes - 1]] = True
        return Contacts(self.terminal[kept], self.received[kept], self.live[kept], self.ignition[kept])


def contacts(
    frame_terminal: Int32s,
    frame_received: Int64s,
    record_terminal: Int32s,
    record_time: Int64s,
    record_received: Int64s,
    record_flags: NDArray[np.int16],
) -> Contacts:
    """Reduce frames and their records; arguments as in `Fleet.apply`."""
    terminal, received = frame_terminal.astype(np.int64), frame_received
    live = np.zeros(len(terminal), np.bool_)
    ignition = np.full(len(terminal), -1, np.int8)
    if len(record_terminal):
        # The records of a frame lie together: reduce them before anything is sorted.
        starts, lengths = runs(record_terminal, record_received)
        time = np.minimum(np.maximum(record_time, -_FAR), _FAR)
        time = np.where(record_time == TIME_UNKNOWN, record_received, time)
        newest = time == np.repeat(np.maximum.reduceat(time, starts), lengths)
        told = np.where(record_flags & IGNITION_ON, 0, 1)
        told = np.where((record_flags & IGNITION_KNOWN != 0) & newest, told, -1)
        recent = np.logical_or.reduceat(np.abs(record_received - time) <= LIVE_WITHIN, starts)
        told = np.maximum.reduceat(told, starts).astype(np.int8)
        heads, at = record_terminal[starts], record_received[starts]
        if np.array_equal(heads, frame_terminal) and np.array_equal(at, frame_received):
            live, ignition = recent, told  # the usual batch: each frame with its records, in the same order
        else:
            terminal = np.concatenate([terminal, heads])
            received = np.concatenate([received, at])
            live = np.concatenate([live, recent])
            ignition = np.concatenate([ignition, told])
    return joined(terminal, received, live, ignition)


def joined(terminal: Rows, received: Int64s, live: NDArray[np.bool_], ignition: NDArray[np.int8]) -> Contacts:
    """Contacts of unsorted columns in which a terminal and arrival may stand more than once."""
    if not len(terminal):
        return Contacts(terminal, received, live, ignition)
    order = _by_terminal(terminal, received)
    terminal, received = terminal[order], received[order]
    starts, _ = runs(terminal, received)
    return Contacts(
        terminal[starts],
        received[starts],
        np.logical_or.reduceat(live[order], starts),
        np.maximum.reduceat(ignition[order], starts),
    )


def _by_terminal(terminal: Rows, received: Int64s) -> NDArray[np.intp]:
    """The order by terminal, then arrival; equal ones in any."""
    first = int(received.min())
    bits = (int(received.max()) - first).bit_length()  # arrivals of a batch lie close together: both fit one number
    if int(terminal.max()).bit_length() + bits < 63 and int(terminal.min()) >= 0:
        return np.argsort((terminal << bits) | (received - first))
    return np.lexsort((received, terminal))


def merge(parts: list[Contacts]) -> Contacts:
    """Several as one."""
    return joined(
        np.concatenate([part.terminal for part in parts]),
        np.concatenate([part.received for part in parts]),
        np.concatenate([part.live for part in parts]),
        np.concatenate([part.ignition for part in parts]),
    )


def unpack(data: bytes) -> Columns:
    """What `Fleet.note` takes: each contact as a frame with one record that says the same of it."""
    packed = np.frombuffer(data, _PACKED)
    terminal = packed["terminal"].astype(np.int32)
    received = packed["received"].astype(np.int64)
    told = packed["told"].astype(np.int16)
    live = told >= _LIVE - 1
    ignition = told - _LIVE * live
    flags = np.where(ignition < 0, 0, np.where(ignition == 0, IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN))
    return terminal, received, terminal, np.where(live, received, 0), received, flags.astype(np.int16)
