"""OsmAnd's protocol: places of phones and trackers as HTTP requests, in a query, a form or JSON.

Who sends is what a request says: put it behind TLS. `http` reads requests, `session` answers them, `declaration` says
what their fields mean.
"""

from __future__ import annotations

import re
from typing import Any

from protocols.osmand.anatomy import anatomy
from protocols.osmand.declaration import tree
from protocols.osmand.decoder import decode
from protocols.osmand.http import MAX_BODY
from protocols.osmand.measures import MEASURES, SHARED
from protocols.osmand.session import new_session
from protocols.registry import WireProtocol

_STARTS = (b"POST /", b"PUT /")
_GET = re.compile(rb"GET /[^ ?\r\n]{0,200}\?")
_GETTING = re.compile(rb"G?|GE|GET ?|GET /[^ ?\r\n]{0,200}")


def _member(data: bytes, variant: int) -> Any:
    """Requests are quarantined whole."""
    del data, variant


def _begins(data: bytes, transport: str) -> bool | None:
    """GET, a path and a query, or POST or PUT and a path."""
    del transport
    if _GET.match(data) or any(data.startswith(start) for start in _STARTS):
        return True
    return None if _GETTING.fullmatch(data) or any(start.startswith(data) for start in _STARTS) else False


PROTOCOL = WireProtocol(
    name="osmand",
    new_session=new_session,
    decode=decode,
    tree=lambda frame: tree(frame.data, frame.variant),
    measures=MEASURES,
    max_frame=MAX_BODY,
    shared_measures=SHARED,
    member=_member,
    missing_login=lambda _data: b"",
    anatomy=anatomy,
    begins=_begins,
)
