"""AUTH: who a terminal says it is, and which services there are.

TERM_IDENTITY  TID4 flags [HDID2] [IMEI15] [IMSI16] [LNGC3] [NID3] [BS2] [MSISDN15]
MODULE_DATA    MT VID4 FWV2 SWV2 MD ST SRN… 00 DSCR… 00
DISPATCHER_IDENTITY  DT DID4 DSCR…
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.egts import wire
from protocols.records import Identified, imei_of

OPTIONAL = (  # flag, name, bytes; in the wire's order
    (0x01, "hdid", 2), (0x02, "imei", 15), (0x04, "imsi", 16), (0x08, "language", 3), (0x20, "nid", 3),
    (0x40, "buffer", 2), (0x80, "msisdn", 15),
)  # fmt: skip
SIMPLE = 0x10  # it uses every service without being told of it
_SERVED = (wire.TELEDATA, wire.COMMANDS, wire.ECALL)
_REQUESTED = 0x80
_NOT_CONFIGURED = 130


@dataclass(slots=True)
class Identity:
    """What an AUTH record tells.

    Attributes
    ----------
    name : what the terminal is called here; empty: it has no number, or none was told.
    asked : it did say who it is, with a number of 0 if `name` is empty.
    number : its own, as records name it; None: a dispatcher's platform.
    largest : bytes of a packet that it takes, if it says so.
    services : that it asks for.
    """

    name: str = ""
    asked: bool = False
    number: int | None = None
    firmware: str | None = None
    largest: int = 0
    simple: bool = False
    services: tuple[int, ...] = ()
    imei: str | None = None
    imsi: str | None = None
    operator: str | None = None

    def and_(self, other: Identity) -> Identity:
        """With what another record of the packet tells."""
        first, second = (self, other) if self.asked or not other.asked else (other, self)
        return Identity(
            first.name, first.asked, first.number, first.firmware or second.firmware, first.largest, first.simple,
            self.services + other.services, first.imei, first.imsi, first.operator,
        )  # fmt: skip

    @property
    def told(self) -> list[Identified]:
        """Modem, card and network, where it tells any."""
        found = Identified(imei=self.imei, imsi=self.imsi, operator=self.operator)
        return [found] if found.facts else []


def read(data: bytes) -> Identity | None:
    """An AUTH record's subrecords; None: one is not what it says it is."""
    found = Identity()
    at = 0
    for kind, body in wire.subrecords(data):
        at += 3 + len(body)
        if kind == wire.TERM_IDENTITY:
            if not _terminal(body, found):
                return None
        elif kind == wire.MODULE_DATA:
            if len(body) < 13:
                return None
            if body[0] == 1 or found.firmware is None:  # 1 is the main module
                found.firmware = f"{body[8]}.{body[7]}"
        elif kind == wire.DISPATCHER_IDENTITY:
            if len(body) < 5:
                return None
            found.asked = True
            found.name = f"dispatcher {int.from_bytes(body[1:5], 'little')}"
            found.simple = True
        elif kind == wire.SERVICE_INFO and len(body) >= 3 and body[2] & _REQUESTED:
            found.services += (body[0],)
    return found if at == len(data) and data else None


def _terminal(body: bytes, found: Identity) -> bool:
    told = optional(body)
    if told is None:
        return False
    imei = told.get("imei", b"").strip(b"\0 ")
    if imei and not imei.isdigit():
        return False
    found.asked = True
    found.number = int.from_bytes(body[:4], "little")
    found.name = str(found.number) if found.number else ""
    found.simple = bool(body[4] & SIMPLE)
    found.imei = imei_of(imei.decode("ascii"), certain=True)
    imsi = told.get("imsi", b"").strip(b"\0 ").lstrip(b"0")  # fifteen digits at most, in sixteen
    found.imsi = imsi.decode("ascii") if imsi.isdigit() else None
    network = int.from_bytes(told.get("nid", b""), "little")
    mcc, mnc = network >> 10 & 0x3FF, network & 0x3FF
    found.operator = str(mcc * (100 if mnc < 100 else 1000) + mnc) if 200 <= mcc <= 799 else None
    found.largest = int.from_bytes(told.get("buffer", b""), "little")
    return True


def optional(body: bytes) -> dict[str, bytes] | None:
    """The fields of TERM_IDENTITY that its flags tell; None: it is shorter."""
    if len(body) < 5:
        return None
    told, at = {}, 5
    for bit, name, size in OPTIONAL:
        if body[4] & bit:
            told[name] = body[at : at + size]
            at += size
    return told if at <= len(body) else None


def service(kind: int) -> bytes:
    """SERVICE_INFO: whether a service is there."""
    state = 0 if kind in _SERVED else _NOT_CONFIGURED
    return wire.subrecord(wire.SERVICE_INFO, bytes((kind, state, 0)))
