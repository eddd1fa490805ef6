"""One H02 connection or datagram.

V1 and its kin, $ …    Frame; text is answered V4 with its time after the commit, binary has no answer
LINK, HTBT             answered at once, in its turn
V4                     the answer to a command, by the command it names
others                 kept as they are
"""

from __future__ import annotations

from datetime import UTC, datetime

from protocols.h02.declaration import HEAD, LARGE, PLACE, SHORT, word
from protocols.records import Event, Frame, Message, Reply
from protocols.selfnamed import MAX_MESSAGE, SelfNamedSession, Splitter

_BEATS = frozenset((b"LINK", b"HTBT"))
_PLACES = frozenset((b"V1", b"V6"))
_STARTS = b"*$X\r\n"


def _binary(buffer: bytearray, at: int) -> int:
    """The size of a binary message: the short one if another begins behind it, or nothing is there yet."""
    if buffer[at] != ord("$"):
        return -1
    left = len(buffer) - at
    if left < SHORT:
        return 0
    if left == SHORT or buffer[at + SHORT] in _STARTS:
        return SHORT
    return LARGE if left >= LARGE else 0


class H02Session(SelfNamedSession):
    """See the module."""

    def __init__(self, *, udp: bool = False, max_frame: int | None = None) -> None:
        super().__init__(Splitter(b"*", b"#", min(max_frame or MAX_MESSAGE, MAX_MESSAGE), _binary), udp=udp)
        self._asked = b""  # the command that is out
        self._usual = b""  # how the last place began, up to where its fields begin

    def _named(self, data: bytes) -> str:
        if data[:1] == b"$":
            return data[1:6].hex() if data[1:6].hex().isdecimal() else ""
        found = HEAD.match(data)
        return found[2].decode("ascii") if found else ""

    def _is_record(self, data: bytes) -> bool:
        if self._usual and data.startswith(self._usual):
            return True
        head = HEAD.match(data)
        if head is None or head[3] not in _PLACES or head[2].decode("ascii") != self._terminal:
            return False
        self._usual = data[: head.end() + 1]
        return True

    def _event(self, data: bytes, offset: int) -> list[Event]:
        if data[:1] == b"$":
            return [Frame(data, 1, offset)]
        head = HEAD.match(data)
        kind = head[3] if head else b""
        if kind in _BEATS:
            return [Reply(word(self._terminal, "V4", kind.decode("ascii"), self._stamp()))]
        if kind == b"V4":
            told = data[head.end() + 1 :].split(b",")[0].rstrip(b"#") if head else b""
            answer = bool(self._asked) and told == self._asked
            if answer:
                self._asked = b""
            return [Message(data, _text(data), "answer", offset, answer or None)]
        if kind in _PLACES or PLACE.fullmatch(data):
            return [Frame(data, 1, offset)]
        return [Message(data, _text(data), kind.decode("ascii"), offset)]

    def _answer(self, item: Frame | Message) -> bytes:
        """V4 with the kind and the time of the message; one that cannot be decoded is kept, and answered with ours."""
        head = HEAD.match(item.data) if isinstance(item, Frame) else None
        if head is None:
            return b""
        found = PLACE.fullmatch(item.data)
        if found is None:
            stamp = self._stamp().encode("ascii")
        else:
            hour, minute, second, day, month, year = found.group(2, 3, 4, 12, 13, 14)
            stamp = b"20%b%b%b%b%b%b" % (year, month, day, hour, minute, second)
        return b"*HQ,%b,V4,%b,%b#" % (head[2], head[3], stamp)

    def encode_command(self, text: str) -> bytes:
        """``D1,5,1``: the command, ours time of day, what it takes."""
        if not self._speaks:
            return b""
        command, *fields = text.strip().split(",")
        self._asked = command.encode("ascii")
        return word(self._terminal, command, self._stamp()[8:], *fields)

    def _stamp(self) -> str:
        return f"{datetime.fromtimestamp(self._now, UTC):%Y%m%d%H%M%S}"


def _text(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace")


def new_session(transport: str = "tcp", max_frame: int | None = None) -> H02Session:
    """A session for a connection, or over UDP for one datagram."""
    return H02Session(udp=transport == "udp", max_frame=max_frame)
