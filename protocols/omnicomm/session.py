"""One connection, sans-IO.

::

    WAIT_LOGIN --80--> ASKED --accept--> RECEIVE          anything else first: malformed "login", close
                         '-----refuse--> CLOSED           80 of another terminal later: malformed "login", close

    86 95 9F   Frame; after its commit 87 (rec_id), for 9F A0 (rec_id)
    86 empty   the archive is exhausted: nothing to store, nothing to answer
    93         the terminal asks the time: 94
    80 again   of the same terminal: 85 again
    others     nothing

Acks are cumulative: one behind a damaged frame would release that frame too. So after damage the good frames already
received are still given out, none of them is acknowledged, and the session asks to close.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from protocols.omnicomm.decoder import ARCHIVE_DATA, HEADER, LIVE_DATA, WIFI_DATA
from protocols.omnicomm.fields import EPOCH
from protocols.omnicomm.framing import CHECKSUM_SIZE, HEADER_SIZE, MARKER, MAX_PAYLOAD, Piece, Splitter, server_frame
from protocols.records import Close, Event, Frame, Login, Malformed, Message, Quarantined, Reply

IDENTIFICATION, ARCHIVE_REQUEST, DELETE_REQUEST, WIFI_RECEIVED = 0x80, 0x85, 0x87, 0xA0
TIME_REQUEST, TIME_ANSWER = 0x93, 0x94

_ERASED = b"\x88"
_DATA = frozenset((ARCHIVE_DATA, LIVE_DATA, WIFI_DATA))
_MEMBERS = HEADER.size  # where the first message's length stands
_MAX_TIME = 0xFFFFFFFF
# A terminal waits for the answer to its login; one that goes on sending is no terminal. One whole frame, every byte of
# it escaped, is more than any sends ahead.
_MAX_WAITING = 2 * (HEADER_SIZE + MAX_PAYLOAD + CHECKSUM_SIZE) + 1


class _State(Enum):
    WAIT_LOGIN = 1
    ASKED = 2
    RECEIVE = 3
    CLOSED = 4


_RECEIVE = _State.RECEIVE  # looked up once: it is asked for with each read


class OmnicommSession:
    """The server's side of a connection; see the module for what answers what."""

    __slots__ = ("_close_due", "_closed", "_damaged_at", "_ended", "_identity", "_splitter", "_state")

    def __init__(self, *, transport: str = "tcp", max_frame: int | None = None) -> None:
        if transport != "tcp":
            raise ValueError(f"Omnicomm speaks TCP only, not {transport!r}")
        self._splitter = Splitter(MAX_PAYLOAD if max_frame is None else min(max_frame, MAX_PAYLOAD))
        self._state = _State.WAIT_LOGIN
        self._identity = b""
        self._damaged_at: int | None = None
        self._close_due = False  # a Close is owed at the end of this call
        self._closed = False  # it was given
        self._ended = False

    def run(self, data: bytes) -> Frame | None:
        """One frame with data, behind the word that the last ones were erased; their sizes vary."""
        splitter = self._splitter
        if self._state is not _RECEIVE or self._close_due or not splitter.idle:
            return None
        words = data.split(MARKER, 3)
        if words[0] or not 2 <= len(words) <= 3 or (len(words) == 3 and splitter.alone(words[1])[:1] != _ERASED):
            return None
        raw = words[-1]
        body = splitter.alone(raw)
        if len(body) <= HEADER_SIZE + CHECKSUM_SIZE or body[0] not in _DATA:
            return None
        size = len(data)
        return Frame(body, _members(body), splitter.skip(size) + size - len(raw) - 1)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; after a `Login` they wait for `accept` or `refuse`."""
        if self._state is _State.CLOSED:
            return []
        if self._state is _State.ASKED and len(self._splitter) > _MAX_WAITING:
            return self._reject("length", 0)
        self._splitter.feed(data)
        return self._events([], now)

    def accept(self, now: float) -> Sequence[Event]:
        """Ask for the archive from its start (what was acknowledged is erased there), then go on."""
        if self._state is not _State.ASKED:
            return []
        self._state = _State.RECEIVE
        return self._events([_archive_request()], now)

    def refuse(self) -> Sequence[Event]:
        """The protocol has no word for it: close in silence."""
        self._state = _State.CLOSED
        return [Close("refused")]

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """87 or A0 with the container's own number: the terminal may overwrite all up to and including it."""
        del quarantined  # committed like the rest: the answer is the same
        data = item.data
        if (
            type(item) is Message
            or len(data) < HEADER_SIZE + 4 + CHECKSUM_SIZE
            or (self._damaged_at is not None and item.offset >= self._damaged_at)
        ):
            return b""
        rec_id = data[HEADER_SIZE : HEADER_SIZE + 4]
        return server_frame(WIFI_RECEIVED if data[0] == WIFI_DATA else DELETE_REQUEST, rec_id)

    def end_of_stream(self) -> Sequence[Event]:
        """The peer closed; a frame cut short is told, as soon as the login before it is decided."""
        self._ended = True
        return self._events([], 0) if self._state is not _State.ASKED else []

    def ask_version(self) -> bytes:
        """The login has told the firmware already."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """What remote configuration this channel has, if any, is not public."""
        return b""

    def _events(self, events: list[Event], now: float) -> list[Event]:
        while self._state in (_State.WAIT_LOGIN, _State.RECEIVE):
            piece = self._splitter.next()
            if piece is None and self._ended:
                piece = self._splitter.rest()
            if piece is None:
                break
            if piece.damage:
                events.append(Malformed(piece.damage, piece.offset))
                self._close_due = True
                if self._damaged_at is None:
                    self._damaged_at = piece.offset
            elif self._state is _State.WAIT_LOGIN:
                events += self._login(piece)
            else:
                events += self._event(piece, now)
        if self._close_due and not self._closed and self._state is not _State.ASKED:
            self._closed = True
            events.append(Close("damage: its acks would release it"))
        return events

    def _login(self, piece: Piece) -> Sequence[Event]:
        if piece.body[0] != IDENTIFICATION:
            return self._reject("login", piece.offset)
        self._state = _State.ASKED
        self._identity = piece.body[HEADER_SIZE : HEADER_SIZE + 4]
        firmware = piece.body[HEADER_SIZE + 4 : HEADER_SIZE + 8]
        return [
            Login(
                str(int.from_bytes(self._identity, "little")),
                firmware=str(int.from_bytes(firmware, "little")),
            )
        ]

    def _event(self, piece: Piece, now: float) -> Sequence[Event]:
        body = piece.body
        command = body[0]
        if command in _DATA:
            if len(body) == HEADER_SIZE + CHECKSUM_SIZE:
                return ()
            return [Frame(body, _members(body), piece.offset)]
        if command == TIME_REQUEST:
            return [Reply(time_answer(now))]
        if command == IDENTIFICATION:
            if body[HEADER_SIZE : HEADER_SIZE + 4] != self._identity:
                return self._reject("login", piece.offset)
            return [_archive_request()]
        return ()

    def _reject(self, reason: str, offset: int) -> list[Event]:
        """Nothing of this connection can be believed any more."""
        self._state = _State.CLOSED
        self._closed = True
        return [Malformed(reason, offset), Close(reason)]


def _members(body: bytes) -> int:
    """How many messages the container claims to hold."""
    end = len(body) - CHECKSUM_SIZE
    if end > _MEMBERS and _MEMBERS + 2 + (body[_MEMBERS] | body[_MEMBERS + 1] << 8) == end:
        return 1
    at, count = _MEMBERS, 0
    while at < end:
        at += 2 + (body[at] | body[at + 1] << 8)
        count += 1
    return count


def _archive_request() -> Reply:
    return Reply(server_frame(ARCHIVE_REQUEST, bytes(4)))


def time_answer(now: float) -> bytes:
    """94 with the server's time, in seconds since 2009."""
    return server_frame(TIME_ANSWER, min(max(int(now) - EPOCH, 0), _MAX_TIME).to_bytes(4, "little"))


def new_session(*, transport: str = "tcp", max_frame: int | None = None) -> OmnicommSession:
    """A session for one TCP connection.

    Raises
    ------
    ValueError
        If asked for another transport.
    """
    return OmnicommSession(transport=transport, max_frame=max_frame)
