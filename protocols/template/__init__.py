"""The least protocol that passes every test: copy this package and turn it into yours (docs/new-protocol.md).

A terminal logs in with its IMEI, then sends packets of records, each acknowledged by its checksum. Modules:
`declaration` the readable truth; `session` what answers what; `decoder` packets to columns; `anatomy` every byte by
name; `terminal` the other side. It is no terminal's on any road, and no listener speaks it.
"""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.records import Frame, Session
from protocols.registry import WireProtocol
from protocols.template.anatomy import anatomy
from protocols.template.declaration import MARKER, PACKET, login
from protocols.template.decoder import MEASURES, SHARED, decode
from protocols.template.session import MAX_FRAME, TemplateSession


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    del transport  # spoken over TCP alone
    return TemplateSession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    try:
        return PACKET.parse(frame.data)
    except ConstructError as error:
        return {"bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> None:
    """Packets come into quarantine whole: they are told by `tree`."""
    del data, variant


def _missing_login(data: bytes) -> bytes:
    """What `dozor decode` puts before bytes that begin behind a login."""
    return login("0" * 15) if data.startswith(MARKER + b"\x02") else b""


def _begins(data: bytes, transport: str) -> bool | None:
    """TP and 01."""
    del transport
    wanted = MARKER + b"\x01"
    return None if len(data) < len(wanted) and wanted.startswith(data) else data.startswith(wanted)


PROTOCOL = WireProtocol(
    name="template",
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    measures=MEASURES,
    max_frame=MAX_FRAME,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    anatomy=anatomy,
    begins=_begins,
)
