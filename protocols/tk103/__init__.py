"""TK103 of many small trackers: text messages in brackets over TCP and UDP, each naming its terminal."""

from __future__ import annotations

import re
from typing import Any

from protocols.commands import text_problem
from protocols.registry import WireProtocol
from protocols.selfnamed import MAX_MESSAGE
from protocols.tk103.anatomy import anatomy
from protocols.tk103.declaration import tree
from protocols.tk103.decoder import decode
from protocols.tk103.measures import MEASURES, SHARED
from protocols.tk103.session import new_session

_COMMAND = re.compile(r"A[A-Z][A-Z0-9]{2}[0-9A-Za-z.,:;#*-]*")
_BEGINNING = re.compile(rb"\([0-9]{12}B[A-Z]")
PACKET = re.compile(r"\([0-9]{12}[B-Z][A-Z][0-9A-Z]{2}")
ANSWER = re.compile(r"\([0-9]{12}A[A-Z][0-9A-Z]{2}")


def _member(data: bytes, variant: int) -> Any:
    """Messages are quarantined whole."""
    del data, variant


def _begins(data: bytes, transport: str) -> bool | None:
    """(, twelve digits and a command that begins with B."""
    del transport
    if _BEGINNING.match(data):
        return True
    return None if re.fullmatch(rb"\(?|\([0-9]{1,12}|\([0-9]{12}B[A-Z]?", data) else False


def _command_problem(text: str) -> str:
    """``AR0000050000``: four characters that begin with A, and what the command takes."""
    return text_problem(text, 200) or (
        ""
        if _COMMAND.fullmatch(text.strip())
        else "a TK103 command is four characters that begin with A, and what it takes, such as AR0000050000"
    )


PROTOCOL = WireProtocol(
    name="tk103",
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
