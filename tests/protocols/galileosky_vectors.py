"""Worked packets of Galileosky. Generated from the tables of the manual; those of header 01 were read with an
independent implementation."""

from __future__ import annotations

from tests.protocols.vectors import Vector

MANUAL = "Galileosky, Server exchange protocol (2019)"
READER = "pikhovkin/galileosky"
IMEI = "861774058127635"
RECEIVED = 1_739_000_000  # 2025-02-08: compressed packets count from the beginning of the year they are received in

HEAD = bytes.fromhex("011780019a02270338363137373430353831323736333504a101cce7")
HEAD_ACK = bytes.fromhex("02cce7")
DATA = bytes.fromhex(
    "01a68004a1011017ef2090fca667300c179147036079f10433cf01520734a300350840013341c03542f50f43ed45010046020050586b607007"
    "615f0a63c30beb8aecc023470100c19c79302ac28b343202d4d577010004a1011018ef20aefca66730109a8947036a6df10433000000003"
    "4a0003563400023417a3042f00f43ed450000460000506630606d0761faff63c10beb8aecc023470100c19b780000c2ec343202d4f07701"
    "005c07"
)
DATA_ACK = bytes.fromhex("025c07")
EXTENDED = bytes.fromhex(
    "0133001019ef20ccfca6673020f88547035069f1043534480300fe19002100785634128100574f8200231e8300fa00840001008500475945"
)
COMPRESSED = bytes.fromhex("0828000c9dda975f21e71fe12383416033b0356b07380153070c9dde49b7e428372200a2356a07000000001f9e")
COMMAND = bytes.fromhex(
    "01200003383631373734303538313237363335040000e0e9070000e106737461747573fb84"
)  # to number 0: the IMEI alone counts
ANSWER = bytes.fromhex(
    "0133000338363137373430353831323736333504a101e0e9070000e11944657631353420536f66743d3339205061636b3d36313230398830"
)
ANSWER_TEXT = "Dev154 Soft=39 Pack=61209"

VECTORS = [
    Vector("head packet", source=f"{MANUAL}, head packet", wire=HEAD, checked_with=READER),
    Vector("two records", source=f"{MANUAL}, data", wire=DATA, checked_with=READER),
    Vector("extended tags, place by cells", source=f"{MANUAL}, extended tags", wire=EXTENDED, checked_with=READER),
    Vector("compressed", source=f"{MANUAL}, compressed data", wire=COMPRESSED),
    Vector("answer to a command", source=f"{MANUAL}, commands", wire=ANSWER, checked_with=READER),
]
IMPOSSIBLE = {"unsupported": "every header that has a meaning is kept, as records or as evidence"}
