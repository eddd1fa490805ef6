"""One HTTP connection: each request that names a terminal is a record; 200 leaves after its commit.

    record            Frame, 200 after its commit; one that cannot be decoded is kept, 400: it would come again as it is
    only an id        no record: 200 in its turn
    no id             400 in its turn
    not let in        404 for JSON, 400 else
    store refuses     503, and close: the client keeps it and tries again
    wrong HTTP        400, 411, 413, 431, and close

Requests of other terminals on one connection are a proxy's: each of these is judged and stored as its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.osmand.declaration import JSON, QUERY, content, is_greeting, tells, terminal_of
from protocols.osmand.http import CONTINUE, MAX_BODY, MAX_HEAD, Head, Wrong, answer, head_size, read_head
from protocols.records import Close, Event, Frame, Login, Malformed, Message, Quarantined, Reply

_MAX_WAITING = 4 * (MAX_HEAD + MAX_BODY)  # ahead of the answer to the login


class OsmandSession:
    """See `protocols.records.Session`, `Relaying` and `Declining`."""

    __slots__ = ("_buffer", "_closed", "_continued", "_first", "_keeps", "_most", "_offset", "_terminal")

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._most = min(max_frame or MAX_BODY, MAX_BODY)
        self._buffer = bytearray()
        self._offset = 0
        self._terminal = ""
        self._first: tuple[Frame, bool] | None = None  # the request that named the terminal waits, with its keep-alive
        self._keeps: list[bool] = []  # of requests given out and not answered: whether the connection goes on
        self._continued = False  # 100 was said to the request at the beginning of the buffer
        self._closed = False

    def run(self, data: bytes) -> Frame | None:
        """One request of who logged in, with a record in its query."""
        if self._first is not None or self._buffer or self._closed or data[:4] != b"GET ":
            return None
        size = len(data)
        if head_size(data) != size:
            return None
        head = read_head(data)
        if (
            isinstance(head, Wrong)
            or not head.keep
            or head.length
            or head.kind
            or not tells(head.query, self._terminal)
        ):
            return None
        offset = self._offset
        self._offset = offset + size
        self._keeps.append(True)
        return Frame(head.query, 1, offset, QUERY)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; what is wrong ends the connection."""
        del now
        if self._closed:
            return ()
        self._buffer += data
        if self._first is not None:
            if len(self._buffer) > _MAX_WAITING:
                self._first = None
                return self._wrong(Wrong("length", 413), [])
            return ()
        return self._parse([])

    def accept(self, now: float) -> Sequence[Event]:
        """The request that named the terminal, then what waited behind it."""
        del now
        first, self._first = self._first, None
        if first is None:
            return ()
        frame, keep = first
        events: list[Event] = []
        if not is_greeting(frame.data, frame.variant):
            self._give(frame, keep, events)
            return self._parse(events)
        events.append(Reply(answer(200, keep=keep)))
        return self._parse(events) if keep else self._close(events)

    def refuse(self) -> Sequence[Event]:
        """404 for JSON, 400 else."""
        first, self._first = self._first, None
        self._closed = True
        code = 404 if first is not None and first[0].variant == JSON else 400
        return [Reply(answer(code, keep=False)), Close("refused")]

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """200, or 400 for what was kept because it cannot be decoded."""
        return answer(400 if quarantined else 200, keep=self._answered())

    def reject(self, item: Frame) -> bytes:
        """As a login that is refused; the connection goes on for the others."""
        return answer(404 if item.variant == JSON else 400, keep=self._answered())

    def decline(self) -> bytes:
        """503 to each that is unanswered; the last one closes."""
        count, self._keeps = len(self._keeps), []
        return b"".join([answer(503, keep=number < count - 1) for number in range(count)])

    def _answered(self) -> bool:
        return self._keeps.pop(0) if self._keeps else True

    def end_of_stream(self) -> Sequence[Event]:
        """A request cut by the close is `truncated`."""
        if self._closed or self._first is not None or not self._buffer:
            return ()
        self._closed = True
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """HTTP has no such question."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """Nor commands."""
        del text
        return b""

    # -- requests -----------------------------------------------------------------------------------------------

    def _parse(self, events: list[Event]) -> list[Event]:
        buffer = self._buffer
        while buffer and self._first is None and not self._closed:
            if buffer[0] in b"\r\n":  # some clients end a body so
                self._drop(1)
                continue
            size = head_size(buffer)
            if not size:
                line = bytes(buffer[:16])
                if len(buffer) >= MAX_HEAD:
                    return self._wrong(Wrong("length", 431), events)
                if not any(verb.startswith(line[: len(verb)]) for verb in (b"GET ", b"POST ", b"PUT ")):
                    return self._wrong(Wrong("structure", 400), events)
                break
            head = read_head(bytes(buffer[:size]))
            if isinstance(head, Head) and head.length > self._most:
                head = Wrong("length", 413)
            if isinstance(head, Wrong):
                return self._wrong(head, events)
            if len(buffer) < size + head.length:
                if head.expects and not self._continued:
                    self._continued = True
                    events.append(Reply(CONTINUE))
                break
            body = bytes(buffer[size : size + head.length])
            offset = self._offset
            self._drop(size + head.length)
            self._continued = False
            self._request(head, body, offset, events)
        return events

    def _request(self, head: Head, body: bytes, offset: int, events: list[Event]) -> None:
        data, variant = content(head.query, body, head.kind)
        terminal = terminal_of(data, variant)
        if not terminal:
            events += [Malformed("login", offset, "no id"), Reply(answer(400, keep=head.keep))]
            if not head.keep:
                self._close(events)
            return
        frame = Frame(data, 1, offset, variant)
        if self._terminal == terminal and is_greeting(data, variant):
            events.append(Reply(answer(200, keep=head.keep)))
            if not head.keep:
                self._close(events)
            return
        if not self._terminal:
            self._terminal = terminal
            self._first = frame, head.keep
            events.append(Login(terminal))
            return
        if terminal != self._terminal:
            frame.terminal = terminal
        self._give(frame, head.keep, events)

    def _give(self, frame: Frame, keep: bool, events: list[Event]) -> None:
        self._keeps.append(keep)
        events.append(frame)
        if not keep:
            self._close(events)

    def _wrong(self, wrong: Wrong, events: list[Event]) -> list[Event]:
        events += [Malformed(wrong.reason, self._offset), Reply(answer(wrong.code, keep=False))]
        return self._close(events)

    def _close(self, events: list[Event]) -> list[Event]:
        self._closed = True
        self._buffer.clear()
        events.append(Close("ended by HTTP"))
        return events

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size


def new_session(transport: str = "tcp", max_frame: int | None = None) -> OsmandSession:
    """A session for one TCP connection.

    Raises
    ------
    ValueError
        If asked for another transport.
    """
    if transport != "tcp":
        raise ValueError(f"HTTP is spoken over TCP, not {transport!r}")
    return OsmandSession(max_frame=max_frame)
