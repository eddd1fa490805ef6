"""Worked packets of Ruptela. Generated from what public implementations agree on; records were read back with one of
them."""

from __future__ import annotations

from tests.protocols.vectors import Vector

SOURCE = "traccar/traccar and dimitrievski/ruptela"
READER = "dimitrievski/ruptela"
IMEI = "356938035643809"

RECORD = bytes.fromhex(
    "003C000144A21CD245A101000169B529DD0000166BFB48213B14FB06906B3A0B003D080704020105011B1520F9031D6CC01E0FE9160765014"
    "108D7BC720014D5"
)
EXTENDED = bytes.fromhex(
    "0075000144A21CD245A144000369B52A19001000166C1108213B2808069A46500A000C0901990201990100CF8401001D6CA3000069B52A190"
    "01100166C1108213B2808069A46500A000C0901990000010285000243840069B52A550000008000000080000000000000000000000000000"
    "1019900000000E36A"
)
HEARTBEAT = bytes.fromhex("0009000144A21CD245A1103A48")
ACK = bytes.fromhex("0002640113BC")
HEARTBEAT_ACK = bytes.fromhex("00027401862D")
IDENTIFICATION_ACK = bytes.fromhex("00027301CB25")
DTCS_ACK = bytes.fromhex("00026D01C4A4")
VERSION_REQUEST = bytes.fromhex("00016717B9")
GETVER = bytes.fromhex("00086C20676574766572A2B7")

VECTORS = [
    Vector("record", source=f"{SOURCE}, records", wire=RECORD, checked_with=READER),
    Vector(
        "extended records, one in two parts", source=f"{SOURCE}, extended records", wire=EXTENDED, checked_with=READER
    ),
    Vector("heartbeat", source=f"{SOURCE}, heartbeat", wire=HEARTBEAT, checked_with=READER),
    Vector(
        "identification",
        source=f"{SOURCE}, identification",
        wire=bytes.fromhex("0009000144a21cd245a10fd23e"),
    ),
    Vector(
        "trouble code",
        source=f"{SOURCE}, trouble codes",
        wire=bytes.fromhex("001d000144a21cd245a109010069b529dd166bfb48213b14fb0250303330315019"),
    ),
]
REFUSALS = {"unsupported": bytes.fromhex("0009000144a21cd245a13329d1")}
IMPOSSIBLE = {"structure": "a frame is its length, its checksum and who sent it; records that do not add up are kept"}
