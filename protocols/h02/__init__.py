"""H02 of many small trackers: text and binary messages over TCP and UDP, each naming its terminal."""

from __future__ import annotations

import re
from typing import Any

from protocols.commands import text_problem
from protocols.h02.anatomy import anatomy
from protocols.h02.declaration import tree
from protocols.h02.decoder import decode
from protocols.h02.measures import MEASURES, SHARED
from protocols.h02.session import new_session
from protocols.registry import WireProtocol
from protocols.selfnamed import MAX_MESSAGE

_COMMAND = re.compile(r"[A-Z][A-Z0-9]{0,9}(?:,[0-9A-Za-z._:-]*)*")
# The terminal's five bytes, hours, minutes, seconds, day, month and year, two digits to a byte.
_BINARY = re.compile(r"\d{10}([01]\d|2[0-3])[0-5]\d[0-5]\d(0[1-9]|[12]\d|3[01])(0[1-9]|1[0-2])\d\d")
_BEGINNING = re.compile(rb"\*[A-Za-z]{2},[0-9A-Za-z]{1,20},")
_KINDS = r"(?:V[0-9]|LINK|HTBT)"
PACKET = re.compile(rf"\*[A-Za-z]{{2}},[0-9A-Za-z]{{1,20}},(?!V4,{_KINDS},)")
ANSWER = re.compile(rf"\*[A-Za-z]{{2}},[0-9A-Za-z]{{1,20}},V4,{_KINDS},")


def _member(data: bytes, variant: int) -> Any:
    """Messages are quarantined whole."""
    del data, variant


def _begins(data: bytes, transport: str) -> bool | None:
    """*, two letters and the digits of a terminal between commas.

    Binary messages begin with $, as others do: never certain, and none where no time and day of digits follow.
    """
    del transport
    if _BEGINNING.match(data):
        return True
    if data[:1] == b"$" and len(data) >= 12:
        return None if _BINARY.fullmatch(data[1:12].hex()) else False
    partly = re.fullmatch(rb"\*?|\*[A-Za-z]{1,2}|\*[A-Za-z]{2},[0-9A-Za-z]{0,20}|\$.{0,10}", data, re.DOTALL)
    return None if partly else False


def _command_problem(text: str) -> str:
    """``D1,5,1``: a command of letters and digits, and what it takes, between commas."""
    return text_problem(text, 200) or (
        "" if _COMMAND.fullmatch(text.strip()) else "an H02 command is its name and what it takes, such as D1,5,1"
    )


PROTOCOL = WireProtocol(
    name="h02",
    new_session=new_session,
    decode=decode,
    tree=lambda frame: tree(frame.data),
    measures=MEASURES,
    max_frame=MAX_MESSAGE,
    shared_measures=SHARED,
    member=_member,
    missing_login=lambda _data: b"",
    transports=("tcp", "udp"),
    packet_text=PACKET,
    answer_text=ANSWER,
    command_problem=_command_problem,
    anatomy=anatomy,
    begins=_begins,
)
