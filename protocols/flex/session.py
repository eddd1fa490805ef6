"""One connection, sans-IO.

::

    WAIT_LOGIN --*>S:IMEI--> ASKED --accept, *<S--> LOGGED_IN --*>FLEX, *<FLEX--> READY
    READY   ~A ~T ~C ~E ~X   Frame; after its commit the same letter with its count or index
            7F               idle: nothing
            *#… *@… *Z…      the answer to a command: Message, no answer

What records are made of is agreed upon by `*>FLEX` and holds for the connection; no length is told besides. So behind
a checksum that fails nothing tells where the next message begins: the connection ends, and what came before it is
acknowledged still.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from protocols.flex.decoder import MORE, MORE_URGENT, URGENT, record_size
from protocols.flex.fields import TACHOGRAPH_FLAGS, selected
from protocols.flex.wire import HEADER, PREAMBLE, PROTOCOL, VERSIONS, Selection, ntcb, sealed, whole, xor
from protocols.records import (
    Close,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Reply,
)

MAX_FRAME = 65_536  # a device sends 1.3 KB at most; 255 records of any fields it may choose would be 160 KB
MAX_BODY = 4096  # of an NTCB message
PING = 0x7F
LETTERS = b"ATCEX"
_SERVICE = b"QIUORFNGDLPMS"  # words of services that nobody asked for: nothing tells how long they are
_IMEI = 15
_MAX_WAITING = 4 * MAX_BODY
_VERSION = "*?V"
_CARD = re.compile(r"\*#ICCID\W*([0-9]{18,20}[fF]?)\W*", re.ASCII)  # the answer to *?ICCID
_ACKED = {b"~A": 3, MORE: 3, URGENT: 6, MORE_URGENT: 6}  # bytes of a word that its ack repeats


class _State(Enum):
    WAIT_LOGIN = 1
    ASKED = 2
    LOGGED_IN = 3
    READY = 4
    CLOSED = 5


class FlexSession:
    """A TCP connection."""

    __slots__ = (
        "_buffer", "_imei", "_max_frame", "_offered", "_offset", "_prefix", "_receiver", "_selection", "_sender",
        "_settled", "_size", "_state",
    )  # fmt: skip

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._state = _State.WAIT_LOGIN
        self._buffer: bytes = b""
        self._offset = 0  # of the buffer's first byte in the whole stream
        self._imei = ""
        self._receiver, self._sender = 0, 1  # ids of answers: those of the login the other way round
        self._offered = False  # another version, once
        self._selection = Selection(0, b"")
        self._prefix = b""
        self._size = 0  # of a record
        self._settled = True  # how long field 100 is, if it is selected
        self._max_frame = min(max_frame or MAX_FRAME, MAX_FRAME)

    def run(self, data: bytes) -> Frame | None:
        """One ~A, as devices mostly send."""
        if self._state is not _State.READY or self._buffer or not self._settled or data[:2] != b"~A" or len(data) < 4:
            return None
        if len(data) != 4 + data[2] * self._size or not data[2] or len(data) > self._max_frame or not whole(data):
            return None
        offset = self._offset
        self._offset = offset + len(data)
        return Frame(self._prefix + data, data[2], offset)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        if self._state is _State.CLOSED:
            return ()
        self._buffer = self._buffer + data if self._buffer else data
        if self._state is _State.ASKED:
            if len(self._buffer) > _MAX_WAITING:
                return self._end(Malformed("length", self._offset, "too much before its login was answered"))
            return ()
        return self._events()

    def _events(self) -> list[Event]:
        events: list[Event] = []
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while at < end and self._state not in (_State.ASKED, _State.CLOSED):
            first = buffer[at]
            if first == PING and self._imei:
                used = 1
            elif first == PREAMBLE[0]:
                used = self._message(buffer, at, events)
            elif first == 0x7E and self._imei:
                used = self._word(buffer, at, events)
            else:
                used = self._refuse(events, "structure" if self._imei else "login", at, f"{first:02x} begins nothing")
            if not used:
                break
            at += used
        self._offset += at
        self._buffer = b"" if self._state is _State.CLOSED else buffer[at:]
        return events

    # -- NTCB -----------------------------------------------------------------------------------------------------

    def _message(self, buffer: bytes, at: int, events: list[Event]) -> int:
        head = buffer[at : at + HEADER]
        if not PREAMBLE.startswith(head[:4]):
            return self._refuse(events, "structure" if self._imei else "login", at, "no preamble")
        if len(head) < HEADER:
            return 0
        if xor(head[:15]) != head[15]:
            return self._refuse(events, "checksum", at, "of a header")
        size = int.from_bytes(head[12:14], "little")
        if size > MAX_BODY:
            return self._refuse(events, "length", at, f"a message of {size} bytes")
        body = buffer[at + HEADER : at + HEADER + size]
        if len(body) < size:
            return 0
        if xor(body) != head[14]:
            events.append(Malformed("checksum", self._offset + at))
            if not self._imei:
                return self._refuse(events, "", at, "")
        elif not self._body(body, head, at, events):
            return 0
        return HEADER + size

    def _body(self, body: bytes, head: bytes, at: int, events: list[Event]) -> bool:
        """What a message says; False: the connection ends."""
        if body.startswith(b"*>S:"):
            return self._login(body[4:], head, at, events)
        if not self._imei:
            return bool(self._refuse(events, "login", at, "the first message is to be *>S: with the IMEI"))
        if not body:  # an empty message keeps the connection
            return True
        if body.startswith(b"*>FLEX"):
            return self._negotiate(body, at, events)
        if body.startswith(b"*>CODE"):
            events += (Malformed("unsupported", self._offset + at, "encryption"), Reply(self._said(b"*<CODE\0")))
        elif body.startswith((b"*>A", b"*>T")):
            events.append(Malformed("unsupported", self._offset + at, "formats F1 to F6 have no place beside FLEX"))
        else:
            events += _said(body, self._offset + at)
        return True

    def _login(self, imei: bytes, head: bytes, at: int, events: list[Event]) -> bool:
        if len(imei) != _IMEI or not imei.isdigit():
            return bool(self._refuse(events, "login", at, "an IMEI has fifteen digits"))
        name = imei.decode("ascii")
        if self._imei and name != self._imei:
            return bool(self._refuse(events, "login", at, "another IMEI on the same connection"))
        self._receiver, self._sender = int.from_bytes(head[8:12], "little"), int.from_bytes(head[4:8], "little")
        if self._imei:
            events.append(Reply(self._said(b"*<S")))
            return True
        self._imei = name
        self._state = _State.ASKED
        events.append(Login(name))
        return True

    def _negotiate(self, body: bytes, at: int, events: list[Event]) -> bool:
        protocol, version, structure, bits = (*body[6:10], 0, 0, 0, 0)[:4]
        mask = body[10:]
        if len(body) < 10 or protocol != PROTOCOL or not bits or len(mask) != (bits + 7) // 8:
            return bool(self._refuse(events, "structure", at, "an agreement on FLEX that is none"))
        if version not in VERSIONS or structure not in VERSIONS:
            if self._offered:
                return bool(self._refuse(events, "unsupported", at, f"FLEX {version:02x}.{structure:02x}"))
            self._offered = True
            best = VERSIONS[-1]
            events.append(Reply(self._said(bytes((*b"*<FLEX", PROTOCOL, best, best)))))
            return True
        selection = Selection(bits, mask)
        if not record_size(selection):
            return bool(self._refuse(events, "structure", at, "no field is selected"))
        self._take(selection)
        self._settled = TACHOGRAPH_FLAGS not in selected(bits, mask)
        self._state = _State.READY
        events.append(Reply(self._said(bytes((*b"*<FLEX", PROTOCOL, version, structure)))))
        return True

    def _take(self, selection: Selection) -> None:
        self._selection, self._prefix, self._size = selection, selection.prefix, record_size(selection)

    def _said(self, body: bytes) -> bytes:
        return ntcb(body, self._receiver, self._sender)

    # -- FLEX -----------------------------------------------------------------------------------------------------

    def _word(self, buffer: bytes, at: int, events: list[Event]) -> int:
        letter = buffer[at + 1 : at + 2]
        if not letter:
            return 0
        if letter not in LETTERS:
            known = letter in _SERVICE
            return self._refuse(events, "unsupported" if known else "structure", at, f"word ~{letter.hex()}")
        if self._state is not _State.READY:
            return self._refuse(events, "structure", at, "telemetry before the agreement on FLEX")
        if letter in b"EX":
            size, records = _extra_size(buffer, at)
        else:
            size, records = self._plain_size(buffer, at, letter)
        if size < 0:
            return self._refuse(events, "structure", at, "no records, or a length that cannot be")
        if size > self._max_frame:
            return self._refuse(events, "length", at, "")
        if not self._settled and letter in b"ATC" and size:
            size = self._settle(buffer, at, size, records)
        if not size or len(buffer) - at < size:
            return 0
        data = buffer[at : at + size]
        if not whole(data):
            return self._refuse(events, "checksum", at, "")
        events.append(Frame(self._prefix + data, records, self._offset + at))
        return size

    def _plain_size(self, buffer: bytes, at: int, letter: bytes) -> tuple[int, int]:
        """How long the word is, 0: not known yet, negative: nonsense; and how many records it has."""
        if letter == b"A":
            if len(buffer) - at < 3:
                return 0, 0
            records = buffer[at + 2]
            return (4 + records * self._size if records else -1), records
        return (7 if letter == b"T" else 3) + self._size, 1

    def _settle(self, buffer: bytes, at: int, size: int, records: int) -> int:
        """Find out by the first checksum whether field 100 has one byte; 0: more bytes would tell."""
        if len(buffer) - at >= size and whole(buffer[at : at + size]):
            self._settled = True
            return size
        less = size - records
        behind = buffer[at + less : at + less + 1]
        if len(buffer) - at >= less and whole(buffer[at : at + less]) and (not behind or behind in b"~@\x7f"):
            self._settled = True
            self._take(Selection(self._selection.bits, self._selection.mask, True))
            return less
        return size if len(buffer) - at >= size else 0

    def _refuse(self, events: list[Event], reason: str, at: int, detail: str) -> int:
        self._state = _State.CLOSED
        if reason:
            events.append(Malformed(reason, self._offset + at, detail))
        events.append(Close("damaged"))
        return 0

    def _end(self, damage: Malformed) -> list[Event]:
        self._state = _State.CLOSED
        self._buffer = b""
        return [damage, Close("damaged")]

    # -- what the gateway says ------------------------------------------------------------------------------------

    def accept(self, now: float) -> Sequence[Event]:
        """*<S, then what waited behind the login."""
        if self._state is not _State.ASKED:
            return ()
        self._state = _State.LOGGED_IN
        return [Reply(self._said(b"*<S")), *self._events()]

    def refuse(self) -> Sequence[Event]:
        """Silence is the protocol's word for it; then close."""
        self._state = _State.CLOSED
        self._buffer = b""
        return (Close("refused"),)

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """The same letter with the same count or index; a frame in quarantine is kept too."""
        if not isinstance(item, Frame):
            return b""
        data = item.data
        at = 2 + (data[1] + 7) // 8  # behind the agreement
        return sealed(data[at : at + _ACKED.get(data[at : at + 2], 2)])

    def end_of_stream(self) -> Sequence[Event]:
        """A message cut by the close is `truncated`."""
        if self._state is _State.CLOSED or not self._buffer:
            return ()
        self._state = _State.CLOSED
        return (Malformed("truncated", self._offset),)

    def ask_version(self) -> bytes:
        """`*?V`: model and firmware."""
        return self.encode_command(_VERSION)

    def encode_command(self, text: str) -> bytes:
        """A message of NTCB; its answer has no number, so one command is to be outstanding at a time."""
        if self._state not in (_State.LOGGED_IN, _State.READY):
            return b""
        return self._said(text.encode("cp1251"))


