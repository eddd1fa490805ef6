"""Worked packets of TK103, built from the fields that its description and an independent implementation agree on."""

from __future__ import annotations

from tests.protocols.vectors import Vector

MANUAL = "TK103 GPS tracker communication protocol"
ID = "088048003342"
HANDSHAKE = b"(088048003342BP00000088048003342HSO)"
HANDSHAKE_ACK = b"(088048003342AP01HSO)"
LOGIN = b"(088048003342BP05000088048003342260314A5545.1207N03737.0526E032.9092653274.0000000000L000243B4)"
LOGIN_ACK = b"(088048003342AP05)"
PLACE = b"(088048003342BR00260314V5545.1207S03737.0526W000.0092653000.0001000764L000243B4)"
ALARM = b"(088048003342BO012260314A5545.1207N03737.0526E032.9092653274.0000000000L000243B4)"
ANSWER = b"(088048003342BR01OK)"

VECTORS = [
    Vector("handshake", f"{MANUAL}, BP00", HANDSHAKE, "traccar/traccar"),
    Vector("login with a place", f"{MANUAL}, BP05", LOGIN, "traccar/traccar"),
    Vector("place", f"{MANUAL}, BR00", PLACE, "traccar/traccar"),
    Vector("alarm", f"{MANUAL}, BO01", ALARM),
    Vector("answer to a command", f"{MANUAL}, BR01", ANSWER),
]
IMPOSSIBLE = {
    "checksum": "the protocol has none",
    "unsupported": "messages of other kinds are kept as they came",
}
REFUSALS = {"length": b"(088048003342BP05" + b"0" * 2000 + b")"}
