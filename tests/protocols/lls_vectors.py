"""Worked packets of LLS. Those of makers' documents are named by them; the others follow the integration guide."""

from __future__ import annotations

from tests.protocols.vectors import Vector

GUIDE = "Omnicomm, LLS fuel level sensors, integration guide (10.01.2017), "
PACKAGE = "iobroker-community-adapters/ioBroker.omnicomm-lls"

ASK_5 = bytes.fromhex("31050657")
L2 = bytes.fromhex("3e0506f451076c0921")  # -12 °C, 1873, 2412 Hz
L5 = bytes.fromhex("3e050717370ce80cf1")  # 23 °C, 3127, 3304 Hz
L10 = bytes.fromhex(
    "3e05104c4c53203330313630000000000000004c4c5320342e322e302e37010a080000ff0f4802013740012c"
)  # "LLS 30160", "LLS 4.2.0.7", mode 1, 10 s, filter 8, 0 to 4095
L11 = bytes.fromhex("3e050f1e000e0000000400b033016608000000190f0000000800dc340166374001004aae")
A1 = b"F=096C t=F4 N=0751.0\r\n"

VECTORS = [
    Vector("L1 read request", GUIDE + "single reading", ASK_5, PACKAGE),
    Vector("TENET request of sensor 1", "TENET, UL202 ultrasonic sensor, request", bytes.fromhex("3101066c")),
    Vector("TENET request of sensor 2", "TENET, UL202 ultrasonic sensor, request", bytes.fromhex("31020639")),
    Vector("Escort request of any sensor", "Escort, TD-150 operation manual (2019), request", b"\x31\xff\x06\x29"),
    Vector("L2 answer", GUIDE + "single reading", L2, PACKAGE),
    Vector("L3 start of periodic output", GUIDE + "periodic output", bytes.fromhex("31050709"), PACKAGE),
    Vector("L4 it is accepted", GUIDE + "periodic output", bytes.fromhex("3e05070006"), PACKAGE),
    Vector("L5 periodic data", GUIDE + "periodic output", L5, PACKAGE),
    Vector("L6 interval 10 s", GUIDE + "settings", bytes.fromhex("3105130a35"), PACKAGE),
    Vector("L7 done", GUIDE + "settings", bytes.fromhex("3e051300d1"), PACKAGE),
    Vector("L12 refused", GUIDE + "settings", bytes.fromhex("3e0513018f"), PACKAGE),
    Vector("L8 mode at start: binary", GUIDE + "settings", bytes.fromhex("310517012e"), PACKAGE),
    Vector("L9 settings request", GUIDE + "settings", bytes.fromhex("31051017"), PACKAGE),
    Vector("L10 settings", GUIDE + "settings", L10, PACKAGE),
    Vector("L11 history", GUIDE + "history", L11, PACKAGE),
    Vector("A1 a line of text", GUIDE + "text output", A1, PACKAGE),
]
