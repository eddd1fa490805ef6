"""Ruptela (FM-Tco4, FM-Eco4, Plug4, HCV, Trace5) over TCP.

Modules: `measures` the IO ids; `wire` frames as bytes; `decoder` records to columns; `session` what answers what;
`declaration` the readable truth and the oracle of the decoder; `anatomy` every byte by name; `terminal` the other side.
"""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.commands import text_problem
from protocols.records import Frame, Session
from protocols.registry import WireProtocol
from protocols.ruptela.anatomy import anatomy
from protocols.ruptela.declaration import parse
from protocols.ruptela.decoder import decode
from protocols.ruptela.measures import MEASURES, SHARED
from protocols.ruptela.session import MAX_FRAME, MAX_IMEI, RuptelaSession
from protocols.ruptela.wire import COMMANDS

_MAX_TEXT = 160  # as by SMS


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return RuptelaSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    try:
        return parse(frame.data)
    except (ConstructError, IndexError, KeyError) as error:
        return {"bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> None:
    """A frame is kept whole."""
    del data, variant


def _missing_login(data: bytes) -> bytes:
    """Every frame names its terminal."""
    del data
    return b""


def _begins(data: bytes, transport: str) -> bool | None:
    """A length, an IMEI as a number of eight bytes, and a command that a terminal sends."""
    del transport
    if len(data) < 11:
        if len(data) >= 2 and not 9 <= int.from_bytes(data[:2], "big") <= MAX_FRAME - 4:
            return False
        return False if data[:1] > b"\x0f" or data[2:3] > b"\0" or data[3:4] > b"\x03" else None
    length, imei = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:10], "big")
    return 9 <= length <= MAX_FRAME - 4 and 0 < imei <= MAX_IMEI and data[10] in COMMANDS


def _command_problem(text: str) -> str:
    """A text of ASCII, as by SMS."""
    return text_problem(text, _MAX_TEXT) or ("" if text.isascii() else "Ruptela's commands are ASCII")


PROTOCOL = WireProtocol(
    name="ruptela",
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
    anatomy=anatomy,
    begins=_begins,
    closes_on_damage=True,
)
