"""Lines out of their connection: as a log shows them, or from behind their login."""

from __future__ import annotations

import re

from protocols.wialon_ips import packets
from protocols.wialon_ips.containers import HEADER, MARK, inflate
from protocols.wialon_ips.wire import MAX_LINE, checksum_holds, split_line

PACKET = re.compile(r"(?:(?:2\.[0-9];)?[^\s;#\"']{1,64})?#(?:L|SD|D|B|P|M|I|IT|T)#")
ANSWER = re.compile(r"#A(?:L|SD|D|B|P|M|I|IT|T)#")
_BEHIND_LOGIN = re.compile(rb"#(?:SD|D|B|P|M|I|IT|T)#")
_TYPES = (b"L", b"SD", b"D", b"B", b"P", b"M", b"I", b"IT", b"T")
_BEGINNING = re.compile(rb"#(?:%s)#" % b"|".join(_TYPES))
_PARTLY = frozenset(b"#" + kind[:size] for kind in _TYPES for size in range(len(kind) + 1)) | {b""}
_DATAGRAM = re.compile(rb"(?:2\.[0-9]{1,2};)?[^#;\r\n]{1,64}" + _BEGINNING.pattern)
_SEALED = re.compile(rb"[;|](?:0[xX])?[0-9A-Fa-f]{1,4}")
_BLOCKS = {b"I": 6, b"T": 3}  # separators with a checksum, which covers the bytes behind the line
_LOOKED_AT = 100  # lines


def begins(data: bytes, transport: str) -> bool | None:
    """A line's type between two #, over UDP behind its sender; or a zlib stream in a container."""
    if data[:1] == bytes((MARK,)):
        if len(data) < HEADER + 2:
            return None
        return data[HEADER] & 15 == 8 and int.from_bytes(data[HEADER : HEADER + 2], "big") % 31 == 0
    if transport == "udp":
        return bool(_DATAGRAM.match(data))
    if _BEGINNING.match(data):
        return True
    return None if data[:4] in _PARTLY else False


def missing_login(data: bytes) -> bytes:
    """A login of the version the lines speak, 2.x where one ends with its checksum, and ended as they end."""
    first = data
    if data[:1] == bytes((MARK,)):
        first, _ = inflate(data[HEADER : HEADER + int.from_bytes(data[1:HEADER], "little")], MAX_LINE)
    if not _BEHIND_LOGIN.match(first):
        return b""
    lines = first.split(b"\n", _LOOKED_AT)[:_LOOKED_AT]
    version = "2.0" if any(_has_checksum(line.removesuffix(b"\r")) for line in lines) else "1.1"
    login = packets.login("assumed", version=version)
    return login.replace(b"\r\n", b"\n") if len(lines) > 1 and not lines[0].endswith(b"\r") else login


def _has_checksum(line: bytes) -> bool:
    kind, body = split_line(line) or (b"", b"")
    if kind not in (b"SD", b"D", b"B", b"M", b"IT", *_BLOCKS):
        return False
    if kind in _BLOCKS:
        return body.count(b";") == _BLOCKS[kind]
    separator = b"|" if kind == b"B" else b";"
    if checksum_holds(body, separator):
        return True  # a wrong one tells too, where its place is certain
    tail = _SEALED.fullmatch(body[max(body.rfind(separator), 0) :])
    return bool(tail) and (kind == b"B" or body.count(b";") == {b"SD": 10, b"D": 16}.get(kind))
