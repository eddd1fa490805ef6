"""Frames as bytes."""

from __future__ import annotations

import fastcrc

RECORDS, EXTENDED, DTCS = 0x01, 0x44, 0x09
CONFIGURATION, VERSION, FIRMWARE, CONNECTION, ODOMETER, SMS = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
IDENTIFICATION, HEARTBEAT, SET_IO, DYNAMIC, FILES = 0x0F, 0x10, 0x11, 0x12, 0x25
SMS_REQUEST = 0x08
COMMANDS = (
    RECORDS, CONFIGURATION, VERSION, FIRMWARE, CONNECTION, ODOMETER, SMS, DTCS, IDENTIFICATION, HEARTBEAT, SET_IO,
    DYNAMIC, FILES, EXTENDED,
)  # fmt: skip
HEAD = 11  # length, IMEI, command
TAIL = 2
_ANSWER = 100  # the number of an answer is that of the command and so much

crc = fastcrc.crc16.kermit


def sealed(body: bytes) -> bytes:
    """Length, `body` and its checksum."""
    return len(body).to_bytes(2, "big") + body + int(crc(body)).to_bytes(2, "big")


def uplink(imei: str, command: int, payload: bytes) -> bytes:
    """What a terminal sends."""
    return sealed(int(imei).to_bytes(8, "big") + bytes((command,)) + payload)


def downlink(command: int, payload: bytes = b"") -> bytes:
    """What the server sends: the answer to `command`, or a request that it is the answer to."""
    return sealed(bytes((_ANSWER + command,)) + payload)


ACK = downlink(0, b"\x01")  # of records
DTCS_ACK = downlink(DTCS, b"\x01")
