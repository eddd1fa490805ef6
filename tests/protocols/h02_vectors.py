"""Worked packets of H02, built from the fields that its description and an independent implementation agree on."""

from __future__ import annotations

from tests.protocols.vectors import Vector

TEXT, BINARY = "H02 protocol description, text", "traccar/traccar, binary"
ID = "8168000417"
V1 = b"*HQ,8168000417,V1,092653,A,5545.1207,N,03737.0526,E,032.94,274,140326,FFFFFBFF,250,01,8092,42194#"
V1_ACK = b"*HQ,8168000417,V4,V1,20260314092653#"
V6 = (
    b"*HQ,8168000417,V6,092653,V,5545.1207,S,03737.0526,W,000.00,,140326,FFFFFFFF,250,01,8092,42194,"
    b"89701017034562198421#"
)
SHORT = bytes.fromhex("2481680004170926531403265545120706037370526E032274FFFFFBFF000000")
LINK = b"*HQ,8168000417,LINK,092653,23,11,87,0,0,140326,FFFFFBFF#"
RECEIPT = b"*HQ,8168000417,V4,D1,20260314092653,20260314092653#"
NBR = b"*HQ,8168000417,NBR,092653,250,01,1,2,8092,42194,20,8092,42195,18,140326,FFFFFBFF#"

VECTORS = [
    Vector("place", TEXT, V1, "traccar/traccar"),
    Vector("place with the number of a SIM card", TEXT, V6),
    Vector("binary place", BINARY, SHORT),
    Vector("sign of life", TEXT, LINK),
    Vector("receipt of a command", TEXT, RECEIPT),
    Vector("cells", TEXT, NBR),
]
IMPOSSIBLE = {
    "checksum": "the protocol has none",
    "unsupported": "messages of other kinds are kept as they came",
}
REFUSALS = {"length": b"*HQ,8168000417,V1," + b"0" * 2000 + b"#"}
