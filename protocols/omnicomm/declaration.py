"""The format as people read it, and its builders.

`BODY` is a frame without marker and escapes; a message of a container is `RecReg` of `omnicomm.proto`. Used by
``dozor decode``, the simulated terminal, and the tests as the oracle of the fast decoder; never by the receiver.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from construct import (
    Byte,
    ConstructError,
    Container,
    GreedyBytes,
    GreedyRange,
    Int8ul,
    Int16ub,
    Int16ul,
    Int32ul,
    Prefixed,
    Struct,
)
from google.protobuf.message import DecodeError, Message

from protocols.omnicomm.fields import EPOCH
from protocols.omnicomm.framing import Splitter, checksum, stuff
from protocols.omnicomm.omnicomm_pb2 import RecReg
from protocols.records import Frame

IDENTIFICATION = Struct("reg_id" / Int32ul, "firmware" / Int32ul)
SERVER_IDENTIFICATION = Struct("server_id" / Int32ul, "server_version" / Int32ul)
NUMBER = Struct("rec_id" / Int32ul)
TIME = Struct("time" / Int32ul)
CONTAINER = Struct(
    "rec_id" / Int32ul,
    "time" / Int32ul,  # seconds since 2009-01-01 UTC; that of the first message
    "priority" / Int8ul,
    "messages" / GreedyRange(Prefixed(Int16ul, GreedyBytes)),
    "rest" / GreedyBytes,  # empty, unless a length runs past the end
)
PAYLOADS = {
    0x80: IDENTIFICATION,
    0x81: SERVER_IDENTIFICATION,
    0x85: NUMBER,  # send the archive from here
    0x86: CONTAINER,  # archive; empty: exhausted
    0x87: NUMBER,  # may be overwritten up to and including this
    0x88: NUMBER,  # was done
    0x93: Struct(),  # time?
    0x94: TIME,
    0x95: CONTAINER,  # live
    0x9F: CONTAINER,  # over WiFi
    0xA0: NUMBER,  # answer to 9F
}
BODY = Struct(
    "command" / Byte,
    "payload" / Prefixed(Int16ul, GreedyBytes),
    "checksum" / Int16ub,  # from the server: low byte first
)


def frame(command: int, payload: bytes = b"") -> bytes:
    """A terminal's frame on the wire."""
    body = bytes((command, *len(payload).to_bytes(2, "little"))) + payload
    return stuff(body + checksum(body).to_bytes(2, "big"))


def identification(reg_id: int, firmware: int) -> bytes:
    return frame(0x80, IDENTIFICATION.build({"reg_id": reg_id, "firmware": firmware}))


def container(
    rec_id: int,
    time: int,
    messages: Iterable[RecReg | Mapping[str, Any] | bytes],
    *,
    command: int = 0x86,
    priority: int = 0,
) -> bytes:
    """A data frame. A message is a `RecReg`, its fields as a mapping (``{"mID": [1], "general": {"Time": …}}``), or
    its bytes; `time` is in seconds since 2009."""
    parts = [message(m) for m in messages]
    return frame(
        command, CONTAINER.build({"rec_id": rec_id, "time": time, "priority": priority, "messages": parts, "rest": b""})
    )


def message(content: RecReg | Mapping[str, Any] | bytes) -> bytes:
    """One message's bytes."""
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, RecReg) else RecReg(**content)).SerializeToString(deterministic=True)


def archive_exhausted() -> bytes:
    return frame(0x86)


def time_request() -> bytes:
    return frame(0x93)


def delete_confirmation(rec_id: int) -> bytes:
    return frame(0x88, NUMBER.build({"rec_id": rec_id}))


def omnicomm_time(unix: float) -> int:
    """Unix seconds → the terminal's."""
    return int(unix) - EPOCH


class ServerFrames:
    """The terminal's view of the server's bytes: verifies and yields ``(command, number)``.

    The number is rec_id or time, 0 where a command has none.

    Raises
    ------
    ValueError
        From `feed`, if the server's bytes are damaged: a server of ours never sends such.
    """

    def __init__(self) -> None:
        self._splitter = Splitter(little_endian=True)

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        self._splitter.feed(data)
        found = []
        while (piece := self._splitter.next()) is not None:
            if piece.damage:
                raise ValueError(f"{piece.damage} at offset {piece.offset}")
            found.append((piece.body[0], int.from_bytes(piece.body[3:7] if len(piece.body) >= 9 else b"", "little")))
        return found


def read_message(data: bytes) -> RecReg | None:
    """One message as the protobuf library reads it; None where it cannot."""
    try:
        return RecReg.FromString(data)
    except DecodeError:
        return None


def tree(item: Frame) -> Container[Any]:
    """A frame (`Frame.data`) as nested containers; what cannot be read stands as bytes. Never raises."""
    try:
        body = BODY.parse(item.data)
        layout = PAYLOADS.get(body.command)
        if layout is not None and (body.payload or layout is not CONTAINER):
            body.payload = layout.parse(body.payload)
    except ConstructError:
        return Container(data=item.data)
    if layout is CONTAINER and body.payload:
        read = ((raw, read_message(raw)) for raw in body.payload.messages)
        body.payload.messages = [raw.hex() if found is None else fields_of(found) for raw, found in read]
    return body


def fields_of(found: Message) -> Container[Any]:
    """A message's fields by name, groups nested, byte strings as hex, repeated fields as lists."""
    return Container((descriptor.name, _plain(value)) for descriptor, value in found.ListFields())


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return fields_of(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int | float):
        return value
    return [_plain(item) for item in value]
