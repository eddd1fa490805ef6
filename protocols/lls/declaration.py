"""The readable truth of LLS, the protocol of capacitive fuel-level sensors.

    request   31 | address | opcode | data        | CRC-8        gateway → sensor
    answer    3E | address | opcode | data        | CRC-8        sensor → gateway

    06 read           –                     t int8 °C · N u16 level · F u16 Hz
    07 send by itself –                     status; from then on answers as of 06, under opcode 07
    0E filter length  u8 0…20               status
    0F history        –                     u16 length and as many bytes, records of 15; or status
    10 settings       –                     40 bytes: name 16, software 11, mode, interval s, filter, Nmin u16,
                                            Nmax u16, CNT1 u24, CNT2 u24
    13 interval       u8 s                  status
    17 mode at start  0 none 1 binary 2 text status

Numbers are little-endian, the CRC is CRC-8/MAXIM-DOW over all before it, prefix included. A sensor set to text sends
lines ``F=096C t=F4 N=0751.0`` CR LF, all hexadecimal, without address or checksum, by itself or when asked by ``DO``.

A level above the sensor's own maximum (4095 unless its settings say otherwise) is the code of an error.

Sources: Omnicomm, LLS fuel level sensors, integration guide (10.01.2017); Escort, TD-150 operation manual (6500, 7000).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastcrc

from protocols.lines import Reading, Status

REQUEST, ANSWER = 0x31, 0x3E
READ, PERIODIC, FILTER, HISTORY, SETTINGS, INTERVAL, MODE = 0x06, 0x07, 0x0E, 0x0F, 0x10, 0x13, 0x17
ANY_ADDRESS = 0xFF  # some makers' sensors answer to it, whoever they are
TOP = 4095  # the highest level, where the settings say nothing else
NO_TEMPERATURE = -128
ASK_TEXT = b"DO"
MAX_TEXT = 32  # bytes of a line
RECORD = 15  # bytes of a record of the history
HISTORY_LIMIT = 64 * RECORD  # more than any sensor is known to hold

_DATA = struct.Struct("<bHH")
_SETTINGS = struct.Struct("<16s11sBBBHH3s3s")
# Bytes of data of each opcode: in a request, in an answer; None: told by a length field.
_REQUESTS = {READ: 0, PERIODIC: 0, FILTER: 1, HISTORY: 0, SETTINGS: 0, INTERVAL: 1, MODE: 1}
_ANSWERS = {READ: (5,), PERIODIC: (1, 5), FILTER: (1,), SETTINGS: (40,), INTERVAL: (1,), MODE: (1,)}
WORDS = {
    READ: "read", PERIODIC: "send by itself", FILTER: "filter length", HISTORY: "history", SETTINGS: "settings",
    INTERVAL: "interval", MODE: "mode at start",
}  # fmt: skip
_LINE = re.compile(
    rb"\s*F\s*=\s*([0-9A-Fa-f]{1,4})\s+t\s*=\s*([0-9A-Fa-f]{1,2})\s+N\s*=\s*([0-9A-Fa-f]{1,4})(?:\.([0-9A-Fa-f]))?\s*"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a sensor says of itself."""

    name: str
    software: str
    mode: int
    interval: int
    filter: int
    lowest: int
    highest: int
    empty: int
    full: int


def crc(data: bytes) -> int:
    """CRC-8/MAXIM-DOW; of a packet with its own behind it: 0."""
    value: int = fastcrc.crc8.maxim_dow(data)
    return value


def packet(prefix: int, address: int, opcode: int, data: bytes = b"") -> bytes:
    """A request or an answer."""
    head = bytes((prefix, address, opcode)) + data
    return head + bytes((crc(head),))


def answer_data(temperature: int, level: int, frequency: int) -> bytes:
    """The data of an answer to 06."""
    return _DATA.pack(temperature, level, frequency)


def settings_data(settings: Settings) -> bytes:
    """The data of an answer to 10."""
    return _SETTINGS.pack(
        settings.name.encode("ascii"), settings.software.encode("ascii"), settings.mode, settings.interval,
        settings.filter, settings.lowest, settings.highest,
        settings.empty.to_bytes(3, "little"), settings.full.to_bytes(3, "little"),
    )  # fmt: skip


def text_line(temperature: int, level: int, frequency: int) -> bytes:
    """A sensor's line of text."""
    return b"F=%04X t=%02X N=%04X.0\r\n" % (frequency, temperature & 0xFF, level)