def _extra_size(buffer: bytes, at: int) -> tuple[int, int]:
    """As `_plain_size`, for additional records, each of which tells its length."""
    urgent = buffer[at + 1 : at + 2] == b"X"
    head = 6 if urgent else 3
    if len(buffer) - at < head:
        return 0, 0
    records = 1 if urgent else buffer[at + 2]
    if not records:
        return -1, 0
    end = at + head
    for _ in range(records):
        if len(buffer) < end + 2:
            return 0, records
        total = int.from_bytes(buffer[end : end + 2], "little")
        if total < 39:
            return -1, records
        end += 2 + total
        if end - at > MAX_FRAME:
            break
    return end + 1 - at, records


def _said(body: bytes, offset: int) -> list[Event]:
    """A text of the device: the answer to a command, or whatever it has to say."""
    try:
        text: str | None = body.decode("cp1251")
    except UnicodeDecodeError:
        text = None
    if text is not None and any(ord(c) < 32 and c not in "\r\n\t" for c in text):
        text = None
    answer = True if body.startswith((b"*#", b"*@")) else False if body.startswith(b"*Z") else None
    events: list[Event] = [Message(body, text, "ntcb", offset, answer)]
    if text is not None and text.startswith("*#V:"):
        told = text[4:].split(":")
        if len(told) >= 2:
            events.append(Identified(told[1][:64] or None, told[0][:64] or None))
    card = _CARD.fullmatch(text or "")
    if card is not None:
        events.append(Identified(iccid=card[1].lower().rstrip("f")))
    return events
