"""One JT/T 808 connection: registration and authentication, data, answers to commands.

::

    NEW --0100--> accept: 8100 and a code
        --0102 right code--> accept: 8001 result 0 --> OPEN
        --0102 wrong code, anything else--> 8001 result 1, close     with `check_auth` off anything is a login
    OPEN  0200 0201 0704  Frame; after its commit 8001 result 0, where it could not be decoded result 2
          0002 0003 0004  8001, 8001 and close, the time
          0801            kept as it is; after its commit 8800
          others          kept as they are; after their commit 8001 result 0, of what cannot be read result 3

The code is an HMAC of the identity with the instance's secret: nobody keeps it, every gateway on one store knows it.
Acks name their message, so damage never blocks what comes behind it. A message in packages is one frame when it is
whole, and each of its packages is acknowledged after the commit; what is missing is asked for by 8003.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from protocols.instants import bcd
from protocols.jt808.commands import encode, parameters_text
from protocols.jt808.declaration import attributes_of, authentication_of, register_of
from protocols.jt808.packages import MAX_MESSAGE, Assembly
from protocols.jt808.wire import (
    ASK_ATTRIBUTES,
    ASK_LOCATION,
    ASK_PARAMETERS,
    ASK_SOME,
    ATTRIBUTES,
    AUTHENTICATE,
    BATCH,
    FAILURE,
    FLAG,
    HEARTBEAT,
    LOCATION,
    LOCATION_ANSWER,
    LOGOUT,
    MAX_ESCAPED,
    MAX_PACKAGE,
    MEDIA,
    MEDIA_ANSWER,
    MISSING,
    PARAMETERS,
    PLATFORM_REPLY,
    REGISTER,
    REGISTERED,
    REPLY,
    SHORTEST,
    SUCCESS,
    TIME,
    TIME_ANSWER,
    UNSUPPORTED,
    WRONG,
    Head,
    escape,
    gbk,
    head_of,
    identity_of,
    package,
    packages,
    printable,
    unescape,
    xor,
)
from protocols.records import Close, Event, Frame, Identified, Login, Malformed, Message, Quarantined, Reply, imei_of

_LIVE, _MANY = LOCATION.to_bytes(2, "big"), BATCH.to_bytes(2, "big")
_RECORDS = frozenset((LOCATION, LOCATION_ANSWER, BATCH))
_ANSWERS = {PARAMETERS: (ASK_PARAMETERS, ASK_SOME), ATTRIBUTES: (ASK_ATTRIBUTES,), LOCATION_ANSWER: (ASK_LOCATION,)}
_RESULT = (b"\0", b"\1", b"\2", b"\3")  # as a reply has it
_RESULTS = {0: "done", 1: "failed", 2: "wrong message", 3: "not supported"}
_MAX_DAMAGED = 16  # damaged frames in a row: nobody speaks JT/T 808 here
_MAX_WAITING = 4 * MAX_ESCAPED  # ahead of the answer to the login
_MAX_ASKED = 100  # missing packages in one request
_CODE = 16  # hexadecimal digits of an authentication code: 64 bits
_SECRET, _LOCATED, _KEPT = "encrypted", "location", ""  # kinds of messages with an answer of their own
_SHORTEST_LOCATION = SHORTEST + 28


def _shown(body: bytes, *, new: bool) -> list[Identified]:
    """What an authentication tells besides its code, since 2019."""
    found = authentication_of(body, new=new) if new else None
    if found is None:
        return []
    imei = imei_of(found["imei"].rstrip(b"\0").decode("ascii", "replace"), certain=True)
    told = Identified(printable(found["version"]), imei=imei)
    return [told] if told.facts else []


def auth_code(secret: bytes, identity: str) -> str:
    """The code that a terminal is given, and shows at each connection."""
    return hmac.new(secret, b"jt808 " + identity.encode(), hashlib.sha256).hexdigest()[:_CODE]


class Jt808Session:
    """A TCP connection, sans-IO."""

    __slots__ = (
        "_asked", "_assembly", "_body", "_buffer", "_check", "_closed", "_damaged", "_inside", "_mark", "_most", "_new",
        "_now", "_offset", "_open", "_pending", "_phone", "_scanned", "_secret", "_serial", "_skipping", "_unanswered",
        "_version", "_waiting",
    )  # fmt: skip

    def __init__(self, *, max_frame: int | None = None, secret: bytes = b"", check_auth: bool = False) -> None:
        self._most = min(max_frame or MAX_PACKAGE, MAX_PACKAGE)
        self._secret = secret
        self._check = check_auth
        self._buffer = bytearray()
        self._offset = 0  # of the buffer's first byte in the stream
        self._scanned = 0  # bytes of the buffer without a flag
        self._inside = False  # the buffer begins behind a flag
        self._skipping = False  # behind what was too long, until the next flag
        self._damaged = 0
        self._phone = b""
        self._version = 0
        self._new = False
        self._mark, self._body = 0, 12  # of the terminal's own edition: its bit, and where a body begins
        self._serial = 0
        self._open = False  # authenticated
        self._waiting: tuple[Head, bytes, bytes, int] | None = None  # the login that waits for its answer
        self._closed = False
        self._assembly: Assembly | None = None
        self._asked: tuple[int, int, bool] | None = None  # message, serial of the command out, whether it is a text
        self._pending = False  # a login of this connection was given out
        self._now = 0.0
        self._unanswered: list[list[Any]] = []  # bytes of what was given out, its frames, how many of them are left

    # -- the interface ------------------------------------------------------------------------------------------

    def run(self, data: bytes) -> Frame | None:
        """One message with locations, or several live ones of one size that nothing in them is escaped of."""
        if self._buffer or not self._ready:
            return None
        size = data.find(b"~", 1) + 1
        if data[:1] != b"~" or size < _SHORTEST_LOCATION + 2:
            return None
        end = len(data)
        if size == end:
            return self._single(data)
        if size > self._most + 2 or end % size or b"\x7d" in data:
            return None
        head = data[1:5]
        pieces = []
        for at in range(0, end, size):
            one = data[at + 1 : at + size - 1]
            if data[at] != FLAG or data[at + size - 1] != FLAG or one[:4] != head or FLAG in one or xor(one):
                return None
            if one[:2] != _LIVE or not self._plain(one):
                return None
            pieces.append(one)
        found = Frame(b"".join(pieces), 1, self._offset, 0, len(pieces))
        self._offset += end
        self._damaged = 0
        self._unanswered.append([found.data, found.count, found.count])
        return found

    def _single(self, data: bytes) -> Frame | None:
        """A message of this terminal in one package that holds locations; None: it is not that, or damaged."""
        package = unescape(data[1:-1])
        if package is None or not _SHORTEST_LOCATION <= len(package) <= self._most or xor(package):
            return None
        if not self._plain(package):
            return None
        if package[:2] == _LIVE:
            records = 1
        elif package[:2] == _MANY:
            records = _counted(package[self._body :], len(package) - self._body)
        else:
            return None
        found = Frame(package, records, self._offset)
        self._offset += len(data)
        self._damaged = 0
        self._unanswered.append([package, 1, 1])
        return found

    def _plain(self, package: bytes) -> bool:
        """Of this terminal and edition, whole, neither encrypted nor a part, and as long as it says."""
        properties, start = package[2], self._body
        return (
            properties & 0x7C == self._mark
            and package[start - 2 - len(self._phone) : start - 2] == self._phone
            and (properties & 3) << 8 | package[3] == len(package) - start - 1
        )

    @property
    def _ready(self) -> bool:
        """Between two messages, behind the login."""
        return self._open and self._inside and not (self._skipping or self._closed or self._waiting)

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        self._now = now
        if self._closed:
            return ()
        end = len(data) - 1
        if not self._buffer and end > _SHORTEST_LOCATION and data.find(b"~", 1) == end and self._ready:
            found = self._single(data) if data[0] == FLAG else None
            if found is not None:
                return (found,)
        self._buffer += data
        if self._waiting is not None:
            if len(self._buffer) > _MAX_WAITING:
                self._waiting = None
                return self._end([Malformed("length", self._offset, "too much before the login was decided")])
            return ()
        return self._given(self._parse([]))

    def accept(self, now: float) -> Sequence[Event]:
        """The login's own answer, then what waited behind it."""
        self._now = now
        login, self._waiting = self._waiting, None
        if login is None:
            return ()
        head, body, whole, offset = login
        events: list[Event] = []
        if head.id == REGISTER:
            events.append(self._registered(head))
            self._open = not self._check
        elif head.id == AUTHENTICATE:
            self._open = True
            events.append(self._general(head, SUCCESS))
            events += _shown(body, new=head.new)
        else:
            self._open = True
            self._message(head, body, whole, offset, events)
        return self._given(self._parse(events))

    def refuse(self) -> Sequence[Event]:
        """8100 result 4, no such terminal; 8001 result 1 to anything else."""
        login, self._waiting = self._waiting, None
        if login is None:
            return self._end([])
        head = login[0]
        if head.id == REGISTER:
            return self._end([self._reply(REGISTERED, head.serial.to_bytes(2, "big") + b"\x04")], "refused")
        return self._end([self._general(head, FAILURE)], "refused")

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """8001 for each package of the frame, 8800 for a picture; a frame that cannot be decoded is kept, result 2."""
        self._settled(item.count)
        result = SUCCESS
        if quarantined and (any(told.data is None for told in quarantined) or self._bad_single(item, quarantined)):
            result = WRONG
        if isinstance(item, Message):
            if item.kind == _LOCATED:
                return b""
            if item.kind == "media":
                return self._media(item.data)
            result = UNSUPPORTED if item.kind in (_SECRET, "unknown") else SUCCESS
        elif item.count == 1 and item.data[2] & 0x7C == self._mark:  # one package, as `_plain`
            data, at = item.data, self._body - 2
            return self._said(PLATFORM_REPLY, data[at : at + 2] + data[:2] + _RESULT[result])
        return b"".join([self._general(head, result).data for head in _heads(item.data)])

    def decline(self) -> bytes:
        """8001 result 1 to all that is unanswered: the terminal keeps it."""
        out = b""
        for data, count, left in self._unanswered:
            heads = _heads(data)
            out += b"".join([self._general(head, FAILURE).data for head in (heads[-left:] if count > 1 else heads)])
        self._unanswered = []
        return out

    def end_of_stream(self) -> Sequence[Event]:
        """A frame cut by the close is `truncated`."""
        if self._assembly is not None:
            self._assembly.clear()
        if self._closed or self._waiting is not None or not self._buffer or self._skipping:
            return ()
        self._closed = True
        if not self._inside:
            return (Malformed("structure", self._offset),)
        return (Malformed("truncated", self._offset - 1),)

    def ask_version(self) -> bytes:
        """0x8107: attributes tell model and firmware."""
        if not self._open or self._closed:
            return b""
        return escape(package(ASK_ATTRIBUTES, self._phone, 0, version=self._version if self._new else 0))

    def encode_command(self, text: str) -> bytes:
        """See `commands`; its serial number tells its answer."""
        if not self._open or self._closed:
            return b""
        message, body = encode(text, new=self._new)
        told = self._reply(message, body).data
        self._asked = message, self._serial, message not in (ASK_ATTRIBUTES, ASK_PARAMETERS, ASK_SOME, ASK_LOCATION)
        return told

    def _given(self, events: list[Event]) -> list[Event]:
        """Remember what has to be answered."""
        for event in events:
            if isinstance(event, Frame | Message):
                self._unanswered.append([b"" if getattr(event, "kind", "") == _LOCATED else event.data, 1, 1])
        return events

    def _settled(self, count: int) -> None:
        """So many frames, the oldest, have their answer."""
        waiting = self._unanswered
        if waiting and waiting[0][2] == count:  # as nearly always
            del waiting[0]
            return
        while count and waiting:
            done = min(count, waiting[0][2])
            waiting[0][2] -= done
            count -= done
            if not waiting[0][2]:
                del waiting[0]

    # -- bytes to frames ----------------------------------------------------------------------------------------

    def _parse(self, events: list[Event]) -> list[Event]:
        buffer = self._buffer
        begin = 0
        while not self._closed and self._waiting is None:
            flag = buffer.find(b"~", max(begin, self._scanned))
            self._scanned = 0
            if flag < 0:
                if len(buffer) - begin > MAX_ESCAPED:
                    if not self._skipping:
                        self._wrong(
                            "length" if self._inside else "structure", self._offset + begin - self._inside, events
                        )
                        self._skipping = True
                    begin = len(buffer)
                break
            segment = bytes(buffer[begin:flag])
            at, begin = self._offset + begin - 1, flag + 1
            if self._skipping:
                self._skipping = False
            elif segment and not self._inside:
                self._wrong("structure", at + 1, events)
            elif segment:
                self._package(segment, at, events)
            self._inside = True
        if self._closed:
            buffer.clear()
            return events
        self._offset += begin
        del buffer[:begin]
        self._scanned = len(buffer) if self._waiting is None else 0
        return events

    def _wrong(self, reason: str, offset: int, events: list[Event], detail: str = "") -> None:
        events.append(Malformed(reason, offset, detail))
        self._damaged += 1
        if self._damaged >= _MAX_DAMAGED:
            self._end(events, "damaged")

    def _package(self, segment: bytes, offset: int, events: list[Event]) -> None:
        data = unescape(segment)
        if data is None:
            self._wrong("structure", offset, events, "7D before neither 01 nor 02")
            return
        if not SHORTEST <= len(data) <= self._most:
            self._wrong("length", offset, events)
            return
        if xor(data):
            self._wrong("checksum", offset, events)
            return
        head = head_of(data)
        if head is None or head.size != len(data):
            self._wrong("length", offset, events, "not the header's length")
            return
        self._damaged = 0
        if self._phone and head.phone != self._phone:
            events.append(Malformed("login", offset, "another phone number on the same connection"))
            self._end(events, "login")
            return
        body = data[head.start : -1]
        if head.several:
            if self._assembly is None:
                self._assembly = Assembly(min(MAX_MESSAGE, max(self._most, 1) * 1024))
            told = self._assembly.take(head, data, offset, self._now)
            if told is None:
                events.append(Malformed("structure", offset, "a package of no message"))
                events.append(self._general(head, WRONG))
                return
            if isinstance(told, list):
                if told and self._open:
                    events.append(self._missing(head, told))
                return
            data, offset = told
            whole = packages(data) or []
            head, body = whole[0][0], b"".join([part for _, part in whole])
        self._message(head, body, data, offset, events)

    # -- messages -----------------------------------------------------------------------------------------------

    def _message(self, head: Head, body: bytes, data: bytes, offset: int, events: list[Event]) -> None:
        if head.id == REGISTER or head.id == AUTHENTICATE or not self._open:
            self._login(head, body, data, offset, events)
        elif head.encrypted:
            events.append(Message(data, None, _SECRET, offset))
        elif head.id in _RECORDS:
            events.append(Frame(data, _counted(body, len(body)) if head.id == BATCH else 1, offset))
            if head.id == LOCATION_ANSWER and self._answers(head, body):
                events.append(Message(data, "located: its place is among the records", _LOCATED, offset, True))
        elif head.id == HEARTBEAT:
            events.append(self._general(head, SUCCESS))
        elif head.id == LOGOUT:
            events.append(self._general(head, SUCCESS))
            self._end(events, "logout")
        elif head.id == TIME:
            events.append(self._reply(TIME_ANSWER, bcd(self._now)))
        else:
            events += self._kept(head, body, data, offset)

    def _kept(self, head: Head, body: bytes, data: bytes, offset: int) -> list[Event]:
        """What is neither record nor greeting: evidence, and the answers to commands."""
        kind, text, answer = f"0x{head.id:04x}", None, None
        told: list[Event] = []
        if head.id == REPLY and len(body) == 5:
            answer = self._replied(body)
            text = f"0x{body[2]:02x}{body[3]:02x}: {_RESULTS.get(body[4], f'result {body[4]}')}"
        elif head.id == ATTRIBUTES:
            found = attributes_of(body, new=head.new)
            if found is not None:
                card = found.iccid.hex().rstrip("f")
                card = card if card.strip("0") else ""
                told.append(Identified(printable(found.firmware), printable(found.model), iccid=card or None))
                text = (
                    f"maker {gbk(found.maker)}, model {gbk(found.model)}, terminal {gbk(found.terminal)}, "
                    f"ICCID {found.iccid.hex()}, hardware {gbk(found.hardware)}, firmware {gbk(found.firmware)}"
                )
            answer = True if self._asked is None or self._answers(head, body) else None
        elif head.id == PARAMETERS:
            text = parameters_text(body)
            answer = True if self._answers(head, body) else None
        elif head.id == MEDIA and len(body) >= 4:
            kind = "media"
        elif not 0x0001 <= head.id <= 0x0FFF:
            kind = "unknown" if head.id >> 12 != 6 else kind  # some makers answer texts by 6006
        return [Message(data, text, kind, offset, answer), *told]

    def _replied(self, body: bytes) -> bool | None:
        """A general reply: of the command that is out, unless one of its own is to come."""
        serial, message, result = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big"), body[4]
        if self._asked is None or self._asked[:2] != (message, serial):
            return None
        if result == SUCCESS and not self._asked[2]:
            return None
        self._asked = None
        return result == SUCCESS

    def _answers(self, head: Head, body: bytes) -> bool:
        """Whether it is the answer that the command which is out has of its own."""
        asked = self._asked
        if asked is None or asked[0] not in _ANSWERS[head.id]:
            return False
        if head.id != ATTRIBUTES and int.from_bytes(body[:2], "big") != asked[1]:
            return False
        self._asked = None
        return True

    def _login(self, head: Head, body: bytes, data: bytes, offset: int, events: list[Event]) -> None:
        identity = identity_of(head.phone)
        self._phone, self._new = head.phone, head.new
        self._version = head.version or 1 if head.new else 0
        self._mark, self._body = (0x40, 17) if head.new else (0, 12)
        code = authentication_of(body, new=head.new) if head.id == AUTHENTICATE else None
        if head.id == AUTHENTICATE and code is None:
            events.append(Malformed("login", offset, "an authentication that is none"))
            events.append(self._general(head, WRONG))
            self._end(events, "login")
            return
        if self._check and head.id != REGISTER:
            shown = code["code"] if code is not None else b""
            if not hmac.compare_digest(shown, auth_code(self._secret, identity).encode()):
                why = "not its authentication code" if code is not None else "nothing before the authentication"
                events.append(Malformed("login", offset, why))
                events.append(self._general(head, FAILURE))
                self._end(events, "login")
                return
        if self._pending:  # of the same terminal, which is in already
            if head.id == REGISTER:
                events.append(self._registered(head))
            else:
                self._open = True
                if head.id == AUTHENTICATE:
                    events.append(self._general(head, SUCCESS))
                    events += _shown(body, new=head.new)
                else:
                    self._message(head, body, data, offset, events)
            return
        self._pending = True
        self._waiting = head, body, data, offset
        firmware = model = None
        if head.id == REGISTER:
            found = register_of(body, new=head.new)
            model = printable(found.model) if found is not None else None
        elif head.new and code is not None:
            firmware = printable(code["version"])
        events.append(Login(identity, firmware=firmware, model=model))

    # -- what is said -------------------------------------------------------------------------------------------

    def _said(self, message: int, body: bytes) -> bytes:
        self._serial = self._serial % 0xFFFF + 1  # 0 is the question for the version
        return escape(package(message, self._phone, self._serial, body, version=self._version if self._new else 0))

    def _reply(self, message: int, body: bytes) -> Reply:
        return Reply(self._said(message, body))

    def _general(self, head: Head, result: int) -> Reply:
        return self._reply(
            PLATFORM_REPLY, head.serial.to_bytes(2, "big") + head.id.to_bytes(2, "big") + bytes((result,))
        )

    def _registered(self, head: Head) -> Reply:
        code = auth_code(self._secret, identity_of(head.phone)).encode()
        return self._reply(REGISTERED, head.serial.to_bytes(2, "big") + b"\0" + code)

    def _missing(self, head: Head, numbers: list[int]) -> Reply:
        """The packages to send again, by the serial of the first of their message."""
        first = (head.serial - head.number + 1) & 0xFFFF
        asked = numbers[:_MAX_ASKED]
        count = len(asked).to_bytes(2 if self._new else 1, "big")
        return self._reply(MISSING, first.to_bytes(2, "big") + count + b"".join([n.to_bytes(2, "big") for n in asked]))

    def _media(self, data: bytes) -> bytes:
        whole = packages(data) or []
        return self._reply(MEDIA_ANSWER, b"".join([part for _, part in whole])[:4]).data

    @staticmethod
    def _bad_single(item: Frame | Message, quarantined: Sequence[Quarantined]) -> bool:
        """Whether the one record of a frame is in quarantine: a batch's other records are stored."""
        return bool(quarantined) and isinstance(item, Frame) and item.data[:2] != _MANY

    def _end(self, events: list[Event], reason: str = "damaged") -> list[Event]:
        self._closed = True
        self._buffer.clear()
        if self._assembly is not None:
            self._assembly.clear()
        events.append(Close(reason))
        return events


def _counted(body: bytes, size: int) -> int:
    """How many locations a batch of so many bytes says it holds, as far as that may be."""
    return max(1, min(body[0] << 8 | body[1] if size > 1 else 1, size // 30))


def _heads(data: bytes) -> list[Head]:
    """The headers of packages that lie end to end."""
    found, at = [], 0
    while (head := head_of(data, at)) is not None:
        found.append(head)
        at += head.size
    return found


def new_session(
    transport: str = "tcp", max_frame: int | None = None, *, secret: bytes = b"", check_auth: bool = False
) -> Jt808Session:
    """A session for one TCP connection; without `check_auth` any terminal is who it says it is.

    Raises
    ------
    ValueError
        If asked for another transport.
    """
    if transport != "tcp":
        raise ValueError(f"JT/T 808 is spoken over TCP here, not {transport!r}")
    return Jt808Session(max_frame=max_frame, secret=secret, check_auth=check_auth)
