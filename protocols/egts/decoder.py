"""Packets to columns: records are laid side by side by length and read by layout.

Which bytes mean what is told once per layout (`layouts`); a masked comparison finds the records of one (`structures`).
Where records lie is found in all packets at once (`walk`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.egts import wire
from protocols.egts.columns import Part
from protocols.egts.layouts import DamagedError, Layout, read_layout
from protocols.egts.walk import RECORDS, REMAINDER, Places, span_of, spans, walk
from protocols.records import (
    Batch,
    BatchBuilder,
    Decoded,
    Frame,
    Quarantined,
)
from protocols.structures import CANDIDATES, MAX_RECORD, Remembering, Rows, Template

MAX_STRUCTURES = 2048  # layouts that are remembered; a fleet has a few per configuration, a stranger may invent more
MAX_WEIGHT = 131_072  # columns and words over all of them


class _Structure:
    """A layout of one length."""

    __slots__ = ("key", "length", "parts", "template", "weight")

    def __init__(self, data: bytes, layout: Layout, key: bytes) -> None:
        self.key = key
        self.length = len(data)
        parts = [Part(section, self.length) for section in layout.sections]
        self.parts = [part for part in parts if not part.empty()]
        self.template = Template(data, layout.fixed, layout.bits)
        self.weight = sum(len(part.names) for part in parts) + self.length // 8


class Decoder(Remembering[_Structure]):
    """Frames of `EgtsSession` to columns; remembers the layouts it has seen."""

    def __init__(self) -> None:
        super().__init__(MAX_STRUCTURES, MAX_WEIGHT)

    def decode(self, frames: Sequence[Frame]) -> Decoded:
        """Decode frames and runs; never raises on any bytes. A run counts in the indices as the frames it holds."""
        quarantined: list[tuple[int, int, Quarantined]] = []
        data = b"".join([frame.data for frame in frames])
        flat = np.frombuffer(data + bytes(32), np.uint8)
        begin, end, nothing = spans(frames, data, flat)
        quarantined += [(number, 0, Quarantined(number, "structure")) for number in nothing]
        places, damaged = walk(data, flat, begin, end)
        for owner, ordinal, start, stop in damaged:
            bad = Quarantined(owner, "structure", data[start:stop] if ordinal else None)
            quarantined.append((owner, ordinal, bad))
        batches = self._batches(data, flat, places, quarantined)
        quarantined.sort(key=lambda one: one[:2])
        return Decoded(Batch.concatenate(batches), [bad for _, _, bad in quarantined])

    def _batches(
        self, data: bytes, flat: NDArray[np.uint8], places: Places, quarantined: list[tuple[int, int, Quarantined]]
    ) -> list[Batch]:
        batches: list[Batch] = []
        several: list[tuple[Batch, int]] = []
        for structure, rows, its in self._alike(data, flat, places, quarantined):
            for number, part in enumerate(structure.parts):
                batch = part.columns(rows, its, number)
                batches.append(batch)
                several.append((batch, number))
        if any(number for _, number in several):  # a record that became several: the ones behind move
            frame = np.concatenate([batch.frame for batch in batches])
            ordinal = np.concatenate([batch.position for batch in batches])
            section = np.concatenate([np.full(len(batch), number) for batch, number in several])
            order = np.lexsort((section, ordinal, frame))
            ordered = frame[order]
            first = np.searchsorted(ordered, ordered)
            position = np.empty(len(order), np.int32)
            position[order] = np.arange(len(order)) - first
            begin = 0
            for batch in batches:
                batch.position = position[begin : begin + len(batch)]
                begin += len(batch)
        return batches

    def _alike(
        self, data: bytes, flat: NDArray[np.uint8], places: Places, quarantined: list[tuple[int, int, Quarantined]]
    ) -> Iterator[tuple[_Structure, Rows, Places]]:
        """Records by layout."""

        def refuse(its: Places, row: int) -> None:
            frame, ordinal, start = int(its.frame[row]), int(its.ordinal[row]), int(its.start[row])
            bad = _refused(frame, data[start : int(its.at[row] + its.size[row])])
            quarantined.append((frame, ordinal, bad))

        if not len(places.size):
            return
        lengths = np.unique(places.size)
        for length in lengths.tolist():
            its = places if len(lengths) == 1 else places.take(places.size == length)
            if length > MAX_RECORD:
                for row in range(len(its.at)):
                    refuse(its, row)
                continue
            windows = np.lib.stride_tricks.as_strided(flat, (len(flat) - length, max(length, 1)), (1, 1))
            rows = Rows(windows[its.at][:, :length])
            known = self._by_length.get(length, [])
            if known and known[0].template.fits(rows):
                yield known[0], rows, its
                continue
            left = np.ones(len(rows), np.bool_)
            for structure in known[:CANDIDATES]:
                fit = left & structure.template.matches(rows)
                if fit.any():
                    left &= ~fit
                    yield structure, rows.take(fit), its.take(fit)
                    if not left.any():
                        break
            found: dict[int, tuple[_Structure, list[int]]] = {}
            for row in np.flatnonzero(left).tolist():
                at = int(its.at[row])
                try:
                    structure = self._structure(data[at : at + length])
                except DamagedError:
                    refuse(its, row)
                    continue
                found.setdefault(id(structure), (structure, []))[1].append(row)
            for structure, members in found.values():
                yield structure, rows.take(np.array(members)), its.take(np.array(members))

    def _structure(self, data: bytes) -> _Structure:
        layout = read_layout(data)
        key = b"".join([data[at : at + size] for at, size in layout.fixed])
        key += bytes([data[at] & mask for at, mask in layout.bits])
        return self._remembered(len(data), key) or self._remember(_Structure(data, layout, key))


def _refused(frame: int, data: bytes) -> Quarantined:
    """One record; its code tells the session which, and what to say."""
    number = int.from_bytes(data[2:4], "little")
    return Quarantined(frame, "structure", data, f"{number}:{wire.INC_DATA}")


def parts(frame: Frame, most: int) -> list[Frame]:
    """A frame of many records as several, of at most `most` each."""
    if frame.variant == REMAINDER:
        return [frame]
    begin, end = span_of(frame.data, frame.variant)
    found, bad = wire.records(frame.data, begin, end)
    pieces = [
        Frame(
            b"".join([wire.alone(frame.data, one) for one in found[at : at + most]]),
            len(found[at : at + most]), frame.offset, RECORDS, 1, frame.terminal,
        )
        for at in range(0, len(found), most)
    ]  # fmt: skip
    if bad >= 0:
        if pieces and len(found) % most:
            pieces[-1].data += frame.data[bad:end]
        else:
            pieces.append(Frame(frame.data[bad:end], 1, frame.offset, REMAINDER if not pieces else RECORDS, 1))
    return pieces or [frame]


_shared = Decoder()


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of layouts."""
    return _shared.decode(frames) if frames else Decoded(BatchBuilder().build())
