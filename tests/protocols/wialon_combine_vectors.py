"""Worked packets of Wialon Combine 1.0.3, after the description of Vega MT; re-read with frostoov/wialond."""

from __future__ import annotations

from tests.protocols.vectors import Vector

VEGA = "Vega MT, description of exchange protocols (2020-10-05)"
READER = "frostoov/wialond"

LOGIN = bytes.fromhex("24240000010012014038363235333130343532313937333800417f")
LOGIN_ACK = bytes.fromhex("4040000001")
DATA = bytes.fromhex(
    "2424010002005e67dd2130030103144ac00256261f003900d6009d0e005a02000000050000000100040201090d0304fa80c821056b070a4b49"
    "542d322e31340067dd214e0201fdfaa5bffee6e77000000000000c090082040100fa00021e33a104003f0000f7d7"
)
DATA_ACK = bytes.fromhex("4040000002")
ALIVE = bytes.fromhex("2424020003")
BAD_ACK = bytes.fromhex("4040040004")

VECTORS = [
    Vector("login", f"{VEGA}, Combine login", LOGIN, READER),
    Vector("two messages", f"{VEGA}, Combine data", DATA, READER),
    Vector("sign of life", f"{VEGA}, Combine keep-alive", ALIVE, READER),
    Vector("login, data, sign of life", f"{VEGA}, Combine session", LOGIN + DATA + ALIVE),
    Vector("data twice", f"{VEGA}, Combine session", DATA + DATA),
]
REFUSALS = {"login": DATA, "length": LOGIN + b"$$\x01\0\x02\xff\xff\xff\xff"}
IMPOSSIBLE = {"unsupported": "what cannot be read is kept, and acknowledged"}
