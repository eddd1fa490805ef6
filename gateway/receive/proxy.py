"""The PROXY protocol: a proxy in front says whose connection it passes on (haproxy/haproxy: doc/proxy-protocol.txt).

    version 2   0D0A0D0A000D0A515549540A | 2 and command | family and transport | length, 2 bytes | addresses, TLVs
    version 1   "PROXY TCP4 source destination port port\\r\\n", at most 107 bytes

Exactly the header is read and not one byte more, so that whatever follows, a TLS handshake too, finds its beginning.
Checksums and all other TLVs are skipped. A header is believed only from those that `listen.proxy_protocol_from` names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
LINE = b"PROXY "
MAX_LENGTH = 4096  # of addresses and TLVs; addresses take 216 at most, the rest is certificates' names and the like
MAX_LINE = 107  # of version 1, by its specification
_FIXED = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_FAMILIES = range(4)  # unspecified, IPv4, IPv6, Unix
_TRANSPORTS = range(3)  # unspecified, stream, datagram

Source = tuple[str, int]
Receive = Callable[[int], Awaitable[bytes]]


class HeaderError(Exception):
    """What came is no PROXY header, or a damaged one; the message says what is wrong."""


def looks_like_header(data: bytes) -> bool:
    """Whether a connection that begins with `data` (at least a few bytes) would be one behind a proxy.

    No protocol of ours begins so.
    """
    return data.startswith((SIGNATURE[:6], LINE))


async def read_header(receive: Receive) -> Source | None:
    """Read one header.

    Parameters
    ----------
    receive : returns between one and as many bytes as asked for, or none at the end.

    Returns
    -------
    The address and port of the client; None where the proxy speaks for itself (a health check), or for a client that
    has no Internet address.

    Raises
    ------
    HeaderError
        If it is no header, or not a whole one.
    """
    start = await _exactly(receive, len(SIGNATURE))
    if start == SIGNATURE:
        fixed = start + await _exactly(receive, _FIXED - len(SIGNATURE))
        return parse_binary(fixed, await _exactly(receive, length_of(fixed)))
    if not start.startswith(LINE):
        raise HeaderError("no PROXY header")
    line = bytearray(start)
    while not line.endswith(b"\r\n"):
        if len(line) >= MAX_LINE:
            raise HeaderError("a PROXY line without an end")
        line += await _exactly(receive, 1)
    return parse_line(bytes(line))


async def _exactly(receive: Receive, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await receive(count - len(data))
        if not piece:
            raise HeaderError("closed inside the PROXY header" if data else "closed before the PROXY header")
        data += piece
    return data


def length_of(fixed: bytes) -> int:
    """Bytes that follow the 16 fixed ones of version 2."""
    length = int.from_bytes(fixed[14:16], "big")
    if length > MAX_LENGTH:
        raise HeaderError(f"a PROXY header of {length} bytes")
    return length


def parse_binary(fixed: bytes, rest: bytes) -> Source | None:
    """The client of version 2's 16 fixed bytes and what their length counts; see `read_header`."""
    command, kind = fixed[12], fixed[13]
    if command not in (_LOCAL, _PROXY):
        raise HeaderError(f"PROXY version and command {command:#04x}")
    if kind >> 4 not in _FAMILIES or kind & 15 not in _TRANSPORTS:
        raise HeaderError(f"PROXY family and transport {kind:#04x}")
    if command == _LOCAL or kind not in (_TCP4, _TCP6):
        return None
    size = 4 if kind == _TCP4 else 16
    if len(rest) < 2 * size + 4:
        raise HeaderError("a PROXY header too short for its addresses")
    return str(ipaddress.ip_address(rest[:size])), int.from_bytes(rest[2 * size : 2 * size + 2], "big")


def parse_line(line: bytes) -> Source | None:
    """The client of version 1's line, which ends in CR LF; see `read_header`."""
    words = line.removesuffix(b"\r\n").decode("ascii", "replace").split(" ")
    if words[:2] == ["PROXY", "UNKNOWN"]:
        return None
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise HeaderError("a PROXY line that is none")
    try:
        source = ipaddress.ip_address(words[2])
        ipaddress.ip_address(words[3])
    except ValueError:
        raise HeaderError("a PROXY line without addresses") from None
    ports = words[4:]
    if any(not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535 for port in ports):
        raise HeaderError("a PROXY line without ports")
    if source.version != int(words[1][3]):
        raise HeaderError("a PROXY line with an address of another family")
    return str(source), int(ports[0])