def sizes(data: bytes) -> tuple[int, ...]:
    """How long the packet that begins here may be, shortest first; empty: none begins here; (0,): more is needed."""
    if len(data) < 3:
        return (0,) if data[:1] in (b"\x31", b"\x3e") else ()
    prefix, opcode = data[0], data[2]
    if prefix == REQUEST:
        return (4 + _REQUESTS[opcode],) if opcode in _REQUESTS else ()
    if prefix != ANSWER:
        return ()
    if opcode == HISTORY:
        if len(data) < 5:
            return (0,)
        length = int.from_bytes(data[3:5], "little")
        return (5, 6 + length) if length % RECORD == 0 and length <= HISTORY_LIMIT else (5,)
    return tuple(4 + size for size in _ANSWERS.get(opcode, ()))


def whole(data: bytes) -> int:
    """Bytes of the checked packet that begins here; 0: more may make it one; -1: none begins here."""
    waiting = False
    for size in sizes(data):
        if size == 0 or size > len(data):
            waiting = True
        elif crc(data[:size]) == 0:
            return size
    return 0 if waiting else -1


def reading_of(data: bytes, top: int = TOP) -> Reading:
    """What five bytes of data say; a level above `top` is the code of an error."""
    temperature, level, frequency = _DATA.unpack(data)
    return _reading(temperature, float(level), frequency, top)


def _reading(temperature: int, level: float, frequency: int, top: int) -> Reading:
    values = {} if temperature == NO_TEMPERATURE else {"temperature": float(temperature)}
    values["frequency"] = float(frequency)
    if level > top:
        return Reading(Status.INVALID, {"code": level, **values})
    return Reading(Status.GOOD, {"level": level, **values})


def read_text(line: bytes, top: int = TOP) -> Reading | None:
    """What a line of text says; None: it is none."""
    found = _LINE.fullmatch(line) if len(line) <= MAX_TEXT else None
    if found is None:
        return None
    temperature = int(found[2], 16)
    level = int(found[3], 16) + int(found[4] or b"0", 16) / 16
    return _reading(temperature - 256 if temperature > 127 else temperature, level, int(found[1], 16), top)


def read_settings(data: bytes) -> Settings:
    """What 40 bytes of data say; letters that are none are shown as such."""
    name, software, mode, interval, length, lowest, highest, empty, full = _SETTINGS.unpack(data)
    return Settings(
        _text(name), _text(software), mode, interval, length, lowest, highest,
        int.from_bytes(empty, "little"), int.from_bytes(full, "little"),
    )  # fmt: skip


def _text(raw: bytes) -> str:
    return "".join(c if c.isprintable() else "�" for c in raw.partition(b"\0")[0].decode("ascii", "replace")).strip()


def describe(data: bytes) -> str:
    """A checked packet in words."""
    who, opcode, body = data[1], data[2], data[3:-1]
    what = WORDS.get(opcode, f"{opcode:02X}h")
    if data[0] == REQUEST:
        return f"to {who}: {what}" + (f" {body[0]}" if body else "")
    if opcode == SETTINGS:
        told = read_settings(body)
        return f"from {who}: {told.name}, {told.software}, levels {told.lowest} to {told.highest}"
    if opcode == HISTORY and len(body) > 1:
        return f"from {who}: history, {(len(body) - 2) // RECORD} records"
    return f"from {who}: {what} " + ("done" if body == b"\0" else "refused")


def tree(data: bytes) -> Mapping[str, Any]:
    """A packet or a line for people, byte by byte in its order."""
    if data[:1] not in (b"\x31", b"\x3e") or len(data) < 4:
        return {"line": data.decode("ascii", "replace")}
    body, told = data[3:-1], {}
    if data[0] == ANSWER and data[2] in (READ, PERIODIC) and len(body) == 5:
        temperature, level, frequency = _DATA.unpack(body)
        told = {"temperature": temperature, "level": level, "frequency": frequency}
    elif data[0] == ANSWER and data[2] == SETTINGS and len(body) == 40:
        settings = read_settings(body)
        told = {name: getattr(settings, name) for name in Settings.__slots__}
    elif body:
        told = {"data": body}
    return {
        "prefix": f"{data[0]:02x}",
        "address": data[1],
        "opcode": f"{data[2]:02x}",
        **told,
        "crc": f"{data[-1]:02x}",
    }
