"""Records as JSON, one payload each: the shape of our own, those of flespi, OwnTracks and Teltonika, and by template.

    payload → reading.read → Reading: records in one plain shape, refused members, notes
    records → reading.pack → Frame → decoder.decode → columns

What is kept in spool and quarantine is the plain shape, so a template that changed meanwhile does no harm.
"""

from __future__ import annotations

import json
from typing import Any

from protocols.errors import UnknownProtocolError
from protocols.json_records.decoder import decode
from protocols.json_records.reading import MAX_PAYLOAD, Reading, Refusal, pack, read
from protocols.json_records.template import Template, TemplateError
from protocols.records import Session
from protocols.registry import WireProtocol

__all__ = ["PROTOCOL", "Reading", "Refusal", "Template", "TemplateError", "pack", "read"]


def _no_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    raise UnknownProtocolError("JSON records come as payloads of a broker, not over a connection")


def _member(data: bytes, variant: int = 0) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {"bytes": data.hex()}


PROTOCOL = WireProtocol(
    name="json",
    new_session=_no_session,
    decode=decode,
    tree=lambda frame: _member(frame.data),
    measures={},
    max_frame=MAX_PAYLOAD,
    member=_member,
    missing_login=lambda _data: b"",
)
