"""Worked packets of Modbus RTU, with the registers of the makers named; framing and values checked with pymodbus."""

from __future__ import annotations

from tests.protocols.vectors import Vector

CAP_ASK = bytes.fromhex("1E04000000067267")
CAP = bytes.fromhex("1E040C026502670B1900D60067FFFE0242")
PROBE_ASK = bytes.fromhex("0104000000067008")
PROBE = bytes.fromhex("01040C44A090004050000041960000C11D")
KRAL_ASK = bytes.fromhex("05030014000C044F")
KRAL = bytes.fromhex("0503180000000000000000000000000012D68700001072013B000024ED")
REFUSED = bytes.fromhex("0583028130")

VECTORS = [
    Vector("CAP10 request", "Daviteq, CAP10 manual, input registers", CAP_ASK, "pymodbus"),
    Vector("CAP10 answer", "Daviteq, CAP10 manual, input registers", CAP_ASK + CAP, "pymodbus"),
    Vector("probe answer", "Probe MODBUS Communication Protocol, input registers", PROBE_ASK + PROBE, "pymodbus"),
    Vector("KRAL answer", "KRAL, BEM 100 manual, registers", KRAL_ASK + KRAL, "pymodbus"),
    Vector("refusal", "Modbus application protocol, exceptions", KRAL_ASK + REFUSED, "pymodbus"),
]
