"""One EGTS connection: a terminal that names itself, or a relay whose records name their own.

    APPDATA  AUTH: TERM_IDENTITY … → RESPONSE at once, RESULT_CODE when it is let in
             TELEDATA, ECALL       → RESPONSE with a RECORD_RESPONSE for each record, after the commit
             COMMANDS              → the same; a confirmation of ours is an answer
    RESPONSE of the terminal       → heard, not answered

Damage: a header whose checksum fails is answered 137 by the number that it claims, and what follows is looked through
for the next header; data whose checksum fails 138. Each packet is answered by its number, so the connection goes on.
What is unanswered when neither store nor spool takes it is answered 156: the terminal keeps it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocols.egts import auth, commands, wire
from protocols.egts.shapes import own
from protocols.egts.walk import PACKET, RECORDS, REMAINDER
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

_SMALLEST = wire.HEAD + 2 + 7 + 3  # a packet with one record of one empty subrecord
_crc8, _crc16 = wire.crc8, wire.crc16
_NO_NUMBER = -1  # equals no OID


@dataclass(slots=True, eq=False)
class _Open:
    """A packet that is answered when all its parts are; `told` are [record number, service, result] in its order."""

    number: int
    parts: int = 0
    result: int = wire.OK
    told: list[list[int]] = field(default_factory=list)


class EgtsSession:
    """A TCP connection, sans-IO."""

    __slots__ = (
        "_asks", "_buffer", "_cid", "_closed", "_held", "_identity", "_largest", "_lost", "_max", "_name", "_number",
        "_offset", "_oid", "_open", "_questions", "_ready", "_relay", "_result", "_rn", "_unanswered", "_waiting",
    )  # fmt: skip

    def __init__(self, *, max_frame: int | None = None) -> None:
        self._buffer: bytes | bytearray = b""
        self._offset = 0  # of the buffer's first byte in the whole stream
        self._max = min(max_frame or wire.MAX_PACKET, wire.MAX_PACKET)
        self._identity: auth.Identity | None = None
        self._name = ""  # who logged in
        self._oid = _NO_NUMBER  # the same, as records have it
        self._waiting = False  # for accept or refuse
        self._closed = False
        self._ready = False  # nothing is open, and nobody but who logged in was heard of
        self._relay = False
        self._lost = False  # looking for the next header
        self._number = self._rn = 1  # of our next packet and record
        self._cid = 0
        self._largest = wire.MAX_PACKET  # what the terminal takes
        self._asks = False  # whether it may be asked for its version
        self._questions: dict[int, int] = {}  # record number → CID of a command that may still be refused
        self._held: list[Event] = []  # behind a login in the same packet
        self._result = b""
        self._open: dict[int, _Open] = {}  # by offset
        self._unanswered: deque[Frame | _Open] = deque()

    # -- reading ------------------------------------------------------------------------------------------------

    def run(self, data: bytes) -> Frame | None:
        """Whole packets of one size with nothing but records of who logged in."""
        end = len(data)
        if not self._ready or end < _SMALLEST or data[3] != wire.HEAD or data[9] != wire.APPDATA:
            return None
        size = (data[5] | data[6] << 8) + wire.HEAD + 2
        if end % size or size > self._max or data[0] != 1 or data[2] & 0xFC or data[4]:
            return None
        records = 0
        named = False
        for at in range(0, end, size):
            last = at + size - 2
            if (
                (at and (data[at : at + 7] != data[:7] or data[at + 9] != wire.APPDATA))
                or _crc8(data[at : at + 10]) != data[at + 10]
                or _crc16(body := data[at + 11 : last]) != (data[last] | data[last + 1] << 8)
            ):
                return None
            count, its = own(body, self._oid)
            if not count or (at and (count != records or its != named)):
                return None
            records, named = count, its
        frame = Frame(data, records, self._offset, PACKET, end // size, self._name if named else "")
        self._offset += end
        self._unanswered.append(frame)
        return frame

    def receive_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Consume bytes; damage is an event in its place."""
        if self._closed:
            return ()
        if self._ready and len(data) > _SMALLEST and (data[5] | data[6] << 8) + wire.HEAD + 2 == len(data):
            frame = self.run(data)
            if frame is not None:
                return (frame,)
        if type(self._buffer) is bytearray:
            self._buffer += data
        else:
            self._buffer = self._buffer + data if self._buffer else data
        self._cid = max(self._cid, int(now) & 0x7FFF_FFFF)  # so that one of an earlier connection is not this one's
        if self._waiting:
            if len(self._buffer) > self._max:  # nothing is owed to a terminal that does not wait for its login
                return [*self._end(Malformed("length", self._offset))]
            return ()
        return self._parse()

    def _parse(self) -> list[Event]:
        events: list[Event] = []
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while at < end and not self._waiting and not self._closed:
            if self._lost:
                at += self._look(buffer, at)
                if self._lost:
                    break
            else:
                used = self._packet(buffer, at, events)
                if used == 0:
                    break
                at += used
        self._offset += at
        if at == end or self._closed:
            self._buffer = b""
        elif type(buffer) is bytearray:
            del buffer[:at]
        else:
            self._buffer = bytearray(buffer[at:])
        open_ = self._buffer or self._waiting or self._closed or self._relay or self._lost
        self._ready = bool(self._name) and not open_
        return events

    def _look(self, buffer: bytes | bytearray, at: int) -> int:
        """How many bytes are no header; what follows is one, or else may become one."""
        found = buffer.find(1, at)
        while found >= 0:
            left = len(buffer) - found
            if left < 4:
                break
            size = buffer[found + 3]
            if size in (wire.HEAD, wire.ROUTED_HEAD) and not buffer[found + 2] & 0xC0:
                if left < size:
                    break
                if wire.crc8(bytes(buffer[found : found + size - 1])) == buffer[found + size - 1]:
                    self._lost = False
                    break
            found = buffer.find(1, found + 1)
        return found - at if found >= 0 else len(buffer) - at

    def _packet(self, buffer: bytes | bytearray, at: int, events: list[Event]) -> int:
        left = len(buffer) - at
        if left < 4:
            if buffer[at] != 1:
                return self._lose(Malformed("structure", self._offset + at), events)
            return 0
        size = buffer[at + 3]
        if size not in (wire.HEAD, wire.ROUTED_HEAD):
            return self._lose(Malformed("structure", self._offset + at), events)
        if left < size:
            return 0
        head = bytes(buffer[at : at + size])
        number = head[7] | head[8] << 8
        if wire.crc8(head[:-1]) != head[-1]:
            if head[0] == 1:
                events.append(self._refusal(number, wire.HEADER_CRC))
            return self._lose(Malformed("checksum", self._offset + at), events)
        length = head[5] | head[6] << 8
        whole = size + length + (2 if length else 0)
        if whole > self._max:
            events.append(self._refusal(number, wire.INV_LENGTH))
            events += self._end(Malformed("length", self._offset + at))
            return 0
        if left < whole:
            return 0
        packet = bytes(buffer[at : at + whole])
        self._read(packet, size, number, self._offset + at, events)
        return whole

    def _lose(self, damage: Malformed, events: list[Event]) -> int:
        """Not where a packet begins: the next byte may be."""
        events.append(damage)
        self._lost = True
        return 1

    def _read(self, packet: bytes, size: int, number: int, offset: int, events: list[Event]) -> None:
        """A packet whose header is good."""
        body = packet[size:-2] if len(packet) > size else b""
        kind = packet[9]
        reason, result = "", wire.OK
        if body and wire.crc16(body) != int.from_bytes(packet[-2:], "little"):
            reason, result = "checksum", wire.DATA_CRC
        elif packet[0] != 1 or packet[2] & 0xC0:
            reason, result = "unsupported", wire.UNS_PROTOCOL
        elif (size == wire.ROUTED_HEAD) != bool(packet[2] & 0x20):
            reason, result = "structure", wire.INC_HEADER
        elif packet[2] & 0x18:
            reason, result = "unsupported", wire.DECRYPT_ERROR
        elif packet[2] & 0x04 or kind > wire.SIGNED:
            reason, result = "unsupported", wire.UNS_TYPE
        if reason:
            events.append(Malformed(reason, offset))
            if kind != wire.RESPONSE:
                events.append(self._refusal(number, result))
        elif kind == wire.RESPONSE:
            self._response(body, offset, events)
        elif not body:  # a sign of life
            events.append(self._refusal(number, wire.OK))
        else:
            self._appdata(packet, number, offset, events)

    # -- packets ------------------------------------------------------------------------------------------------

    def _appdata(self, packet: bytes, number: int, offset: int, events: list[Event]) -> None:
        begin, end = wire.span(packet)
        records, bad = wire.records(packet, begin, end)
        entry = _Open(number)
        found: dict[str, list[wire.Record]] = {}
        texts: list[Message] = []
        learnt: list[Event] = []
        identity: auth.Identity | None = None
        damage = ""
        for one in records:
            data = packet[one.at : one.end]
            if data[:1] == b"\0":  # what we sent is confirmed: that is confirmed no more
                self._confirmed(data, offset, texts)
                continue
            service = one.service
            if service == wire.COMMANDS_BY_TEXT and data[:1] == bytes((wire.COMMAND_DATA,)):
                service = wire.COMMANDS
            result = wire.OK
            if service == wire.AUTH:
                told = auth.read(data)
                if told is None:
                    result, damage = wire.INC_DATA, "login"
                else:
                    identity = told if identity is None else identity.and_(told)
                    learnt += self._services(told)
            elif service in wire.DATA:
                name = "" if one.oid is None else str(one.oid)
                name = name or self._name or (identity.name if identity else "")
                if name:
                    found.setdefault(name, []).append(one)
                else:
                    result, damage = wire.AUTH_DENIED, damage or "login"
            elif self._name or (identity and identity.name):
                texts += self._texts(service, data, offset, learnt)
            else:
                result, damage = wire.AUTH_DENIED, damage or "login"
            entry.told.append([one.number, one.service, result])
        if bad >= 0:
            entry.result = wire.INC_DATA
        frames = self._frames(packet, offset, found, records, begin, end, bad, identity)
        if bad >= 0 and not any(frame.variant == REMAINDER for frame in frames):
            damage = damage or "structure"
        parts: list[Event] = [*frames, *texts, *learnt]
        if damage:
            events.append(Malformed(damage, offset))
        entry.parts = len(frames) + len(texts)
        stands_alone = len(frames) == 1 and not texts and frames[0].variant == PACKET and not identity
        if stands_alone:
            self._unanswered.append(frames[0])
        elif entry.parts:
            self._open[offset] = entry
            self._unanswered.append(entry)
        else:
            events.append(Reply(self._answer(entry)))
        if identity is None:
            events += parts
        else:
            self._log_in(identity, offset, parts, events)

    def _frames(
        self,
        packet: bytes,
        offset: int,
        found: dict[str, list[wire.Record]],
        records: Sequence[wire.Record],
        begin: int,
        end: int,
        bad: int,
        identity: auth.Identity | None,
    ) -> list[Frame]:
        """The data of a packet, a frame for each terminal; whole where it is one terminal's and nothing else."""
        own = self._name or (identity.name if identity else "")
        frames = []
        for name, its in found.items():
            named = any(one.oid is not None for one in its)
            if name != own:
                self._relay = True
            if len(its) == len(records) and bad < 0 and len(found) == 1:
                return [Frame(packet, len(its), offset, PACKET, 1, name if named else "")]
            data = b"".join([wire.alone(packet, one) for one in its])
            frames.append(Frame(data, len(its), offset, RECORDS, 1, name if named else ""))
        if bad >= 0 and (own or frames):  # whose it is nobody can tell: the last one's before it
            last = own if not frames else (frames[-1].terminal or own)
            frames.append(Frame(packet[bad:end], 1, offset, REMAINDER, 1, "" if last == own else last))
        return frames

    def _log_in(self, identity: auth.Identity, offset: int, parts: list[Event], events: list[Event]) -> None:
        if not identity.name:
            if identity.asked:  # a terminal without a number: who provisions it is not here
                events.append(self._outcome(wire.ID_UNKNOWN))
                events += self._end(Malformed("login", offset))
                return
            if identity.firmware is not None and self._name:
                events.append(Identified(identity.firmware))
            events += parts
        elif self._name == identity.name:  # it begins anew
            events += [*identity.told, *parts, Reply(self._let_in())]
        elif self._name:
            events.append(self._outcome(wire.AUTH_DENIED))
            events += self._end(Malformed("login", offset, "another terminal on the same connection"))
        else:
            self._name = identity.name
            self._identity = identity
            self._oid = _NO_NUMBER if identity.number is None else identity.number
            self._largest = identity.largest or wire.MAX_PACKET
            self._asks = identity.firmware is None and identity.number is not None
            self._waiting = True
            self._held = [*identity.told, *parts]
            events.append(Login(identity.name, firmware=identity.firmware))

    def _services(self, told: auth.Identity) -> list[Event]:
        """Which of the services that it asks for there are."""
        if not told.services:
            return []
        answer = b"".join([auth.service(one) for one in told.services])
        return [Reply(self._send(wire.AUTH, answer))]

    def _texts(self, service: int, data: bytes, offset: int, learnt: list[Event]) -> list[Message]:
        """Answers to commands, messages; of a service that is not known here the record as it is."""
        if service != wire.COMMANDS:
            return [Message(data, None, f"service {service}", offset)]
        found = []
        for kind, body in wire.subrecords(data):
            told = commands.heard(body) if kind == wire.COMMAND_DATA else None
            if told is None:
                found.append(Message(body, None, f"subrecord {kind}", offset))
                continue
            answer = None
            if told.kind == commands.MESSAGE_CONFIRMS and told.result != commands.IN_PROGRESS:
                asked = [number for number, cid in self._questions.items() if cid == told.cid]
                for number in asked:
                    del self._questions[number]
                answer = told.result == commands.DONE if asked else None
                if told.code == commands.FIRMWARE_VERSION and told.result == commands.DONE and told.text:
                    learnt.append(Identified(told.text[:64]))
            found.append(Message(told.data, told.text, "command" if answer is not None else "message", offset, answer))
        return found

    def _response(self, body: bytes, offset: int, events: list[Event]) -> None:
        """The terminal confirms what we sent."""
        if not body:
            return
        if len(body) < 3:
            events.append(Malformed("structure", offset))
            return
        records, bad = wire.records(body, 3, len(body))
        if bad >= 0:
            events.append(Malformed("structure", offset))
        texts: list[Message] = []
        for one in records:
            self._confirmed(body[one.at : one.end], offset, texts)
        events += texts

    def _confirmed(self, data: bytes, offset: int, texts: list[Message]) -> None:
        """RECORD_RESPONSE: a command of ours that is refused will have no other answer."""
        for kind, body in wire.subrecords(data):
            if kind != wire.RECORD_RESPONSE or len(body) < 3 or body[2] in (wire.OK, wire.IN_PROGRESS):
                continue
            if self._questions.pop(body[0] | body[1] << 8, None) is not None:
                texts.append(Message(body, f"EGTS result code {body[2]}", "command", offset, answer=False))

    # -- writing ------------------------------------------------------------------------------------------------

    def _next(self, records: int) -> tuple[int, int]:
        """Numbers of our next packet, and of its first record; never 0, which the version's question has."""
        number, first = self._number, self._rn
        self._number = self._number % 0xFFFF + 1
        self._rn = (self._rn + records - 1) % 0xFFFF + 1
        return number, first

    def _send(self, service: int, data: bytes) -> bytes:
        number, first = self._next(1)
        return wire.packet(number, wire.APPDATA, wire.record(first, service, data))

    def _refusal(self, number: int, result: int) -> Reply:
        """A packet is answered as such, none of its records."""
        return Reply(wire.response(self._next(0)[0], 0, number, result, ()))

    def _answer(self, entry: _Open) -> bytes:
        number, first = self._next(len(entry.told))
        return wire.response(number, first, entry.number, entry.result, entry.told)  # type: ignore[arg-type]

    def _outcome(self, code: int) -> Reply:
        return Reply(self._send(wire.AUTH, wire.subrecord(wire.RESULT_CODE, bytes((code,)))))

    def _let_in(self) -> bytes:
        told = wire.subrecord(wire.RESULT_CODE, b"\0")
        if self._identity is not None and not self._identity.simple:
            told += auth.service(wire.TELEDATA) + auth.service(wire.COMMANDS)
        return self._send(wire.AUTH, told)

    def accept(self, now: float) -> Sequence[Event]:
        """RESULT_CODE 0, then what waited behind the login."""
        self._waiting = False
        held, self._held = self._held, []
        return [Reply(self._let_in()), *held, *self._parse()]

    def refuse(self) -> Sequence[Event]:
        """RESULT_CODE 153: nobody here knows this terminal."""
        self._waiting = False
        self._closed = True
        self._buffer, self._held = b"", []
        return [self._outcome(wire.ID_UNKNOWN), Close("refused")]

    def acknowledge(self, item: Frame | Message, quarantined: Sequence[Quarantined] = ()) -> bytes:
        """RESPONSE with a result for each record; of a packet in several parts with the last of them."""
        if not quarantined:
            if item.count == 1 and self._unanswered and self._unanswered[0] is item and item.records == 1:
                data, begin = item.data, item.data[3]
                if data[9] == wire.APPDATA:
                    self._unanswered.popleft()
                    body = begin + 7 + 4 * (data[begin + 4] & 7).bit_count()
                    return wire.confirmation(
                        *self._next(1), data[7] | data[8] << 8, data[begin + 2] | data[begin + 3] << 8, data[body - 2]
                    )
            return self._settle(item, {})
        codes = dict(one.code.split(":") for one in quarantined if one.code)
        return self._settle(item, {int(number): int(code) for number, code in codes.items()})

    def reject(self, item: Frame) -> bytes:
        """146: nobody here knows the object that these records are of."""
        return self._settle(item, dict.fromkeys(_numbers(item), wire.OBJECT_UNKNOWN))

    def _settle(self, item: Frame | Message, codes: dict[int, int]) -> bytes:
        if type(item) is Frame and item.variant == PACKET and item.offset not in self._open:
            if self._unanswered and self._unanswered[0] is item:
                self._unanswered.popleft()
            elif item in self._unanswered:
                self._unanswered.remove(item)
            elif not self._taken(item):
                return b""
            if item.count == 1:
                return self._answer(_whole(item, codes))
            return b"".join([self._answer(_whole(single, codes)) for single in item.singles()])
        entry = self._open.get(item.offset)
        if entry is None:
            return b""
        for told in entry.told:
            told[2] = codes.get(told[0], told[2])
        entry.parts -= 1
        if entry.parts:
            return b""
        del self._open[item.offset]
        self._unanswered.remove(entry)
        return self._answer(entry)

    def _taken(self, item: Frame) -> bool:
        """Whether it is one of a run that was taken apart; the run goes with its last one."""
        first = self._unanswered[0] if self._unanswered else None
        if type(first) is not Frame or not first.offset <= item.offset < first.offset + len(first.data):
            return False
        if item.offset + len(item.data) == first.offset + len(first.data):
            self._unanswered.popleft()
        return True

    def decline(self) -> bytes:
        """156 for every record that is unanswered: the terminal keeps them."""
        unanswered, self._unanswered = self._unanswered, deque()
        self._open.clear()
        self._closed = True
        entries: list[_Open] = []
        for one in unanswered:
            entries += [_whole(single, {}) for single in one.singles()] if isinstance(one, Frame) else [one]
        for entry in entries:
            entry.result = wire.NO_RESOURCES
            for told in entry.told:
                told[2] = wire.NO_RESOURCES
        return b"".join([self._answer(entry) for entry in entries])

    def _end(self, damage: Malformed | None = None) -> list[Event]:
        self._closed = True
        return [*([damage] if damage is not None else []), Close("damaged" if damage is not None else "refused")]

    def end_of_stream(self) -> Sequence[Event]:
        """A packet cut by the close is `truncated`; what was looked through is told already."""
        if self._closed or not self._buffer or self._lost:
            return ()
        self._closed = True
        return (Malformed("truncated", self._offset),)

    # -- commands -----------------------------------------------------------------------------------------------

    def ask_version(self) -> bytes:
        """For the firmware's version, of a terminal that did not tell it; packet, record and command 0 are this one."""
        if self._closed or self._waiting or not self._asks:
            return b""
        self._questions[0] = 0
        typed = commands.Typed(1, commands.FIRMWARE_VERSION, b"")
        return wire.packet(0, wire.APPDATA, wire.record(0, wire.COMMANDS, commands.build(typed, 0)))

    def encode_command(self, text: str) -> bytes:
        """COMMAND_DATA; empty also where it is more than the terminal takes at once."""
        if self._closed or self._waiting or self._identity is None or self._identity.number is None:
            return b""
        data = commands.build(commands.read(text), self._cid + 1)
        if len(data) + 7 + wire.HEAD + 2 > self._largest:
            return b""
        self._cid += 1
        self._questions = {self._rn: self._cid} | ({0: 0} if 0 in self._questions else {})
        return self._send(wire.COMMANDS, data)


def _numbers(frame: Frame) -> list[int]:
    return [number for number, _ in _numbered(frame)]


def _numbered(frame: Frame) -> list[tuple[int, int]]:
    """Number and service of each record."""
    data, found = frame.data, []
    at, end = wire.span(data) if frame.variant == PACKET else (0, len(data))
    while end - at >= 7:
        body = at + 7 + 4 * (data[at + 4] & 7).bit_count()
        if body > end:
            break
        found.append((data[at + 2] | data[at + 3] << 8, data[body - 2]))
        at = body + (data[at] | data[at + 1] << 8)
    return found


def _whole(frame: Frame, codes: dict[int, int]) -> _Open:
    """A packet of data alone, as what it is to be answered with."""
    told = [[number, service, codes.get(number, wire.OK)] for number, service in _numbered(frame)]
    return _Open(frame.data[7] | frame.data[8] << 8, 0, wire.OK, told)
