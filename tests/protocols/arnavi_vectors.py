"""Worked packets of Arnavi. Generated from what public implementations agree on; a reader that reads recorded packets
too read them back."""

from __future__ import annotations

from tests.protocols.vectors import Vector

READERS = "traccar/traccar and fandrej/glonassd"
IMEI = "861774058127635"
NOW = 1_747_656_244  # 2025-05-19T12:04:04Z

HEADER = bytes.fromhex("ff2213819c68c70f0300")
HEADER_ANSWER = bytes.fromhex("7b00007d")
HEADER_2 = bytes.fromhex("ff2313819c68c70f0300")
HEADER_2_ANSWER = bytes.fromhex("7b0400e5341e2b687d")
PACKAGE = bytes.fromhex(
    "5b2c016400201e2b680110102e3602c2510a0003205a634204ce63724205471a791f0601010500060800de2b07574f231e083ffa00010905"
    "00c05c2d37fb00003561cf920036af630600396b050000460d09fa0047ffff0000505307040c969b9913009757000000fb1c02e1076a0114"
    "003e1e2b6803efc905c2047a568dc2050034fe00460a09fa001e0309003f1e2b68534552563130204f4b4b5d"
)
PACKAGE_ACK = bytes.fromhex("7b002c7d")
PING = bytes.fromhex("5b2d0000005c1e2b680d5d")
PING_ACK = bytes.fromhex("7b002d7d")
RESULT = bytes.fromhex("5bfd005d")
TEXT = "SERV10 OK"

VECTORS = [
    Vector("header", source=f"{READERS}, header", wire=HEADER),
    Vector("header, with the time", source=f"{READERS}, header", wire=HEADER_2),
    Vector("data and a text", source=f"{READERS}, package", wire=PACKAGE),
    Vector("ping", source=f"{READERS}, package", wire=PING),
    Vector("result of a command", source=f"{READERS}, package", wire=RESULT),
]
_BIG = b"\x01\xff\x0f" + bytes((9, 0, 0, 0)) + bytes(4095) + b"\x09"
REFUSALS = {"length": HEADER + b"\x5b\x01" + _BIG * 20, "unsupported": b"$AV,V6,1,2,3"}
