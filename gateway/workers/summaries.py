"""What a worker's committed batches mean for the watch, told a few times a second, in bounded memory.

While the service does not listen (its loop is busy), contacts are kept; beyond `KEPT` only each terminal's last ones.
Then a rhythm learned from them is a little slow, and nothing else is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gateway.receive.pipeline import Committed
from gateway.watch.contacts import Contacts, columns_of, contacts, merge

PERIOD = 0.2  # s; the watch looks once a second
AT_ONCE = 8192  # frames and records that are told without waiting for the period
KEPT = 500_000  # contacts, 13 bytes each when packed
_PIECE = 50_000  # contacts in one message


class Summaries:
    """Feed it with `committed`; it calls `send(bytes)` unless `full()`, and wants `flush` when there is room again."""

    def __init__(self, send: Callable[[bytes], None], full: Callable[[], bool]) -> None:
        self._send = send
        self._full = full
        self._loop = asyncio.get_running_loop()
        self._noted: list[tuple[NDArray[np.generic], ...]] = []
        self._waiting = 0
        self._scheduled = False
        self._held: list[Contacts] = []
        self._count = 0
        self._most = KEPT

    def committed(self, batch: Committed) -> None:
        """Take note of a batch."""
        columns = columns_of(batch)
        self._noted.append(columns)
        self._waiting += len(columns[0]) + len(columns[2])
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
            self._hold(contacts(*(np.concatenate(column) for column in zip(*noted, strict=True))))
        while self._held and not self._full():
            told = self._held.pop(0)
            self._count -= len(told)
            for at in range(0, len(told), _PIECE):
                part = slice(at, at + _PIECE)
                self._send(
                    Contacts(told.terminal[part], told.received[part], told.live[part], told.ignition[part]).pack()
                )
        if not self._held:
            self._most = KEPT

    def _hold(self, told: Contacts) -> None:
        self._held.append(told)
        self._count += len(told)
        if self._count > self._most:
            self._held = [merge(self._held).newest()]
            self._count = len(self._held[0])
            self._most = max(KEPT, 2 * self._count)  # the fleet itself may be larger
