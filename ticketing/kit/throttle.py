"""How often somebody may try a password.

An attempt counts when it begins and is taken back when it succeeds, or when no password was tried: so a hundred at once
gain nothing, and a store that is away locks out nobody.
Three counters, whichever is the strictest: the same name from the same address, one address over all names
(guessing names), one name over all addresses (guessing from many machines; loose, because it locks out its owner).
"""

from __future__ import annotations

import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_KEYS = 10_000  # the oldest are forgotten: a flood of invented names must not fill the memory


@dataclass(frozen=True, slots=True)
class Limit:
    """`free` failures cost nothing; each further one waits twice as long, from `first` to `longest` seconds."""

    free: int
    first: float
    longest: float


LIMITS = {
    "name and address": Limit(free=5, first=10.0, longest=900.0),
    "address": Limit(free=30, first=10.0, longest=900.0),
    "name": Limit(free=50, first=2.0, longest=60.0),
}
FORGET = 3600.0  # seconds without a failure after which a counter starts anew


@dataclass(slots=True)
class _Counter:
    failures: int
    last: float


class Throttle:
    """Counts failed logins; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters: OrderedDict[tuple[str, str], _Counter] = OrderedDict()

    def begin(self, name: str, address: str) -> float:
        """Count an attempt; seconds to wait, 0 if it may go ahead. A refused attempt is not counted."""
        now = self._clock()
        wait = max(self._wait(key, now) for key in _keys(name, address))
        if wait > 0:
            return wait
        for key in _keys(name, address):
            counter = self._counters.pop(key, None)
            if counter is None or now - counter.last > FORGET:
                counter = _Counter(0, now)
            counter.failures += 1
            counter.last = now
            self._counters[key] = counter
        while len(self._counters) > MAX_KEYS:
            self._counters.popitem(last=False)
        return 0.0

    def succeeded(self, name: str, address: str) -> None:
        """The attempt was good: it is taken back, and this name from this address starts anew."""
        for key in _keys(name, address):
            counter = self._counters.get(key)
            if counter is not None:
                counter.failures = 0 if key[0] == "name and address" else max(0, counter.failures - 1)

    def undone(self, name: str, address: str) -> None:
        """No password was tried after all: the attempt is taken back."""
        for key in _keys(name, address):
            counter = self._counters.get(key)
            if counter is not None:
                counter.failures = max(0, counter.failures - 1)

    def _wait(self, key: tuple[str, str], now: float) -> float:
        counter = self._counters.get(key)
        limit = LIMITS[key[0]]
        if counter is None or counter.failures < limit.free or now - counter.last > FORGET:
            return 0.0
        doublings = min(counter.failures - limit.free, 32)
        return max(0.0, counter.last + min(limit.first * 2.0**doublings, limit.longest) - now)


def _keys(name: str, address: str) -> list[tuple[str, str]]:
    name = unicodedata.normalize("NFC", name).lower()[:64]  # one account, however it is spelled
    return [("name and address", f"{name}\0{address}"), ("address", address), ("name", name)]
