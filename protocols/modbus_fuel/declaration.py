"""The readable truth of Modbus RTU, as far as sensors are read by it.

    request   address | function | start u16 | count u16              | CRC-16 low byte first
    answer    address | function | bytes u8  | registers, u16 each    | CRC
    refusal   address | function + 80h | code u8                      | CRC

Numbers are big-endian, the CRC is CRC-16/MODBUS over all before it. Function 3 reads holding registers (40001 is 0 on
the wire), 4 input registers (30001). Codes: 1 function, 2 address, 3 value; 4 device failure, 5 acknowledged, 6 busy.

Source: the Modbus application protocol and serial line guides; packets checked with pymodbus. Its framer is not used at
run time: it drops a whole buffer for one wrong checksum, and does not know which answer was asked for, by which alone
a good answer is found behind a damaged one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import fastcrc

READS = (3, 4)
ADDRESSES = range(1, 248)
FAILED = 0x80
CONFIGURATION = (1, 2, 3)  # refusals that asking again does not change
REFUSALS = {
    1: "illegal function", 2: "illegal address", 3: "illegal value", 4: "device failure", 5: "acknowledged", 6: "busy",
}  # fmt: skip
REQUEST_SIZE, REFUSAL_SIZE = 8, 5

_REQUEST = struct.Struct(">BBHH")


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS as it stands on the wire."""
    value: int = fastcrc.crc16.modbus(data)
    return value.to_bytes(2, "little")


def sealed(data: bytes) -> bytes:
    """With its checksum."""
    return data + crc(data)


def good(data: bytes) -> bool:
    """Whether its last two bytes are its checksum."""
    return len(data) >= 4 and crc(data[:-2]) == data[-2:]


def request(address: int, function: int, start: int, count: int) -> bytes:
    """Ask for registers."""
    return sealed(_REQUEST.pack(address, function, start, count))


def answer(address: int, function: int, registers: bytes) -> bytes:
    """Registers, as they stand on the wire."""
    return sealed(bytes((address, function, len(registers))) + registers)


def refusal(address: int, function: int, code: int) -> bytes:
    """No registers."""
    return sealed(bytes((address, function | FAILED, code)))


def read_request(data: bytes) -> tuple[int, int, int, int]:
    """Address, function, start, count."""
    address, function, start, count = _REQUEST.unpack(data[:6])
    return address, function, start, count


def answer_size(data: bytes) -> int:
    """Bytes of the answer or refusal that begins here; 0: more is needed to tell; -1: none begins here."""
    if len(data) < 3:
        return 0 if len(data) < 2 or data[1] & ~FAILED in READS else -1
    if data[1] in READS:
        return 5 + data[2] if data[2] and data[2] % 2 == 0 else -1
    return REFUSAL_SIZE if data[1] & ~FAILED in READS else -1


def tree(data: bytes) -> Mapping[str, Any]:
    """An answer for people, byte by byte in its order."""
    told: dict[str, Any] = {"address": data[0], "function": data[1] & ~FAILED}
    if data[1] & FAILED:
        told["refusal"] = REFUSALS.get(data[2], str(data[2]))
    else:
        told["bytes"] = data[2]
        told["registers"] = [int.from_bytes(data[at : at + 2], "big") for at in range(3, len(data) - 2, 2)]
    return {**told, "crc": data[-2:].hex()}
