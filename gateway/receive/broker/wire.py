"""MQTT 5 as a subscriber speaks it, sans-IO: packets to bytes, bytes to packets.

Only what a consumer at QoS 0 and 1 says and hears is here; whatever else a broker may send is an error that ends the
connection. Numbers in brackets are sections of the OASIS standard, MQTT version 5.0.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

EXPIRY = 7 * 86_400  # s for which the broker keeps our session while we are away


class WireError(Exception):
    """The broker does not keep to the protocol; nothing after it can be read."""


class PublishIn(NamedTuple):
    """A message. `mid` 0: at QoS 0, nobody waits for an acknowledgement."""

    topic: bytes
    payload: bytes
    mid: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """CONNACK: `reason` 0 is yes."""

    session_present: bool
    reason: int
    told: str = ""
    keep_alive: int | None = None
    expiry: int | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """SUBACK or UNSUBACK: a reason for each filter; 0x80 and above are refusals."""

    mid: int
    reasons: tuple[int, ...]
    told: str = ""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The broker says why it hangs up."""

    reason: int
    told: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    """PINGRESP."""


Packet = PublishIn | Connected | Subscribed | Disconnected | Pong


class Retained(enum.IntEnum):
    """When the broker sends what it retains [3.8.3.1]."""

    ALWAYS = 0
    ONCE = 1  # at the session's first subscription only


class Filter(NamedTuple):
    """One subscription, at QoS 1; RETAIN comes as it was published."""

    topic: str
    retained: Retained = Retained.ONCE


REASONS: Mapping[int, str] = {
    0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
    0x84: "unsupported protocol version", 0x85: "client identifier not valid", 0x86: "bad user name or password",
    0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method", 0x8D: "keep alive timeout", 0x8E: "session taken over",
    0x8F: "topic filter invalid", 0x90: "topic name invalid", 0x93: "receive maximum exceeded",
    0x94: "topic alias invalid", 0x95: "packet too large", 0x97: "quota exceeded", 0x98: "administrative action",
    0x9C: "use another server", 0x9D: "server moved", 0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded", 0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}  # fmt: skip
TAKEN_OVER = 0x8E


def reason_text(reason: int, told: str = "") -> str:
    """A reason as people read it."""
    text = REASONS.get(reason, f"reason {reason:#04x}")
    return f"{text} ({told})" if told else text


# -- what we say --------------------------------------------------------------------------------------------------


def connect(
    client_id: str, user: str, password: bytes, *, keep_alive: int, receive_maximum: int, max_packet: int
) -> bytes:
    """CONNECT to a session that lasts [3.1]; no topic aliases, no problem information beyond CONNACK."""
    flags = (0x80 if user else 0) | (0x40 if password else 0)
    properties = struct.pack(">BIBHBI", 0x11, EXPIRY, 0x21, receive_maximum, 0x27, max_packet)
    body = b"\x00\x04MQTT\x05" + struct.pack(">BH", flags, keep_alive) + _varint(len(properties)) + properties
    body += _text(client_id.encode())
    if user:
        body += _text(user.encode())
    if password:
        body += _text(password)
    return _packet(0x10, body)


def subscribe(mid: int, filters: Sequence[Filter]) -> bytes:
    """SUBSCRIBE [3.8]."""
    body = struct.pack(">HB", mid, 0)
    for topic, retained in filters:
        body += _text(topic.encode()) + bytes([1 | 0x08 | retained << 4])
    return _packet(0x82, body)


def unsubscribe(mid: int, topics: Sequence[str]) -> bytes:
    """UNSUBSCRIBE [3.10]."""
    return _packet(0xA2, struct.pack(">HB", mid, 0) + b"".join(_text(topic.encode()) for topic in topics))


def puback(mids: Sequence[int]) -> bytes:
    """PUBACKs in this order: success, the only thing they ever say [3.4.2.1]."""
    return b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])


def disconnect(*, forget: bool = False) -> bytes:
    """DISCONNECT; `forget`: the session ends with it [3.14.2.2.2]."""
    return b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00" if forget else b"\xe0\x00"


PING = b"\xc0\x00"


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + _varint(len(body)) + body


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


