"""One connection of Wialon Combine: login, packets of data, signs of life; answers name their packet.

    24 24 00 … → 40 40 00 number, or 40 40 01 and the end
    24 24 01 … → 40 40 00 number, after the commit
    24 24 02   → 40 40 00 number

A packet whose checksum fails is answered 4 and skipped by its length; where no packet begins the connection ends, since
nothing says where the next one does. What neither store nor spool takes is answered 3. A command has no number and no
answer of its own: the next driver's message is taken for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from protocols.records import Close, Event, Frame, Login, Malformed, Message, Quarantined, Reply
from protocols.wialon_combine import wire
from protocols.wialon_combine.walk import count, messages

_NUMBERS = {1: 2, 2: 4, 3: 8}  # of types of identities and passwords
_STRING = 4
_LONGEST = 64
_DATA = wire.HEAD + bytes((wire.DATA,))
_BEFORE, _SHORT = 7, 0x7FFF  # bytes in front of data whose length takes two, and the most of it


class CombineSession:
    """A TCP connection, or a datagram; sans-IO."""

    __slots__ = ("_asked", "_buffer", "_closed", "_max", "_name", "_now", "_number", "_offset", "_unanswered",
                 "_waiting")  # fmt: skip

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self._max = min(max_frame or wire.MAX_DATA, wire.MAX_DATA)
        self._name = ""
        self._number = 0  # of the login
        self._now = 0
        self._waiting = self._closed = self._asked = False
        self._unanswered: deque[Frame] = deque()

    def run(self, data: bytes) -> Frame | None:
        """A command is stamped with the time of the read before it, which is told only where a read is received."""
        return None

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        if self._closed:
            return ()
        self._now = int(now)
        if not self._buffer and (frame := self._usual(data)) is not None:
            return (frame,)
        self._buffer += data
        if self._waiting:
            if len(self._buffer) > self._max + 16:  # nothing is owed to a terminal that does not wait for its login
                return self._end(Malformed("length", self._offset))
            return ()
        return self._parse()

    def _usual(self, data: bytes) -> Frame | None:
        """A read that is one good packet of data, as nearly all are; None: it is read a packet at a time."""
        size = len(data) - _BEFORE - 2
        if (
            not 0 <= size <= min(self._max, _SHORT)
            or data[:3] != _DATA
            or data[5] << 8 | data[6] != size
            or not self._name
            or self._waiting
            or self._asked
            or wire.crc16(data[:-2]) != (data[-2] << 8 | data[-1])
        ):
            return None
        frame = Frame(data, count(data, _BEFORE, len(data) - 2), self._offset)
        self._offset += len(data)
        self._unanswered.append(frame)
        return frame

    def _parse(self) -> list[Event]:
        events: list[Event] = []
        buffer, at = self._buffer, 0
        while at < len(buffer) and not self._waiting and not self._closed:
            used = self._packet(buffer, at, events)
            if not used:
                break
            at += used
        self._offset += at
        if self._closed:
            buffer.clear()
        else:
            del buffer[:at]
        return events

    def _packet(self, buffer: bytearray, at: int, events: list[Event]) -> int:
        """Bytes of the packet there; 0: it is not whole."""
        head = bytes(buffer[at : at + 12])
        offset = self._offset + at
        if not wire.HEAD.startswith(head[:2]):
            events += self._end(Malformed("structure", offset))
            return 0
        try:
            kind, place = wire.ext(head, 2, 1)
            if kind > wire.ALIVE:
                events += self._end(Malformed("structure", offset))
                return 0
            number = int.from_bytes(head[place : place + 2], "big")
            place += 2
            if kind == wire.ALIVE:
                if place > len(head):
                    return 0
                events.append(Reply(wire.answer(wire.ACCEPTED, number)))
                return place
            size, place = wire.ext(head, place, 2)
        except IndexError:
            return 0
        if size > self._max:
            events += self._end(Malformed("length", offset))
            return 0
        if len(buffer) - at < place + size + 2:
            return 0
        packet = bytes(buffer[at : at + place + size + 2])
        if wire.crc16(packet[:-2]) != int.from_bytes(packet[-2:], "big"):
            events += [Malformed("checksum", offset), Reply(wire.answer(wire.CHECKSUM, number))]
        elif kind == wire.LOGIN:
            self._login(packet[place:-2], number, offset, events)
        elif not self._name:
            events += [Malformed("login", offset), Reply(wire.answer(wire.DENIED, number)), *self._end()]
        else:
            self._data(packet, place, offset, events)
        return len(packet)

    def _data(self, packet: bytes, place: int, offset: int, events: list[Event]) -> None:
        if self._asked:
            texts = [
                packet[value.at : value.end - 1]
                for one in messages(packet, place, len(packet) - 2)
                for value in one.values
                if value.kind == wire.MESSAGE
            ]
            if texts:
                self._asked = False
                events.append(Message(texts[0], texts[0].decode("utf-8", "replace"), "message", offset, answer=True))
        frame = Frame(packet, count(packet, place, len(packet) - 2), offset)
        self._unanswered.append(frame)
        events.append(frame)

    def _login(self, data: bytes, number: int, offset: int, events: list[Event]) -> None:
        name, password = _read_login(data)
        if not name or (self._name and name != self._name):
            events += [Malformed("login", offset), Reply(wire.answer(wire.DENIED, number)), *self._end()]
        elif self._name:
            events.append(Reply(wire.answer(wire.ACCEPTED, number)))
        else:
            self._name, self._number, self._waiting = name, number, True
            events.append(Login(name, password=password))

    def _end(self, damage: Malformed | None = None) -> list[Event]:
        self._closed = True
        return [*([damage] if damage is not None else []), Close("damaged" if damage is not None else "refused")]

    def accept(self, now: float) -> Sequence[Event]:
        """Code 0, then what waited behind the login."""
        self._waiting = False
        return [Reply(wire.answer(wire.ACCEPTED, self._number)), *self._parse()]

    def refuse(self) -> Sequence[Event]:
        """Code 1."""
        self._waiting, self._closed = False, True
        self._buffer.clear()
        return [Reply(wire.answer(wire.DENIED, self._number)), Close("refused")]

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """Code 0 and the packet's number; what cannot be read is kept too, and there is no word for a part."""
        if type(item) is not Frame:
            return b""
        if self._unanswered and (self._unanswered[0] is item or self._unanswered[0] == item):
            self._unanswered.popleft()
            return wire.answer(wire.ACCEPTED, _number(item.data))
        return b""

    def decline(self) -> bytes:
        """Code 3 for all that is unanswered: it is not stored."""
        unanswered, self._unanswered = self._unanswered, deque()
        self._closed = True
        return b"".join([wire.answer(wire.NOT_STORED, _number(frame.data)) for frame in unanswered])

    def end_of_stream(self) -> Sequence[Event]:
        """A packet cut by the close is `truncated`."""
        if self._closed or not self._buffer:
            return ()
        self._closed = True
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """There is no such question."""
        return b""

    def encode_command(self, text: str) -> bytes:
        """A text command, stamped with the time that was told last."""
        if self._closed or self._waiting or not self._name:
            return b""
        self._asked = True
        return wire.command(text, self._now & 0xFFFF_FFFF)


def _number(packet: bytes) -> int:
    at = 4 if packet[2] & 0x80 else 3
    return int.from_bytes(packet[at : at + 2], "big")


def _read_login(data: bytes) -> tuple[str, str | None]:
    """Identity and password; an empty identity: it is none."""
    try:
        _, at = wire.ext(data, 0, 1)  # the version
        flags = data[at]
        name, at = _told(data, at + 1, flags >> 4)
        password = None
        if flags & 15:
            password, at = _told(data, at, flags & 15)
    except (IndexError, UnicodeDecodeError):
        return "", None
    name = name.strip()
    good = at == len(data) and len(name) <= _LONGEST and name.isprintable()
    return (name if good else ""), password


def _told(data: bytes, at: int, kind: int) -> tuple[str, int]:
    size = _NUMBERS.get(kind)
    if size is not None and at + size <= len(data):
        return str(int.from_bytes(data[at : at + size], "big")), at + size
    stop = data.find(0, at)
    if kind != _STRING or stop < 0:
        raise IndexError
    return data[at:stop].decode("utf-8"), stop + 1
