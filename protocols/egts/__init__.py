"""EGTS: terminals and relays, over TCP; GOST 33472-2015 and GOST R 54619-2011."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.egts import commands, wire
from protocols.egts.anatomy import anatomy
from protocols.egts.declaration import login, parse, parse_records
from protocols.egts.decoder import decode, parts
from protocols.egts.measures import MEASURES, SHARED
from protocols.egts.session import EgtsSession
from protocols.egts.walk import PACKET
from protocols.records import Frame, Session
from protocols.registry import WireProtocol


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return EgtsSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    if frame.variant != PACKET:
        return _member(frame.data, frame.variant)
    try:
        return parse(frame.data)
    except ConstructError as error:
        return {"bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> Any:
    """Records alone; None for a whole packet."""
    if variant == PACKET and _head(data):
        return None
    try:
        return {"records": parse_records(data)}
    except ConstructError as error:
        return {"bytes": data.hex(), "error": str(error)}


def _head(data: bytes) -> int:
    """The size of a good header; 0: there is none."""
    size = data[3] if len(data) > 3 else 0
    good = size in (wire.HEAD, wire.ROUTED_HEAD) and len(data) >= size and data[0] == 1
    return size if good and wire.crc8(data[: size - 1]) == data[size - 1] else 0


def _on_wire(frame: Frame) -> bytes:
    return frame.data if frame.variant == PACKET else wire.packet(1, wire.APPDATA, frame.data)


def _missing_login(data: bytes) -> bytes:
    """Any packet but AUTH stands behind a login: of the first object that is named, else of terminal 1."""
    size = _head(data)
    if not size:
        return b""
    body = data[size : size + (data[5] | data[6] << 8)]
    found, _ = wire.records(body, 0, len(body)) if data[9] == wire.APPDATA else ([], 0)
    if any(one.service == wire.AUTH for one in found):
        return b""
    return login(next((one.oid for one in found if one.oid), 1))


def _begins(data: bytes, transport: str) -> bool | None:
    """01, a header of 11 or 16 bytes and its own checksum."""
    for at, allowed in enumerate(((1,), None, None, (wire.HEAD, wire.ROUTED_HEAD))):
        if at >= len(data):
            return None
        if allowed is not None and data[at] not in allowed:
            return False
    return None if len(data) < data[3] else _head(data) > 0


PROTOCOL = WireProtocol(
    name="egts",
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    measures=MEASURES,
    max_frame=wire.MAX_PACKET,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    on_wire=_on_wire,
    command_problem=commands.problem,
    parts=parts,
    anatomy=anatomy,
    begins=_begins,
)
