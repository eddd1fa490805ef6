"""Teltonika: codecs 8, 8E and 16 over TCP and UDP, codecs 12 and 13 for commands and replies."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.commands import MAX_COMMAND, text_problem
from protocols.records import Frame, Session
from protocols.registry import WireProtocol
from protocols.teltonika.anatomy import CODECS, anatomy
from protocols.teltonika.declaration import AVL_CODECS, login, parse_avl, parse_record
from protocols.teltonika.decoder import decode
from protocols.teltonika.measures import MEASURES, SHARED
from protocols.teltonika.models import named
from protocols.teltonika.session import IMEI, MAX_FRAME, TeltonikaDatagram, TeltonikaSession
from protocols.teltonika.walk import parts, payload_span


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return TeltonikaDatagram(max_frame=max_frame) if transport == "udp" else TeltonikaSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    start, stop = payload_span(frame)
    payload = frame.data[start:stop]
    if payload[:1] and payload[0] in AVL_CODECS:
        try:
            return parse_avl(payload)
        except ConstructError as error:
            return {"codec": payload[0], "payload": payload.hex(), "error": str(error)}
    return {"codec": payload[0] if payload else None, "payload": payload.hex()}


def _member(data: bytes, variant: int) -> Any:
    """A record whose codec nobody kept: the one that reads it to its end."""
    whole = len(data) - 2 == int.from_bytes(data[:2], "big") if variant else _is_frame(data)
    if whole:
        return None
    for codec in AVL_CODECS:
        found = parse_record(codec, data)
        if found is not None:
            return {"codec": codec, "record": found}
    return {"bytes": data.hex()}


def _is_frame(data: bytes) -> bool:
    return data[:4] == bytes(4) and len(data) == int.from_bytes(data[4:8], "big") + 12


def _missing_login(data: bytes) -> bytes:
    """Idle bytes aside, a frame begins with four zeros, a login with 00 0F."""
    return login("0" * 15) if data.lstrip(b"\xff")[:4] == bytes(4) else b""


def _begins(data: bytes, transport: str) -> bool | None:
    """00 0F and an IMEI, or behind a login 00000000, a length and a codec; over UDP a length that is its own."""
    if transport == "udp":
        return bool(len(data) > 8 and int.from_bytes(data[:2], "big") == len(data) - 2 and IMEI.match(data[8:]))
    if data[:1] != b"\0":
        return None if not data else False
    if len(data) == 1:
        return None
    if 14 <= data[1] <= 17:
        whole = data[2 : 2 + data[1]]
        return None if (whole.isdigit() and len(whole) < data[1]) or not whole else whole.isdigit()
    if data[:4].strip(b"\0") or data[4:6] > b"\0\1":
        return False
    return None if len(data) < 9 else data[8] in CODECS


def _command_problem(text: str) -> str:
    """Codec 12 carries ASCII; commands of several parameters are the longest, some hundred characters."""
    return text_problem(text, MAX_COMMAND) or ("" if text.isascii() else "Teltonika's commands are ASCII")


PROTOCOL = WireProtocol(
    name="teltonika",
    called_by_imei=True,
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    measures=MEASURES,
    max_frame=MAX_FRAME,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    named=named,
    transports=("tcp", "udp"),
    command_problem=_command_problem,
    closes_on_damage=True,
    time_digits=3,
    parts=parts,
    anatomy=anatomy,
    begins=_begins,
)
