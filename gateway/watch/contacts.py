"""What committed batches say to the watch, and how receiving processes tell it: contacts, and each detector's summary.

One element a contact in every array: 20 bytes for the contact itself, and what detectors add (silence two bytes, modem
and identity ten; the others are sparse, and add nothing where nothing of theirs is told).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from detectors.columns import Array, Columns, Contacts, Indices, by_terminal
from detectors.detector import Detector, Summary
from detectors.gaps import Rows, runs

_log = structlog.get_logger()

_CONTACTS: dict[str, np.dtype[Any]] = {
    "terminal": np.dtype("<i4"),
    "received": np.dtype("<i8"),
    "own": np.dtype("<i8"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """Contacts, and by detector's kind the arrays of its summary; one whose `reduce` failed is left out."""

    contacts: Contacts
    summaries: Mapping[str, Summary]  # of a sparse one that is left out all is zero

    def __len__(self) -> int:
        return len(self.contacts)

    @property
    def nbytes(self) -> int:
        """Bytes that `pack` makes of it."""
        each = sum(dtype.itemsize for dtype in _CONTACTS.values())
        return each * len(self) + sum(array.nbytes for its in self.summaries.values() for array in its.values())

    def __getitem__(self, chosen: Any) -> Told:
        summaries = {kind: {n: array[chosen] for n, array in its.items()} for kind, its in self.summaries.items()}
        return Told(self.contacts[chosen], summaries)

    def newest(self) -> Told:
        """Each terminal's last contact, its last live one, and the last with the newest time told."""
        contacts = self.contacts
        kept = np.zeros(len(self), np.bool_)
        kept[contacts.last] = True
        kept[_ends(contacts.terminal, np.flatnonzero(contacts.live))] = True
        kept[_ends(contacts.terminal, np.lexsort((contacts.own, contacts.terminal)))] = True
        return self[kept]

    def pack(self) -> dict[str, bytes]:
        """As named bytes, for `unpack`."""
        packed = {name: getattr(self.contacts, name).astype(dtype).tobytes() for name, dtype in _CONTACTS.items()}
        for kind, summary in self.summaries.items():
            packed |= {f"{kind}.{name}": array.tobytes() for name, array in summary.items()}
        return packed


def summarise(columns: Columns, detectors: Iterable[type[Detector]]) -> Told:
    """What a batch says to the watch."""
    summaries: dict[str, Summary] = {}
    for detector in detectors:
        try:
            told = detector.reduce(columns)
        except Exception:  # a bug in one detector: the others, and the contacts, are told
            _log.exception("a detector failed", detector=detector.kind, step="reduce")
            continue
        if detector.sparse:
            told = {name: array for name, array in told.items() if array.any()}
            if told:
                nothing = np.zeros(len(columns.contacts), np.int8)
                told = {name: told.get(name, nothing) for name in detector.summary}
        if told:
            summaries[detector.kind] = {name: told[name].astype(dtype) for name, dtype in detector.summary.items()}
    return Told(columns.contacts, summaries)


def merge(parts: Iterable[Told], sparse: Collection[str] = ()) -> list[Told]:
    """Those with the same detectors' summaries as one; who lacks that of a `sparse` one told nothing of it."""
    alike: dict[tuple[str, ...], list[Told]] = {}
    for part in parts:
        alike.setdefault(tuple(kind for kind in part.summaries if kind not in sparse), []).append(part)
    return [_joined([_whole(part, its) for part in its]) if len(its) > 1 else its[0] for its in alike.values()]


def _whole(part: Told, parts: Sequence[Told]) -> Told:
    """With zeros for what others of `parts` tell and it does not."""
    summaries = dict(part.summaries)
    for other in parts:
        for kind, summary in other.summaries.items():
            if kind not in summaries:
                summaries[kind] = {name: np.zeros(len(part), array.dtype) for name, array in summary.items()}
    return Told(part.contacts, summaries)


def _ends(terminal: Rows, chosen: Indices) -> Indices:
    """The last of these of each terminal; they lie by terminal."""
    starts, sizes = runs(terminal[chosen])
    last: Indices = chosen[starts + sizes - 1]
    return last


def _joined(parts: Sequence[Told]) -> Told:
    contacts = Contacts(
        np.concatenate([part.contacts.terminal for part in parts]),
        np.concatenate([part.contacts.received for part in parts]),
        np.concatenate([part.contacts.own for part in parts]),
    )
    order = by_terminal(contacts.terminal, contacts.received)
    summaries = {
        kind: {name: np.concatenate([part.summaries[kind][name] for part in parts])[order] for name in its}
        for kind, its in parts[0].summaries.items()
    }
    return Told(contacts[order], summaries)


def unpack(packed: Mapping[str, bytes], detectors: Iterable[type[Detector]]) -> Told:
    """What `pack` made. A detector of which anything is missing, or not one element a contact, is left out.

    Raises
    ------
    ValueError, KeyError
        If the contacts themselves are not whole.
    """
    terminal, received, own = (np.frombuffer(packed[name], dtype) for name, dtype in _CONTACTS.items())
    if not len(terminal) == len(received) == len(own):
        raise ValueError("contacts of several lengths")
    summaries: dict[str, Summary] = {}
    for detector in detectors:
        its: dict[str, Array] = {}
        for name, dtype in detector.summary.items():
            data = packed.get(f"{detector.kind}.{name}")
            if data is None or len(data) != np.dtype(dtype).itemsize * len(terminal):
                break
            its[name] = np.frombuffer(data, dtype)
        else:
            if its:
                summaries[detector.kind] = its
    return Told(Contacts(terminal.astype(np.int64), received.astype(np.int64), own.astype(np.int64)), summaries)
