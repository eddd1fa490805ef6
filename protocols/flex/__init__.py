"""Navtelecom's NTCB and FLEX 1.0, 2.0 and 3.0 over TCP.

Modules: `fields` what records may have; `wire` messages and words as bytes; `session` what answers what; `decoder`
frames to columns; `declaration` the readable truth and the oracle of the decoder; `anatomy` every byte by name;
`terminal` the other side. UDP is not spoken: what records are made of is agreed upon for a connection.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from construct import ConstructError

from protocols.commands import MAX_COMMAND, text_problem
from protocols.flex.anatomy import anatomy
from protocols.flex.declaration import agreement, handshake, parse
from protocols.flex.decoder import decode
from protocols.flex.measures import MEASURES, SHARED
from protocols.flex.session import LETTERS, MAX_FRAME, PING, FlexSession
from protocols.flex.wire import PREAMBLE, VERSIONS, unprefixed
from protocols.records import Frame, Session
from protocols.registry import WireProtocol

_NOBODY = "0" * 15


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return FlexSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    try:
        return parse(frame.data)
    except (ConstructError, KeyError) as error:
        return {"bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> Any:
    """An additional record, from the one on that could not be read."""
    del variant
    found = unprefixed(data)
    if found is not None and data[found[1] : found[1] + 1] == b"~":
        return None
    return {"bytes": data.hex()}


def _missing_login(data: bytes) -> bytes:
    """A handshake before any other message; telemetry alone cannot be read, whoever sent it."""
    named = data[:1] == PREAMBLE[:1] and data[16:20] != b"*>S:"
    return handshake(_NOBODY) if named else b""


def _begins(data: bytes, transport: str) -> bool | None:
    """A message's @NTC, or behind a login a word of telemetry."""
    del transport
    told = data.lstrip(bytes((PING,)))
    if not told:
        return None
    if told[:1] == b"~":
        return told[1:2] in [bytes((letter,)) for letter in LETTERS] if len(told) > 1 else None
    if not PREAMBLE.startswith(told[:4]):
        return False
    return None if len(told) < len(PREAMBLE) else True


def _on_wire(frame: Frame) -> bytes:
    """The agreement that its fields go by, and the frame: one cannot be read without the other."""
    found = unprefixed(frame.data)
    if found is None:
        return frame.data
    selection, at = found
    return (
        agreement(selection, VERSIONS[0 if selection.bits <= 69 else 1 if selection.bits <= 122 else 2])
        + frame.data[at:]
    )


def _command_problem(text: str) -> str:
    """A message of NTCB: a question (*?V, *?ICCID) or an order (*!SETOUT 1Y)."""
    problem = text_problem(text, MAX_COMMAND)
    if problem:
        return problem
    if not text.startswith(("*?", "*!")):
        return "FLEX's commands begin with *? or *!, such as *?V or *!SETOUT 1Y"
    try:
        text.encode("cp1251")
    except UnicodeEncodeError:
        return "FLEX's commands are in CP1251"
    return ""


def _archive_command(since: float, until: float) -> str:
    """Repeat from the black box for the first server that is set up, both ends included; times are UTC, as records'.

    Source: Navtelecom's wiki, standard commands, `*!REP_FL 1,09.04.18/13:00:59,10.04.18/03:00:00`.
    """
    first, last = (
        datetime.fromtimestamp(at, UTC).strftime("%d.%m.%y/%H:%M:%S") for at in (math.floor(since), math.ceil(until))
    )
    return f"*!REP_FL 1,{first},{last}"


PROTOCOL = WireProtocol(
    name="flex",
    called_by_imei=True,
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    measures=MEASURES,
    max_frame=MAX_FRAME,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    command_problem=_command_problem,
    archive_command=_archive_command,
    anatomy=anatomy,
    begins=_begins,
    on_wire=_on_wire,
    closes_on_damage=True,
)
