"""Omnicomm registrars (Profi, Optim, Lite and their successors) over TCP.

Modules: `framing` marker, escapes, checksum; `session` what answers what; `fields` the message's fields, measures and
scales; `parser` one message exactly; `odd` texts and lists; `structures` messages that repeat, whole batches at once;
`columns` numbers to columns; `decoder` the whole. `declaration` with `omnicomm.proto` is the readable truth and the
oracle of the decoder.

Why not protobuf's own decoder: it reads a message in under a microsecond, but fetching its fields one by one costs ten
times that. Reading whole columns (`structures`) is faster even with the scaling and the columns included; the exact
parser behind it is slower than protobuf's, yet refuses what must be refused and sees only what does not repeat.
"""

from typing import Any

from protocols.omnicomm.anatomy import anatomy
from protocols.omnicomm.declaration import PAYLOADS, fields_of, identification, read_message, tree
from protocols.omnicomm.decoder import decode, parts
from protocols.omnicomm.framing import MARKER, MAX_PAYLOAD, stuff
from protocols.omnicomm.measures import MEASURES
from protocols.omnicomm.session import new_session
from protocols.registry import WireProtocol


def _missing_login(data: bytes) -> bytes:
    """The first frame of a connection is the identification."""
    command = data[1] if data[:1] == b"\xc0" and len(data) > 1 else 0x80
    return identification(1, 0) if command != 0x80 and command in PAYLOADS else b""


def _member(data: bytes, variant: int) -> Any:
    del variant
    if len(data) >= 5 and data[0] in PAYLOADS and int.from_bytes(data[1:3], "little") + 5 == len(data):
        return None
    found = read_message(data)
    return {"bytes": data.hex()} if found is None else fields_of(found)


def _begins(data: bytes, transport: str) -> bool | None:
    """A marker and a command that a terminal sends; an identification has its length too."""
    del transport
    if not data.startswith(MARKER):
        return None if not data else False
    wanted = bytes((*MARKER, 0x80, 8, 0))
    if data[:2] == wanted[:2] or len(data) < 2:
        return None if len(data) < 4 and wanted.startswith(data) else data.startswith(wanted)
    return data[1] in (0x86, 0x88, 0x93, 0x95, 0x9F)


PROTOCOL = WireProtocol(
    name="omnicomm",
    new_session=new_session,
    decode=decode,
    tree=tree,
    measures=MEASURES,
    max_frame=MAX_PAYLOAD,
    member=_member,
    missing_login=_missing_login,
    transports=("tcp",),
    closes_on_damage=True,
    parts=parts,
    anatomy=anatomy,
    begins=_begins,
    on_wire=lambda frame: stuff(frame.data),
)
