"""JT/T 808 (2011, 2013, 2019) over TCP: the protocol of vehicles in China, and of many trackers elsewhere.

Modules: `wire` flags, escapes, header, checksum; `packages` messages in several packages; `session` what answers what;
`locations` how a location is built; `decoder` many of them to columns; `commands` what is sent to terminals.
`declaration` is the readable truth.
"""

from __future__ import annotations

from typing import Any

from protocols.jt808.anatomy import anatomy
from protocols.jt808.commands import problem
from protocols.jt808.declaration import frame, location_of, tree
from protocols.jt808.decoder import decode, parts
from protocols.jt808.measures import MEASURES, SHARED
from protocols.jt808.session import auth_code, new_session
from protocols.jt808.wire import (
    ATTRIBUTES,
    AUTHENTICATE,
    BATCH,
    HEARTBEAT,
    LOCATION,
    LOCATION_ANSWER,
    MAX_PACKAGE,
    REGISTER,
    escape,
    head_of,
    identity_of,
    packages,
    unescape,
)
from protocols.records import Frame
from protocols.registry import WireProtocol

_FIRST = frozenset((REGISTER, AUTHENTICATE, HEARTBEAT, LOCATION, LOCATION_ANSWER, BATCH, ATTRIBUTES))


def _member(data: bytes, variant: int) -> Any:
    """A location of a batch; None: a whole frame, or what is no location either."""
    del variant
    if packages(data) is not None:
        return None
    found = location_of(data)
    return {"bytes": data.hex()} if found is None else found


def _missing_login(data: bytes) -> bytes:
    """An authentication in the name of the first message, where that is none."""
    end = data.find(b"~", 1)
    package = unescape(data[1:end]) if data[:1] == b"~" and end > 0 else None
    head = head_of(package) if package else None
    if head is None or head.id in (REGISTER, AUTHENTICATE):
        return b""
    code = auth_code(b"", identity_of(head.phone)).encode()
    body = bytes((len(code),)) + code + b"0" * 15 + bytes(20) if head.new else code
    return frame(AUTHENTICATE, head.phone, 0, body, version=head.version or 1 if head.new else 0)


def _begins(data: bytes, transport: str) -> bool | None:
    """7E and the number of a message that a terminal begins with: 0100, 0102, 0002, 0200, 0201, 0704, 0107."""
    del transport
    if data[:1] not in (b"", b"~"):
        return False
    data = data.lstrip(b"~")
    if len(data) < 2:
        return None if not data or data[0] in {first >> 8 for first in _FIRST} else False
    return data[0] << 8 | data[1] in _FIRST


def _on_wire(frame: Frame) -> bytes:
    """Each package behind its flags."""
    out, at, data = b"", 0, frame.data
    while (head := head_of(data, at)) is not None and at + head.size <= len(data):
        out += escape(data[at : at + head.size])
        at += head.size
    return out or data


PROTOCOL = WireProtocol(
    name="jt808",
    new_session=new_session,
    decode=decode,
    tree=lambda found: tree(found.data),
    measures=MEASURES,
    max_frame=MAX_PACKAGE,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    command_problem=problem,
    parts=parts,
    anatomy=anatomy,
    begins=_begins,
    on_wire=_on_wire,
    keyed=True,
)
