"""GT06 of Concox and Jimi, and its many kin, over TCP.

Modules: `wire` frames and their checksum; `session` what answers what; `contents` what lies where; `decoder` many of
them to columns. `declaration` is the readable truth.
"""

from __future__ import annotations

from typing import Any

from protocols.commands import text_problem
from protocols.gt06.anatomy import anatomy
from protocols.gt06.declaration import login, tree
from protocols.gt06.decoder import decode
from protocols.gt06.measures import MEASURES, SHARED
from protocols.gt06.session import new_session
from protocols.gt06.wire import LOGIN, LONG, MAX_FRAME, SHORT
from protocols.registry import WireProtocol

MAX_TEXT = 200  # a length of one byte holds it, with all that stands around it


def _member(data: bytes, variant: int) -> Any:
    """Frames are quarantined whole."""
    del data, variant


def _missing_login(data: bytes) -> bytes:
    """A frame that is no login."""
    head = 4 if data[:2] == LONG else 3
    if data[:2] not in (SHORT, LONG) or len(data) <= head or data[head] == LOGIN:
        return b""
    return login("0" * 15, 0, zone=None)


def _begins(data: bytes, transport: str) -> bool | None:
    """78 78, a length of 0D to 11 and the number of a login; behind a login any frame."""
    del transport
    if data[:2] not in (SHORT[: len(data)], LONG[: len(data)]):
        return False
    if len(data) < 4:
        return None
    if data[:2] == SHORT:
        return data[2] >= 5
    return data[2] < 16


def _command_problem(text: str) -> str:
    """ASCII of one line; the # at its end need not be written."""
    return text_problem(text, MAX_TEXT) or ("" if text.isascii() else "GT06's commands are ASCII")


PROTOCOL = WireProtocol(
    name="gt06",
    called_by_imei=True,
    new_session=new_session,
    decode=decode,
    tree=lambda frame: tree(frame.data),
    measures=MEASURES,
    max_frame=MAX_FRAME,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    command_problem=_command_problem,
    anatomy=anatomy,
    begins=_begins,
)
