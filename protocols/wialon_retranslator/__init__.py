"""Wialon Retranslator 1.0: what other platforms pass on, many objects on one connection."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.records import Frame, Session
from protocols.registry import WireProtocol
from protocols.wialon_retranslator import wire
from protocols.wialon_retranslator.anatomy import anatomy
from protocols.wialon_retranslator.declaration import BLOCK, parse
from protocols.wialon_retranslator.decoder import decode
from protocols.wialon_retranslator.measures import MEASURES, SHARED
from protocols.wialon_retranslator.session import RetranslatorSession


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return RetranslatorSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    try:
        return parse(frame.data)
    except ConstructError as error:
        return {"bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> Any:
    """A block; None for a whole packet."""
    if data[:2] != wire.BLOCK.to_bytes(2, "big"):
        return None
    try:
        return BLOCK.parse(data)
    except ConstructError as error:
        return {"bytes": data.hex(), "error": str(error)}


def _begins(data: bytes, transport: str) -> bool | None:
    """A little-endian size below 4096, printable characters and a zero, a time, flags, and 0BBB where blocks follow."""
    if any(byte > most for byte, most in zip(data, (0xFF, 0x0F, 0, 0), strict=False)):
        return False
    if len(data) < 4:
        return None
    size = int.from_bytes(data[:4], "little")
    if size < wire.MIN_SIZE:
        return False
    stop = data.find(0, 4, 4 + wire.MAX_UID + 1)
    uid = data[4 : stop if stop >= 0 else None]
    if not all(0x20 < byte < 0x7F for byte in uid) or stop == 4 or (stop < 0 and len(uid) > wire.MAX_UID):
        return False
    if stop < 0:
        return None
    mark = data[stop + 9 : stop + 11]
    if size == stop - 4 + 9:  # no blocks
        return True if len(data) >= stop + 9 else None
    if not wire.BLOCK.to_bytes(2, "big").startswith(mark):
        return False
    return True if len(mark) == 2 else None


PROTOCOL = WireProtocol(
    name="wialon-retranslator",
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    measures=MEASURES,
    max_frame=wire.MAX_PACKET,
    shared_measures=SHARED,
    member=_member,
    missing_login=lambda _data: b"",
    closes_on_damage=True,
    anatomy=anatomy,
    begins=_begins,
)
