"""What the simulated terminals send, and what must therefore stand in the store.

Built with `struct` and the protocols' own small builders: the same bytes as the declarations make (`test_frames.py`
holds them to that), ten times as fast.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import fastcrc

from gateway.receive.batch import MAX_REFUSED
from protocols.omnicomm.framing import checksum, stuff
from protocols.omnicomm.omnicomm_pb2 import RecReg
from protocols.wialon_ips.wire import crc16

BEGIN = 1_790_000_000  # Unix time at which every simulation starts
_OMNICOMM_EPOCH = 1_230_768_000
_RECORD = struct.Struct(">QBiiHHBH BB BB BHB B")  # head; event, n; n1; n2 = 1, id 66, value; n4; n8


@dataclass(frozen=True, slots=True)
class Told:
    """A record as its terminal means it; `serial` travels as a measure and makes it unique."""

    time: int  # s of Unix time
    lat: int  # 1e-5 degree
    lon: int
    serial: int
    poison: bool = False  # the store will refuse its row
    dear: float = 0.0  # s that the store takes for it


@dataclass(slots=True)
class Sent:
    """One frame, or another thing that wants an answer, in the queue of a terminal."""

    kind: str  # data | ping (an answer that promises nothing) | message (kept as evidence) | told (kept, unanswered)
    wire: bytes
    records: Sequence[Told] = ()
    forms: list[bytes] = field(default_factory=list)  # as the spool and quarantine would keep it
    number: int = 0
    odd: bool = False  # passes its checksum and cannot be decoded
    damaged: bool = False  # what left does not pass its checksum

    @property
    def poison(self) -> bool:
        return any(record.poison for record in self.records)


# -- Teltonika ------------------------------------------------------------------------------------------------------


def teltonika(records: Sequence[Told], *, odd: bool = False) -> Sent:
    """Codec 8 with the supply voltage as its only IO; odd: the two counts differ."""
    parts = [
        _RECORD.pack(
            r.time * 1000, 0, r.lon * 100, r.lat * 100, 100, 90, 9, 50, 66, 1, 0, 1, 66, r.serial, 0, 0
        )
        for r in records
    ]  # fmt: skip
    n = len(records)
    wire = teltonika_frame(bytes((8, n)) + b"".join(parts) + bytes((n + odd,)))
    return Sent("data", wire, records, [wire], odd=odd)


def teltonika_frame(payload: bytes) -> bytes:
    """Preamble, length, payload, CRC."""
    return struct.pack(">II", 0, len(payload)) + payload + struct.pack(">I", fastcrc.crc16.arc(payload))


def teltonika_response(text: bytes) -> Sent:
    """Codec 12: the answer to `getver`; kept, never answered."""
    wire = teltonika_frame(struct.pack(">BBBI", 12, 1, 6, len(text)) + text + b"\x01")
    return Sent("told", wire, forms=[text])


# -- Omnicomm -------------------------------------------------------------------------------------------------------


def omnicomm_frame(command: int, payload: bytes = b"") -> tuple[bytes, bytes]:
    """Body with its checksum, and the same on the wire."""
    body = bytes((command, *len(payload).to_bytes(2, "little"))) + payload
    body += checksum(body).to_bytes(2, "big")
    return body, stuff(body)


def omnicomm(number: int, records: Sequence[Told], *, odd: int = 0, archive: bool = False) -> Sent:
    """A container; odd: so many messages more, which are no protobuf."""
    messages = []
    for r in records:
        one = RecReg()
        one.mID.append(1)
        one.general.Time = r.time - _OMNICOMM_EPOCH
        one.general.FLG = 7
        one.general.Uboard = r.serial
        one.nav.LAT, one.nav.LON = r.lat * 100, r.lon * 100
        one.nav.GPSVel, one.nav.GPSDir, one.nav.GPSNSat, one.nav.GPSAlt = 500, 90, 9, 1000
        messages.append(one.SerializeToString(deterministic=True))
    messages += [b"\xff\xff\xff"] * odd
    payload = struct.pack("<IIB", number, records[0].time - _OMNICOMM_EPOCH, 0)
    payload += b"".join(len(m).to_bytes(2, "little") + m for m in messages)
    sent = Sent("data", b"", records, number=number, odd=odd > 0)
    for command in (0x86, 0x95):  # acknowledged or not, live data comes again as archive: the same records
        body, wire = omnicomm_frame(command, payload)
        sent.forms.append(body)
        if archive == (command == 0x86):
            sent.wire = wire
    if 0 < odd <= MAX_REFUSED:  # of more, the container is kept
        sent.forms.append(b"\xff\xff\xff")
    return sent


def as_archive(sent: Sent) -> None:
    """What was live is archive when it comes again."""
    if sent.forms:
        sent.wire = stuff(sent.forms[0])


# -- Wialon IPS -----------------------------------------------------------------------------------------------------


def _degrees(value: int, width: int) -> str:
    whole, rest = divmod(abs(value), 100_000)
    return f"{whole:0{width}d}{rest * 60 / 100_000:08.5f}"


def _member(r: Told, odd: bool) -> bytes:
    day, second = divmod(r.time, 86_400)
    # Civil date from days since 1970, for the years the simulation lives in.
    date = _date(day)
    clock = f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"
    lat, lon = _degrees(r.lat, 2), _degrees(r.lon, 3)
    north, east = ("X" if odd else "N"), "E"
    return f"{date};{clock};{lat};{north};{lon};{east};50;90;100;9;NA;NA;NA;;NA;n:1:{r.serial}".encode()


def _date(day: int) -> str:
    z = day + 719_468
    era, doe = divmod(z, 146_097)
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (month <= 2)
    return f"{doy - (153 * mp + 2) // 5 + 1:02d}{month:02d}{year % 100:02d}"


def wialon_line(kind: bytes, covered: bytes) -> bytes:
    """A line of version 2.0, without its end."""
    return b"#%s#%s%04X" % (kind, covered, crc16(covered))


def wialon(records: Sequence[Told], *, odd: bool = False) -> Sent:
    """`D`, or `B` for several; odd: a hemisphere there is not."""
    if len(records) == 1:
        member = _member(records[0], odd)
        line = wialon_line(b"D", member + b";")
        forms = [line, member]
    else:
        members = [_member(r, odd and place == 0) for place, r in enumerate(records)]
        line = wialon_line(b"B", b"".join(m + b"|" for m in members))
        forms = [line, members[0]]
    return Sent("data", line + b"\r\n", records, forms, odd=odd)


def wialon_message(text: bytes) -> Sent:
    """`M`: the driver's words; answered after its commit."""
    line = wialon_line(b"M", text + b";")
    return Sent("message", line + b"\r\n", forms=[line])


def damage(protocol: str, sent: Sent, where: float) -> bytes:
    """`sent` with one bit wrong, somewhere that its checksum covers."""
    wire = bytearray(sent.wire)
    if protocol == "wialon-ips":
        digits = [at for at, byte in enumerate(wire[4:-8], 4) if 0x30 <= byte <= 0x39]
        wire[digits[int(where * len(digits))]] ^= 1
    elif protocol == "teltonika":
        wire[10 + int(where * (len(wire) - 14))] ^= 0x10
    else:
        places = [
            at
            for at in range(8, len(wire) - 2)
            if wire[at - 1] != 0xDB and wire[at] ^ 1 not in (0xC0, 0xDB, 0xDA) and wire[at] not in (0xC0, 0xDB)
        ]
        wire[places[int(where * len(places))]] ^= 1
    return bytes(wire)
