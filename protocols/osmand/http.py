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
_VERBS, _VERSIONS = (b"GET", b"POST", b"PUT"), (b"0", b"1")
_MAX_TARGET = 8000
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_TEXTS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 411: "Length Required", 413: "Content Too Large",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


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


class _Headers(NamedTuple):
    """What the lines behind the first one say; `keep` by HTTP/1.0 and 1.1."""

    kind: str
    keep: tuple[bool, bool]
    length: int
    expects: bool


_NONE = _Headers("", (False, True), 0, False)


@lru_cache(256)
def _headers(block: bytes) -> _Headers | Wrong:
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
    if b"transfer-encoding" in headers:
        return Wrong("unsupported", 411)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 12:
        return Wrong("structure", 400)
    if int(length) > MAX_BODY:
        return Wrong("length", 413)
    wish = headers.get(b"connection", b"").lower()
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    expects = headers.get(b"expect", b"").lower() == b"100-continue"
    return _Headers(kind, (wish == b"keep-alive", wish != b"close"), int(length), expects)


def read_head(data: bytes) -> Head | Wrong:
    """Request line and headers."""
    line, more, rest = data[:-4].partition(b"\r\n")
    verb, _, asked = line.partition(b" ")
    target, _, version = asked.rpartition(b" HTTP/1.")
    if verb not in _VERBS or version not in _VERSIONS or len(target) > _MAX_TARGET or target.split() != [target]:
        return Wrong("structure", 400)
    headers = _headers(rest) if more else _NONE
    if isinstance(headers, Wrong):
        return headers
    kind, keep, length, expects = headers
    return Head(target.partition(b"?")[2], kind, keep[version == b"1"], length, expects)