# -- what we hear -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Reader:
    """Bytes to packets; `max_packet` is what the broker was told it may send."""

    max_packet: int
    _buffer: bytes | bytearray = b""
    _at: int = 0

    def feed(self, data: bytes) -> None:
        """More bytes."""
        rest = self._buffer[self._at :]
        self._buffer = bytearray(rest) + data if rest else data
        self._at = 0

    @property
    def waiting(self) -> int:
        """Bytes that are not read yet."""
        return len(self._buffer) - self._at

    def packets(self, most: int) -> list[Packet]:
        """The next whole packets, at most so many.

        Raises
        ------
        WireError
            At bytes that no broker should send; what came before them is lost with them, and sent again.
        """
        buffer, at, end = self._buffer, self._at, len(self._buffer)
        found: list[Packet] = []
        while end - at >= 2 and len(found) < most:
            length, begin = buffer[at + 1], at + 2
            if length & 0x80:
                length &= 0x7F
                shift = 7
                while True:
                    if begin >= end:
                        length = -1
                        break
                    byte = buffer[begin]
                    begin += 1
                    length |= (byte & 0x7F) << shift
                    if not byte & 0x80:
                        break
                    shift += 7
                    if shift > 21:
                        raise WireError("a length of more than four bytes")
                if length < 0:
                    break
            if length > self.max_packet:
                raise WireError(f"a packet of {length} bytes, and it was told that {self.max_packet} is the most")
            stop = begin + length
            if stop > end:
                break
            head = buffer[at]
            if head >> 4 == 3:
                found.append(_publish(head, buffer, begin, stop))
            else:
                found.append(_other(head, bytes(buffer[begin:stop])))
            at = stop
        self._at = at
        return found


def _publish(head: int, buffer: bytes | bytearray, at: int, end: int) -> PublishIn:
    qos = head >> 1 & 3
    if qos > 1:
        raise WireError("a message at QoS 2, and QoS 1 was asked for")
    if end - at < 3:
        raise WireError("a message cut short")
    begin = at + 2
    at = begin + (buffer[at] << 8 | buffer[at + 1])
    topic = bytes(buffer[begin:at])
    mid = 0
    if qos:
        if at + 2 > end:
            raise WireError("a message cut short")
        mid = buffer[at] << 8 | buffer[at + 1]
        at += 2
        if not mid:
            raise WireError("a message with packet identifier 0")
    if at >= end:
        raise WireError("a message cut short")
    size = buffer[at]
    at += 1
    if size:
        if size & 0x80:
            size, at = _read_varint(buffer, at - 1, end)
        if at + size > end:
            raise WireError("properties cut short")
        at += size
    return PublishIn(topic, bytes(buffer[at:end]), mid, bool(head & 1))


def _read_varint(buffer: bytes | bytearray, at: int, end: int) -> tuple[int, int]:
    number = 0
    for shift in (0, 7, 14, 21):
        if at >= end:
            break
        byte = buffer[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, at
    raise WireError("a number cut short, or of more than four bytes")


def _other(head: int, body: bytes) -> Packet:
    match head:
        case 0x20:
            return _connack(body)
        case 0x90 | 0xB0:
            if len(body) < 3:
                raise WireError("SUBACK cut short")
            properties, at = _properties(body, 2)
            return Subscribed(int.from_bytes(body[:2], "big"), tuple(body[at:]), properties.told)
        case 0xD0:
            return Pong()
        case 0xE0:
            told = _properties(body, 1)[0].told if len(body) > 1 else ""
            return Disconnected(body[0] if body else 0, told)
    raise WireError(f"a packet that a subscriber does not expect: {head:#04x}")


def _connack(body: bytes) -> Connected:
    if len(body) < 3:  # MQTT 3.1.1 has two
        raise WireError("CONNACK cut short: is it MQTT 5 that the broker speaks?")
    told = _properties(body, 2)[0]
    return Connected(bool(body[0] & 1), body[1], told.told, told.keep_alive, told.expiry)


@dataclass(slots=True)
class _Properties:
    told: str = ""
    keep_alive: int | None = None
    expiry: int | None = None


_SIZES = {
    0x01: 1, 0x02: 4, 0x11: 4, 0x13: 2, 0x17: 1, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x27: 4,
    0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip
_TEXTS = {0x03: 1, 0x08: 1, 0x09: 1, 0x12: 1, 0x15: 1, 0x16: 1, 0x1A: 1, 0x1C: 1, 0x1F: 1, 0x26: 2}


def _properties(body: bytes, at: int) -> tuple[_Properties, int]:
    """Properties that begin there, and where they end [2.2.2]."""
    size, at = _read_varint(body, at, len(body))
    end = at + size
    if end > len(body):
        raise WireError("properties cut short")
    found = _Properties()
    while at < end:
        name = body[at]
        at += 1
        if name in _SIZES:
            value = int.from_bytes(body[at : at + _SIZES[name]], "big")
            at += _SIZES[name]
            if name == 0x13:
                found.keep_alive = value
            elif name == 0x11:
                found.expiry = value
        elif name in _TEXTS:
            for _ in range(_TEXTS[name]):
                length = int.from_bytes(body[at : at + 2], "big")
                if name == 0x1F:
                    found.told = body[at + 2 : at + 2 + length].decode("utf-8", "replace")[:200]
                at += 2 + length
        elif name == 0x0B:
            _, at = _read_varint(body, at, end)
        else:
            raise WireError(f"an unknown property {name:#04x}")
    if at != end:
        raise WireError("a property cut short")
    return found, end
