"""Wialon Combine 1.0.3: binary, over TCP and UDP."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.commands import MAX_COMMAND, text_problem
from protocols.records import Frame, Session
from protocols.registry import WireProtocol
from protocols.wialon_combine import wire
from protocols.wialon_combine.anatomy import anatomy
from protocols.wialon_combine.declaration import login, parse
from protocols.wialon_combine.decoder import decode
from protocols.wialon_combine.measures import MEASURES, SHARED
from protocols.wialon_combine.session import CombineSession


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return CombineSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    try:
        return parse(frame.data)
    except (ConstructError, IndexError) as error:
        return {"bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> Any:
    """What follows a subrecord that cannot be read; None for a whole packet."""
    return None if data[:2] == wire.HEAD else {"bytes": data.hex()}


def _missing_login(data: bytes) -> bytes:
    """A packet of data, or a sign of life, stands behind a login."""
    return login("0", 0) if data[:2] == wire.HEAD and data[2:3] in (b"\x01", b"\x02") else b""


def _begins(data: bytes, transport: str) -> bool | None:
    """24 24 and the type of a packet that terminals send."""
    if not wire.HEAD.startswith(data[:2]):
        return False
    return data[2] <= wire.ALIVE if len(data) > 2 else None


def _command_problem(text: str) -> str:
    return text_problem(text, MAX_COMMAND)


PROTOCOL = WireProtocol(
    name="wialon-combine",
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    measures=MEASURES,
    max_frame=wire.MAX_DATA,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    transports=("tcp", "udp"),
    command_problem=_command_problem,
    anatomy=anatomy,
    begins=_begins,
)
