"""What the protocols say of stored things, for people: a quarantined frame decoded, a measure's name on a model.

Decoding runs on the loop that receives, so what is taken on is bounded; nothing here raises on any bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from gateway.record_objects import plain
from gateway.service.decode_print import TextPrinter, safe
from protocols.anatomy import REMAINDER
from protocols.auto import begun
from protocols.errors import UnknownProtocolError
from protocols.records import Frame
from protocols.registry import PROTOCOLS, WireProtocol, protocol
from ticketing.core.errors import InvalidTextError
from ticketing.kit.ports import Anatomy, Named, NamedBytes

_BETWEEN = re.compile(r"0[xX]|\\x|[\s,:;-]")
_HEX = re.compile(r"[0-9A-Fa-f]*")

MAX_DECODED = 64 * 1024  # bytes of one frame: the longest that Teltonika and Omnicomm send
MAX_TREE = 4 * 1024  # bytes shown field by field: the declarations take their time
MAX_PASTED = 2 * 1024  # bytes: as hex with blanks they pass through proxies in a URL of eight kilobytes
MAX_VALUE = 500  # characters
MAX_SHOWN = 20_000  # characters


def decoded(name: str, data: bytes, variant: int) -> str:
    """The lines `dozor decode` prints for this frame, or this member of one."""
    wire = _protocol(name)
    if wire is None:
        return f"this version does not know the protocol {name!r}"
    if len(data) > MAX_DECODED:
        return f"{len(data)} bytes: pages decode no more than {MAX_DECODED}, `dozor decode` takes them all"
    out = io.StringIO()
    short = len(data) <= MAX_TREE
    printer = TextPrinter(out, trees=short)
    member = wire.member(data, variant) if short else None
    if member is not None:
        printer.tree(member)
    else:
        frame = Frame(data, 1, 0, variant)
        printer.frame(frame, printer.read(wire, [frame])[0], 0)
    text = out.getvalue()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN].rpartition("\n")[0] + "\n…\n"


def anatomies() -> list[str]:
    """The protocols whose bytes have names."""
    return [name for name in PROTOCOLS if protocol(name).anatomy is not None]


def anatomy(text: str, name: str | None, *, udp: bool) -> Anatomy:
    """Bytes as people paste them, by name; without one the first bytes tell the protocol.

    Raises
    ------
    InvalidTextError
        If they are no bytes, or too many.
    """
    data = _pasted(text)
    transport = "udp" if udp else "tcp"
    if name is not None:
        return _anatomy(protocol(name), data, udp=udp)
    seen = begun(data, transport)
    if seen.name is None:
        may = ", ".join((*seen.fits, *seen.may))
        note = f"may be {may}: give more bytes, or choose" if may else "no protocol that is told by its first bytes"
        return Anatomy(None, note, data.hex(), [NamedBytes(0, data.hex(), REMAINDER, None)] if data else [])
    return _anatomy(protocol(seen.name), data, udp=udp)


def frame_anatomy(name: str, data: bytes, variant: int) -> Anatomy:
    """A quarantined frame, or a member of one, as it stood on the wire."""
    wire = _protocol(name)
    if wire is None or wire.anatomy is None:
        return Anatomy(None, f"this version has no names for bytes of {name!r}", data.hex(), [])
    if len(data) > MAX_TREE:
        return Anatomy(name, f"more than {MAX_TREE} bytes: `dozor decode {name} --tree` names them all", "", [])
    if wire.member(data, variant) is not None:
        return Anatomy(name, "a record out of a frame: its bytes have names within the frame only", data.hex(), [])
    sent = wire.on_wire(Frame(data, 1, 0, variant))
    begins = wire.begins
    udp = begins is not None and begins(sent, "tcp") is False and begins(sent, "udp") is True
    return _anatomy(wire, sent, udp=udp)


def _anatomy(wire: WireProtocol, data: bytes, *, udp: bool) -> Anatomy:
    login = b"" if udp else wire.missing_login(data)
    fields: list[NamedBytes] = []
    at = -len(login)
    for unit in wire.anatomy(login + data, udp=udp) if wire.anatomy else ():
        for span in unit.spans:
            if at >= 0:
                fields.append(NamedBytes(at, data[at : at + span.size].hex(), safe(span.name), _shown(span.value)))
            at += span.size
    return Anatomy(wire.name, "read behind a login" if login else "", data.hex(), fields)


def _shown(value: Any) -> Any:
    """A value as JSON has it, and no longer than a page can show: a container of a kilobyte unpacks to a megabyte."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return safe(value[:MAX_VALUE]) + "…" * (len(value) > MAX_VALUE)
    return plain(value)


def _pasted(text: str) -> bytes:
    bare = _BETWEEN.sub("", text)
    if len(bare) % 2 == 0 and _HEX.fullmatch(bare):
        data = bytes.fromhex(bare)
    elif any(wire.packet_text and wire.packet_text.search(text) for wire in map(protocol, PROTOCOLS)):
        lines = "".join(f"{line.strip()}\r\n" for line in text.splitlines() if line.strip())
        data = lines.encode("utf-8", "replace")
    else:
        raise InvalidTextError("bytes: neither hex, two digits a byte, nor lines of a text protocol")
    if len(data) > MAX_PASTED:
        raise InvalidTextError(f"bytes: at most {MAX_PASTED}; `dozor decode --tree` takes them all")
    return data


def named(name: str | None, model: str | None, measures: Mapping[str, Any]) -> dict[str, Named]:
    """The measures whose meaning depends on the model, as that model means them."""
    wire = _protocol(name or "")
    if wire is None or not model:
        return {}
    found = {measure: wire.named(model, measure) for measure in measures}
    return {
        measure: Named(meaning.name, meaning.value(measures[measure]), meaning.unit)
        for measure, meaning in found.items()
        if meaning is not None
    }


def _protocol(name: str) -> WireProtocol | None:
    try:
        return protocol(name)
    except UnknownProtocolError:
        return None
