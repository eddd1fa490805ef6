"""As much of HTTP/1.1 as trackers need: requests out of a stream, within bounds, and answers.

    GET, POST, PUT; a query or a body with its Content-Length; keep-alive and pipelining; Expect: 100-continue

What is out of bounds or wrong ends the connection behind its answer, for nobody can tell where the next request begins.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

MAX_HEAD = 8192  # bytes of a request line and its headers
MAX_BODY = 65_536
_LINE = re.compile(rb"(GET|POST|PUT) (\S{1,8000}) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_TEXTS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 411: "Length Required", 413: "Content Too Large",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


class Request(NamedTuple):
    """One request: its query, its body, and what kind that is; `size` bytes on the wire."""

    query: bytes
    body: bytes
    kind: str
    keep: bool
    size: int


class Wrong(NamedTuple):
    """Why a request is none: a reason as of `Malformed`, and the code of its answer."""

    reason: str
    code: int


@lru_cache
def answer(code: int, *, keep: bool = True) -> bytes:
    """An answer without a body."""
    close = "" if keep else "Connection: close\r\n"
    return f"HTTP/1.1 {code} {_TEXTS[code]}\r\nContent-Length: 0\r\n{close}\r\n".encode()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def head_size(data: bytes | bytearray) -> int:
    """Bytes of the head at the beginning, its empty line included; 0 while it is not whole."""
    found = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    return found + 4 if found >= 0 else 0


class Head(NamedTuple):
    """A head that was read."""

    query: bytes
    kind: str
    keep: bool
    length: int
    expects: bool


@lru_cache(256)
def _headers(block: bytes) -> dict[bytes, bytes] | Wrong:
    """Header lines; a client's are the same with every request."""
    headers: dict[bytes, bytes] = {}
    for one in block.split(b"\r\n"):
        found = _HEADER.fullmatch(one)
        if found is None:
            return Wrong("structure", 400)
        name = found[1].lower()
        if name == b"content-length" and headers.get(name, found[2]) != found[2]:
            return Wrong("structure", 400)  # two lengths: a request could hide in the other
        headers[name] = found[2]
    return headers


def read_head(data: bytes) -> Head | Wrong:
    """Request line and headers."""
    first, more, rest = data[:-4].partition(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        return Wrong("structure", 400)
    headers = _headers(rest) if more else {}
    if isinstance(headers, Wrong):
        return headers
    if b"transfer-encoding" in headers:
        return Wrong("unsupported", 411)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 12:
        return Wrong("structure", 400)
    if int(length) > MAX_BODY:
        return Wrong("length", 413)
    wish = headers.get(b"connection", b"").lower()
    keep = wish != b"close" if line[3] == b"1" else wish == b"keep-alive"
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    expects = headers.get(b"expect", b"").lower() == b"100-continue"
    return Head(line[2].partition(b"?")[2], kind, keep, int(length), expects)
