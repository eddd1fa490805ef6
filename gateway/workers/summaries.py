"""What a worker's committed batches mean for the watch, told a few times a second, in bounded memory.

While the service does not listen (its loop is busy), what is to be told is kept; beyond `KEPT` only each terminal's
last contacts. Then a rhythm learned from them is a little slow, and what detectors saw in between is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from detectors.detector import Detector
from gateway.receive.pipeline import Accepted
from gateway.watch.columns import columns_of
from gateway.watch.contacts import Told, merge, summarise
from gateway.watch.detecting import DETECTORS

PERIOD = 0.2  # s; the watch looks once a second
AT_ONCE = 8192  # frames and records that are told without waiting for the period
KEPT = 8 << 20  # bytes: two hundred thousand contacts or more
_PIECE = 50_000  # contacts in one message


class Summaries:
    """Feed it with `committed`; it calls `send(packed)` unless `full()`, and wants `flush` when there is room again."""

    def __init__(
        self,
        send: Callable[[dict[str, bytes]], None],
        full: Callable[[], bool],
        detectors: Iterable[type[Detector]] = DETECTORS,
    ) -> None:
        self._send = send
        self._full = full
        self._detectors = tuple(detectors)
        self._sparse = frozenset(detector.kind for detector in self._detectors if detector.sparse)
        self._loop = asyncio.get_running_loop()
        self._noted: list[Accepted] = []
        self._waiting = 0
        self._scheduled = False
        self._held: list[Told] = []
        self._size = 0
        self._most = KEPT

    def committed(self, batch: Accepted) -> None:
        """Take note of a batch."""
        self._noted.append(batch)
        self._waiting += len(batch.frame_terminal) + len(batch.rows)
        if self._waiting >= AT_ONCE:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_later(PERIOD, self._due)

    def _due(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Tell what there is, or keep it while nobody listens."""
        if self._noted:
            noted, self._noted, self._waiting = self._noted, [], 0
            self._hold(summarise(columns_of(noted), self._detectors))
        while self._held and not self._full():
            told = self._held.pop(0)
            self._size -= told.nbytes
            for at in range(0, len(told), _PIECE):
                self._send(told[at : at + _PIECE].pack())
        if not self._held:
            self._most = KEPT

    def _hold(self, told: Told) -> None:
        self._held.append(told)
        self._size += told.nbytes
        if self._size > self._most:
            self._held = [part.newest() for part in merge(self._held, self._sparse)]
            self._size = sum(part.nbytes for part in self._held)
            self._most = max(KEPT, 2 * self._size)  # the fleet itself may be larger
