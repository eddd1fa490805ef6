"""What one HTTP client may take from the others: time, connections, memory.

    waiting   for a request, or for the rest of it: bounded in time, and the first to go where there are too many
    answering it is with the application; only a client that does not read its answer is cut off

Where all connections there may be are open, the one that has waited longest for its client makes room for who comes. So
connections that say nothing keep nobody out, and health checks are answered whoever else is there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.configuration.values import Network
from gateway.receive.limits import within

_log = structlog.get_logger()

MOST = 500  # connections of one server at once; descriptors are what terminals need
PER_ADDRESS = 64  # a browser opens six, a page for each of ten people behind one address
HEADERS = 10.0  # s for a request's headers
REQUEST = 60.0  # s for a whole request
UNREAD = 30.0  # s for a client to take more of its answer
HEADER_BYTES = 64 << 10  # the parser has no bound of its own
_PIECE = 16 << 10
_TURN = 1.0  # s between looks
_TOLD = 100  # proxies of which it is told that they are not trusted


class Guard:
    """Connections of one server, in the order they came."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = trusted
        self._open: dict[Connection, None] = {}
        self._per_address: Counter[str] = Counter()
        self._told: set[str] = set()

    def connection(self, **named: Any) -> Connection:
        """What the server makes for each connection."""
        return Connection(self, **named)

    def came(self, connection: Connection) -> bool:
        """Count it in; False where there is no room and nobody gives way."""
        self._open[connection] = None
        self._per_address[connection.host] += 1
        if len(self._open) > MOST and not self._make_room(connection, ""):
            return False
        crowded = self._per_address[connection.host] > PER_ADDRESS and not self._speaks_for_many(connection.host)
        return not crowded or self._make_room(connection, connection.host)

    def left(self, connection: Connection) -> None:
        """Count it out; harmless when that was done."""
        if connection in self._open:
            del self._open[connection]
            self._per_address[connection.host] -= 1
            if not self._per_address[connection.host]:
                del self._per_address[connection.host]

    def _speaks_for_many(self, host: str) -> bool:
        return within(host, self._trusted) or host in ("127.0.0.1", "::1")

    def _make_room(self, newcomer: Connection, host: str) -> bool:
        waiting = (each for each in self._open if each is not newcomer and each.waits and host in ("", each.host))
        longest = min(waiting, key=lambda each: each.since, default=None)
        if longest is None:
            return False
        longest.cut()
        return True

    async def sweep(self) -> None:
        """End what takes too long; ends by cancellation."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TURN)
            now = loop.time()
            for connection in list(self._open):
                if connection.overdue(now):
                    connection.cut()

    def forwarded(self, connection: Connection) -> None:
        """Somebody not trusted says for whom he asks: told once, since all behind him share one address's limits."""
        host = connection.host
        if host not in self._told and len(self._told) < _TOLD and not within(host, self._trusted):
            self._told.add(host)
            _log.warning("forwarded header not believed: name the proxy in desk.trusted_proxies", address=host)


class Connection(HttpToolsProtocol):
    """One connection, bounded.

    Attributes
    ----------
    waits : for its client, not for us.
    since : loop time since when it waits, or answers and is not read.
    """

    def __init__(self, guard: Guard, **named: Any) -> None:
        super().__init__(**named)
        self._guard = guard
        self._header_bytes = 0
        self._headers_done = False
        self._request_done = False
        self._unread_since: float | None = None
        self._began = 0.0  # loop time of the first wait for the request it is at
        self.host = ""
        self.waits = True
        self.since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it if there is room."""
        super().connection_made(transport)
        self.since = self._began = self.loop.time()
        self.host = self.client[0] if self.client else ""
        if not self._guard.came(self):
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """It makes room."""
        self._guard.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request; headers are bounded."""
        for at in range(0, len(data), _PIECE):  # requests may come one behind the other
            if self.transport.is_closing():
                return
            piece = data[at : at + _PIECE]
            if not self._headers_done or self._request_done:
                self._header_bytes += len(piece)
                if self._header_bytes > HEADER_BYTES:
                    self.send_400_response("Request headers too large.")
                    return
            super().data_received(piece)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._request_done:
            self._began = self.loop.time()
        self._headers_done = self._request_done = False

    def on_headers_complete(self) -> None:
        """It is the application's from here on."""
        self._headers_done = True
        self._header_bytes = 0
        self.waits = False
        if any(name in (b"x-forwarded-for", b"forwarded") for name, _ in self.headers):
            self._guard.forwarded(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is here whole."""
        self._request_done = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered: the next may come, the server itself closes it when none does."""
        super().on_response_complete()
        if not self.pipeline:
            self.waits = True
            self.since = self.loop.time()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._unread_since = None
        super().resume_writing()

    def overdue(self, now: float) -> bool:
        """Whether its client has had all the time it gets."""
        if self._unread_since is not None:
            return now - self._unread_since > UNREAD
        if self._request_done:
            return False
        return now - self._began > (REQUEST if self._headers_done else HEADERS)

    def cut(self) -> None:
        """End it at once; it makes room already now."""
        self._guard.left(self)
        with contextlib.suppress(OSError):
            self.transport.abort()
