"""What a GT06 frame is made of.

    78 78 | length 1 | protocol 1 | content | serial 2 | crc 2 | 0D 0A
    79 79 | length 2 | …

The length counts protocol to checksum; the CRC (X.25) covers length to serial. Nothing is escaped, so 0D 0A may stand
in a content: frames go by their length, and what is damaged ends at the next 78 78 or 79 79.
Source: JM-VL03 GPS Tracker Communication Protocol V1.1.2; GT06 GPS Tracker Communication Protocol v1.8.1.
"""

from __future__ import annotations

import fastcrc

SHORT, LONG = b"\x78\x78", b"\x79\x79"
STOP = b"\r\n"
MAX_FRAME = 4096  # answers to commands are the longest, some hundred bytes
SHORTEST = 10  # without a content

LOGIN, HEARTBEAT, HEARTBEAT_2 = 0x01, 0x13, 0x23
GPS, GPS_LBS, LOCATION, LOCATION_UTC, LOCATION_4G = 0x10, 0x11, 0x12, 0x22, 0xA0
ALARM, ALARM_UTC, ALARM_FENCE, ALARM_4G = 0x16, 0x26, 0x27, 0xA4
CELLS, CELLS_4G, ADDRESS = 0x28, 0xA1, 0x2A
TIME, INFO, COMMAND, ANSWER, ANSWER_LONG = 0x8A, 0x94, 0x80, 0x15, 0x21
MODULES, FILES = 0x70, 0x95  # kept as they are, and echoed

INFO_VOLTAGE, INFO_DOOR, INFO_FUEL, INFO_CARDS = 0x00, 0x05, 0x0D, 0x0A

LOCAL = frozenset((GPS, GPS_LBS, LOCATION, ALARM))  # their clocks are the login's zone's, the others' UTC
PLACES = frozenset(
    (GPS, GPS_LBS, LOCATION, LOCATION_UTC, LOCATION_4G, ALARM, ALARM_UTC, ALARM_FENCE, ALARM_4G, ADDRESS)
)
ALARMS = frozenset((ALARM, ALARM_UTC, ALARM_FENCE, ALARM_4G))
_RECORDS_OF_INFO = frozenset((INFO_VOLTAGE, INFO_DOOR, INFO_FUEL))

crc = fastcrc.crc16.ibm_sdlc


def frame(protocol: int, content: bytes, serial: int) -> bytes:
    """A whole frame; the long form where the short one does not hold it, and for what always comes in it."""
    size = len(content) + 5
    long = size > 255 or protocol in (INFO, ANSWER_LONG)
    body = size.to_bytes(2 if long else 1, "big") + bytes((protocol,)) + content + serial.to_bytes(2, "big")
    return (LONG if long else SHORT) + body + int(crc(body)).to_bytes(2, "big") + STOP


def parts_of(data: bytes) -> tuple[int, bytes] | None:
    """Protocol and content of a whole frame; None if it is none."""
    head = 4 if data[:2] == LONG else 3
    if len(data) < head + 7 or data[:2] not in (SHORT, LONG):
        return None
    if int.from_bytes(data[2:head], "big") != len(data) - head - 2:
        return None
    return data[head], data[head + 1 : -6]


def is_record(protocol: int, content: bytes) -> bool:
    """Whether a frame holds a record."""
    if protocol == INFO:
        return content[:1] != b"" and content[0] in _RECORDS_OF_INFO
    return protocol in PLACES or protocol in (CELLS, CELLS_4G)


def zone_of(word: int) -> int:
    """Minutes ahead of UTC that a login's word says: hours x 100 + minutes in bits 15-4, bit 3 west."""
    told = word >> 4
    minutes = told // 100 * 60 + told % 100
    return -minutes if word & 8 else minutes


def imei_of(data: bytes) -> str | None:
    """Fifteen digits behind a zero; None if they are none."""
    told = data.hex()
    return told[1:] if len(told) == 16 and told[0] == "0" and told.isdecimal() else None
