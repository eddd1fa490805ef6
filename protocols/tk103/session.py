"""One TK103 connection or datagram.

BP00       AP01HSO, at once, in its turn
BP05       Frame where it holds a place; AP05 after its commit
places     Frame; no answer
others     kept as they are; Bxyz answers the command Axyz
"""

from __future__ import annotations

import re

from protocols.records import Event, Frame, Identified, Message, Reply, imei_of
from protocols.selfnamed import MAX_MESSAGE, SelfNamedSession, Splitter
from protocols.tk103.declaration import HEAD, PLACE, word

_HANDSHAKE, _LOGIN = b"BP00", b"BP05"
_PLACES = re.compile(  # one after the other, each what `PLACE` takes: behind the course stands anything
    rb"(?:\([0-9]{12}[A-Z][A-Z0-9]{3}(?:[0-9]{15}|[0-9])??\d{6}[AV]\d{4}\.\d{1,4}[NS]\d{5}\.\d{1,4}[EW]"
    rb"\d{1,3}\.\d{8}[^()]*\))+"
)


class Tk103Session(SelfNamedSession):
    """See the module."""

    def __init__(self, *, udp: bool = False, max_frame: int | None = None) -> None:
        super().__init__(Splitter(b"(", b")", min(max_frame or MAX_MESSAGE, MAX_MESSAGE)), udp=udp)
        self._asked = b""  # what the command that is out is answered by
        self._usual = b""  # how the last record began, up to its date: one that begins so is no more than a record

    def _named(self, data: bytes) -> str:
        found = HEAD.match(data)
        return found[1].decode("ascii") if found else ""

    def _is_record(self, data: bytes) -> bool:
        place = PLACE.fullmatch(data)
        if place is None or place[1].decode("ascii") != self._terminal or place[2] in (self._asked, _HANDSHAKE):
            return False
        if place[2] == _LOGIN and place[3] and imei_of(place[3].decode("ascii")):
            return False
        self._usual = data[: place.start(5)] if place[2] != _LOGIN or place[3] else b""  # an IMEI could follow
        return True

    def _are_records(self, data: bytes, size: int) -> bool:
        if self._usual and self._usual[13:17] != self._asked and data.count(self._usual) * size == len(data):
            return _PLACES.fullmatch(data) is not None
        return super()._are_records(data, size)

    def _event(self, data: bytes, offset: int) -> list[Event]:
        command = data[13:17]
        place = PLACE.fullmatch(data)
        if command == self._asked:
            self._asked = b""
            told: list[Event] = [Frame(data, 1, offset)] if place else []
            return [*told, Message(data, data.decode("ascii", "backslashreplace"), "answer", offset, True)]
        if command == _HANDSHAKE:
            return [Reply(word(self._terminal, "AP01", "HSO"))]
        if place is not None:
            imei = imei_of(place[3].decode("ascii")) if place[3] and command == _LOGIN else None  # it may be the id
            return [Frame(data, 1, offset), *([Identified(imei=imei)] if imei else [])]
        return [Message(data, data.decode("ascii", "backslashreplace"), command.decode("ascii"), offset)]

    def _answer(self, item: Frame | Message) -> bytes:
        """AP05 for a BP05; other messages have no answer."""
        if item.data[13:17] != _LOGIN:
            return b""
        return b"(%bAP05)" % item.data[1:13]

    def encode_command(self, text: str) -> bytes:
        """``AR0000050000``: the command's four characters and what it takes."""
        if not self._speaks:
            return b""
        words = text.strip()
        self._asked = b"B" + words[1:4].encode("ascii")
        return word(self._terminal, words)


def new_session(transport: str = "tcp", max_frame: int | None = None) -> Tk103Session:
    """A session for a connection, or over UDP for one datagram."""
    return Tk103Session(udp=transport == "udp", max_frame=max_frame)
