"""Arnavi's binary protocol (Arnavi 4 and 5, Integral, Essential) over TCP. The older text protocol is not spoken.

Modules: `measures` the tags; `wire` packages as bytes; `decoder` packages to columns; `session` what answers what;
`declaration` the readable truth and the oracle of the decoder; `anatomy` every byte by name; `terminal` the other side.
"""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.arnavi.anatomy import anatomy
from protocols.arnavi.declaration import header, parse
from protocols.arnavi.decoder import decode
from protocols.arnavi.measures import MEASURES, SHARED
from protocols.arnavi.session import MAX_FRAME, MAX_IMEI, MAX_TEXT, ArnaviSession
from protocols.arnavi.wire import DATA, HEADER, HEADER_SIZES, KINDS, MAX_DATA, PACKAGE, PACKAGE_END, RESULT
from protocols.commands import text_problem
from protocols.records import Frame, Session
from protocols.registry import WireProtocol

_NOBODY = "1"


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return ArnaviSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    try:
        return parse(frame.data)
    except (ConstructError, IndexError) as error:
        return {"bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> Any:
    """The rest of a package, from where its records do not add up."""
    del variant
    return None if data[:1] == bytes((PACKAGE,)) and data[-1:] == bytes((PACKAGE_END,)) else {"bytes": data.hex()}


def _missing_login(data: bytes) -> bytes:
    """A header, before a package."""
    return header(_NOBODY, 0x22) if data[:1] == bytes((PACKAGE,)) else b""


def _begins(data: bytes, transport: str) -> bool | None:
    """FF, a version and an IMEI as a number; or behind a login 5B, a number, and a record's kind and length."""
    del transport
    if data[:1] == bytes((PACKAGE,)):
        return _begins_package(data)
    if data[:1] != bytes((HEADER,)):
        return False if data else None
    if len(data) > 1 and data[1] not in HEADER_SIZES:
        return False
    if len(data) < 10:
        return None
    return 0 < int.from_bytes(data[2:10], "little") <= MAX_IMEI


def _begins_package(data: bytes) -> bool | None:
    if len(data) < 3:
        return False if data[1:2] == b"\0" else None
    if not data[1] or data[2] not in (*KINDS, PACKAGE_END):
        return False
    if data[2] == PACKAGE_END:
        return True
    if data[1] == RESULT and data[2] == 0:
        return None if len(data) < 4 else data[3] == PACKAGE_END
    if len(data) < 5:
        return None
    length = data[3] | data[4] << 8
    return length <= MAX_DATA and (data[2] != DATA or length >= 5) and bool(data[2] or not length)


def _command_problem(text: str) -> str:
    """A text of ASCII, whose length is one byte."""
    return text_problem(text, MAX_TEXT) or ("" if text.isascii() else "Arnavi's commands are ASCII")


PROTOCOL = WireProtocol(
    name="arnavi",
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
)
