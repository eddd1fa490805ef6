"""Messages that come in several packages: kept until they are whole, within bounds that hold for all connections.

A message that never becomes whole must not pin memory: it is given up after a minute, and before that where all
connections together hold too much, the oldest first. What was given up was never acknowledged: the terminal sends it
again.
"""

from __future__ import annotations

from collections import OrderedDict

from protocols.jt808.wire import Head

MAX_MESSAGE = 256 * 1024  # bytes: a photograph of a cab camera has some 50 KB
MAX_PACKAGES = 1024
MAX_OPEN = 4  # messages of one connection
PATIENCE = 60.0  # s from the first package to the last
MAX_HELD = 32 * 1024 * 1024  # bytes over all connections of a process


class Pending:
    """A message of which packages are missing; `given_up`: it is forgotten."""

    __slots__ = ("begun", "given_up", "key", "offset", "parts", "shelf", "size", "total")

    def __init__(self, shelf: Shelf, key: tuple[int, int], head: Head, offset: int, now: float) -> None:
        self.shelf = shelf
        self.key = key
        self.total = head.total
        self.offset = offset
        self.begun = now
        self.size = 0
        self.parts: dict[int, bytes] = {}
        self.given_up = False

    def missing(self) -> list[int]:
        """The numbers of what is missing."""
        return [number for number in range(1, self.total + 1) if number not in self.parts]


class Shelf:
    """What all sessions of a process hold, oldest first."""

    def __init__(self, most: int = MAX_HELD) -> None:
        self._held: OrderedDict[int, Pending] = OrderedDict()
        self._most = most
        self.size = 0

    def begin(self, key: tuple[int, int], head: Head, offset: int, now: float) -> Pending:
        """A message begins."""
        self.expire(now)
        pending = Pending(self, key, head, offset, now)
        self._held[id(pending)] = pending
        return pending

    def add(self, pending: Pending, number: int, package: bytes) -> None:
        """One of its packages; others are given up for it where there is no room."""
        pending.parts[number] = package
        pending.size += len(package)
        self.size += len(package)
        while self.size > self._most and len(self._held) > 1:
            self.give_up(next(iter(self._held.values())))

    def give_up(self, pending: Pending) -> None:
        """Forget what was kept of it."""
        if self._held.pop(id(pending), None) is not None:
            self.size -= pending.size
        pending.given_up = True
        pending.parts = {}

    def expire(self, now: float) -> None:
        """Give up what has waited too long."""
        while self._held and now - (oldest := next(iter(self._held.values()))).begun > PATIENCE:
            self.give_up(oldest)


SHELF = Shelf()


class Assembly:
    """The unfinished messages of one connection."""

    __slots__ = ("_most", "_pending", "_shelf")

    def __init__(self, most: int = MAX_MESSAGE, shelf: Shelf = SHELF) -> None:
        self._pending: dict[tuple[int, int], Pending] = {}
        self._most = most
        self._shelf = shelf

    def take(self, head: Head, package: bytes, offset: int, now: float) -> tuple[bytes, int] | list[int] | None:
        """One package: the whole message and where it began, or the numbers to ask for; None: it cannot be part of any.

        Packages of one message follow each other in their serial numbers, which tells them from another's. What is
        missing is asked for where the last package has come; an empty list: wait.
        """
        if not 1 <= head.number <= head.total <= MAX_PACKAGES:
            return None
        self._shelf.expire(now)
        key = head.id, (head.serial - head.number) & 0xFFFF
        pending = self._pending.get(key)
        if pending is not None and (pending.given_up or pending.total != head.total):
            self._drop(pending)
            pending = None
        if pending is None:
            for gone in [its for its in self._pending.values() if its.given_up]:
                self._drop(gone)
            if len(self._pending) >= MAX_OPEN:
                self._drop(next(iter(self._pending.values())))
            pending = self._pending[key] = self._shelf.begin(key, head, offset, now)
        if head.number in pending.parts:
            return []
        if pending.size + len(package) > self._most:
            self._drop(pending)
            return None
        self._shelf.add(pending, head.number, package)
        if pending.given_up:
            self._drop(pending)
            return []
        if len(pending.parts) == pending.total:
            whole = b"".join([pending.parts[number] for number in range(1, pending.total + 1)])
            self._drop(pending)
            return whole, pending.offset
        return pending.missing() if head.number == head.total else []

    def clear(self) -> None:
        """The connection ends."""
        for pending in list(self._pending.values()):
            self._drop(pending)

    def _drop(self, pending: Pending) -> None:
        self._pending.pop(pending.key, None)
        self._shelf.give_up(pending)

    def __len__(self) -> int:
        return len(self._pending)
