"""What came from a broker and is not acknowledged, in the order it came: PUBACKs leave in that order [4.6]."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence


class Delivery:
    """One message: done when all that was made of it is durable."""

    __slots__ = ("_left", "mid", "size", "window")

    def __init__(self, window: Window, mid: int, size: int) -> None:
        self.window = window
        self.mid = mid
        self.size = size
        self._left = 1

    def expect(self, more: int) -> None:
        """So many more are made of it."""
        self._left += more

    def settle(self) -> None:
        """One of what was made of it is durable, or need not be."""
        self._left -= 1
        if not self._left:
            self.window.settled()

    def abandon(self) -> None:
        """It is not stored and will not be: the broker has to send it again, which it does on another connection."""
        self.window.abandon()

    @property
    def done(self) -> bool:
        """Whether it may be acknowledged, once all before it are."""
        return self._left <= 0


class Window:
    """The messages of one connection.

    Attributes
    ----------
    bytes : of payloads that are not acknowledged.
    """

    def __init__(self, acknowledge: Callable[[Sequence[int]], None], abandoned: Callable[[], None]) -> None:
        """`acknowledge` is called with packet identifiers, in order; `abandoned` when one will not be stored."""
        self._acknowledge = acknowledge
        self._abandoned = abandoned
        self._waiting: deque[Delivery] = deque()
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, mid: int, size: int) -> Delivery:
        """A message came."""
        delivery = Delivery(self, mid, size)
        self._waiting.append(delivery)
        self.bytes += size
        return delivery

    def settled(self) -> None:
        """One is done: it leaves with those that are done in the same turn of the loop."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Acknowledge what is done, up to the first that is not."""
        self._scheduled = False
        if self._closed:
            return
        waiting = self._waiting
        mids: list[int] = []
        while waiting and waiting[0].done:
            delivery = waiting.popleft()
            self.bytes -= delivery.size
            if delivery.mid:
                mids.append(delivery.mid)
        self._acknowledge(mids)

    def abandon(self) -> None:
        """One will not be stored."""
        if not self._closed:
            self._abandoned()

    def close(self) -> None:
        """The connection is gone: nothing of it is acknowledged any more [4.4]."""
        self._closed = True
        self._waiting.clear()
        self.bytes = 0
