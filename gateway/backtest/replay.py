"""A slice of a trace as the columns that detectors read, and what the last records of each terminal told."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from detectors.columns import Array, Columns, bounded
from detectors.detector import Connected, Past
from detectors.gaps import Floats, runs
from detectors.zones import IN_ORDER
from gateway.backtest.trace import CONNECTION, CORE, Ending, Kind, Slice

LAST = 10  # records, as the evidence of a ticket has
_ROOM = 1 << 28  # bytes for them: of a fleet that is too large for all its columns, the first ones are kept
_NAMES = {"power.external": "voltage"}  # measure -> column of a trace
_MOST = 1 << 31  # frames of one connection
IN_ORDER_WITHIN = 60_000_000  # µs
_FLAGS = frozenset({"moving", "archive", "event"})
# As `connection` in the store has it.
_WORDS = {
    Ending.IN_ORDER: IN_ORDER,
    Ending.LOST: "lost: connection reset",
    Ending.TIMED_OUT: "idle timeout",
    Ending.REPLACED: "replaced by a newer connection",
    Ending.OURS: "ended by the gateway",
}


def columns_of(rows: Slice) -> Columns:
    """Columns over rows of terminals, in the order of their arrival; connections are no contacts."""
    kind = rows["kind"]
    frames = kind <= Kind.FRAME
    records = kind == Kind.RECORD
    told = frozenset(rows) - CORE.keys() - set(CONNECTION) | {
        measure for measure, column in _NAMES.items() if column in rows
    }

    def make(name: str) -> Array:
        if name == "own":
            return bounded(rows["time"][records])
        if name == "ignition":
            told: Array = rows["ignition"][records]
            return told
        if name == "valid":
            # A trace need not tell places: what has none then is no fix that was lost. Satellites: -1 is not told.
            return ~np.isnan(make("lat")) if "lat" in rows else make("satellites") != 0
        if name == "link":
            return np.zeros(int(frames.sum()), np.uint16)
        column = rows.get("event" if name == "event.number" else _NAMES.get(name, name))
        values = np.full(int(records.sum()), np.nan) if column is None else column[records]
        if name in _FLAGS:
            return values > 0
        return np.where(np.isnan(values), -1, values).astype(np.int16) if name == "satellites" else values

    return Columns(
        rows["terminal"][frames],
        rows["received"][frames],
        rows["terminal"][records],
        rows["received"][records],
        bounded(rows["time"][records]),
        make,
        lambda: told,
    )


class LastRecords:
    """What each terminal told last, and how its connections went, for the zone of a fault."""

    def __init__(self, terminals: int, columns: list[str]) -> None:
        each = max(terminals, 1) * LAST * np.dtype(np.float32).itemsize
        kept = [name for name in columns if name not in CORE and name not in CONNECTION][: max(1, _ROOM // each)]
        self._records = _Rings(terminals, ("received", "ignition", *kept), [Kind.RECORD])
        ways = [name for name in CONNECTION if name in columns]
        self._links = _Rings(terminals, ("received", "kind", *ways), [Kind.CONNECTED, Kind.DISCONNECTED])

    def begin(self, rows: Slice) -> None:
        """The next slice is at hand: all rows before it have arrived."""
        self._records.begin(rows)
        self._links.begin(rows)

    def past(self, terminal: int, now: float, verdicts: Mapping[str, str] = MappingProxyType({})) -> Past:
        """A terminal's last records and connections before `now` (Unix seconds)."""
        records, links = self._records.of(terminal, now), self._links.of(terminal, now)

        def measure(name: str) -> Floats:
            told = records.get(_NAMES.get(name, name))
            if told is None:
                return np.full(LAST, np.nan)
            return np.where(told < 0, np.nan, told) if name == "ignition" else told

        connections = _connections(records["received"], links)
        return Past(measure, np.array([one.malformed for one in connections], np.int64), connections, verdicts)


class _Rings:
    """Of rows of some kinds, the last of each terminal: of slices gone, and of the one at hand."""

    def __init__(self, terminals: int, names: tuple[str, ...], kinds: list[Kind]) -> None:
        types = {"received": np.float64}  # µs are whole numbers there for another two centuries
        self._rings = {name: np.full((terminals, LAST), np.nan, types.get(name, np.float32)) for name in names}
        self._kinds = kinds
        self._slot = np.zeros(terminals, np.int64)
        self._rows: Slice = {"terminal": np.zeros(0, np.int32), "received": np.zeros(0, np.int64)}

    def begin(self, rows: Slice) -> None:
        """The next slice is at hand."""
        self._keep()
        chosen = np.flatnonzero(np.isin(rows["kind"], self._kinds))
        chosen = chosen[np.argsort(rows["terminal"][chosen], kind="stable")]
        self._rows = {name: rows[name][chosen] for name in ("terminal", *self._rings)}

    def _keep(self) -> None:
        terminal = self._rows["terminal"]
        if not len(terminal):
            return
        starts, sizes = runs(terminal)
        rank = np.arange(len(terminal)) - np.repeat(starts, sizes)
        kept = np.flatnonzero(rank >= np.repeat(sizes, sizes) - LAST)  # one place is written once
        place = (self._slot[terminal[kept]] + rank[kept]) % LAST
        for name, ring in self._rings.items():
            ring[terminal[kept], place] = self._rows[name][kept]
        self._slot[terminal[starts]] += sizes

    def of(self, terminal: int, now: float) -> dict[str, Floats]:
        """A terminal's last rows before `now`, oldest first; NaN where there were none."""
        first, end = np.searchsorted(self._rows["terminal"], [terminal, terminal + 1])
        upto = int(first + np.searchsorted(self._rows["received"][first:end], np.int64(round(now * 1e6)), "right"))
        turn = -int(self._slot[terminal] % LAST)
        return {
            name: np.concatenate([np.roll(ring[terminal], turn), self._rows[name][first:upto]])[-LAST:].astype(
                np.float64
            )
            for name, ring in self._rings.items()
        }


def _connections(records: Floats, links: Mapping[str, Floats]) -> list[Connected]:
    """The last connections, newest first, from when records arrived and connections came and went, µs.

    Where a trace does not tell how one ended, it ended in order if that was within a minute of its last record.
    """
    at = links["received"]
    known = ~np.isnan(at)
    newest = float(np.nanmax(records)) if not np.isnan(records).all() else -np.inf
    told = [links[name] if name in links else np.full(len(at), np.nan) for name in CONNECTION]
    ways = zip(at[known][::-1], links["kind"][known][::-1], *(column[known][::-1] for column in told), strict=True)
    found: list[Connected] = []
    ended, frames, malformed = "", np.nan, 0
    for moment, what, its_frames, its_malformed, its_end in ways:
        if what == Kind.DISCONNECTED:
            last = records[records <= moment]
            in_order = len(last) > 0 and moment - float(last.max()) <= IN_ORDER_WITHIN
            ended = _WORDS.get(its_end, IN_ORDER if in_order else "nothing came any more")
            frames, malformed = its_frames, _count(its_malformed)
        else:
            brought = 0 if moment > newest else 1
            found.append(
                Connected(bool(moment > newest), brought if np.isnan(frames) else _count(frames), malformed, ended)
            )
            ended, frames, malformed = "", np.nan, 0
    return found


def _count(told: float) -> int:
    """A file's number is a stranger's: what counts nothing is none."""
    return int(told) if 0 <= told < _MOST else 0
