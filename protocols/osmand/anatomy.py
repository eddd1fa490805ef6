"""HTTP requests byte by byte: request line, headers, fields of query or body."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.anatomy import Span, Unit
from protocols.osmand.declaration import QUERY, content, is_greeting, terminal_of
from protocols.osmand.http import Wrong, head_size, read_head


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp  # not spoken over it
    at = 0
    while at < len(data):
        blank = len(data) - at - len(data[at:].lstrip(b"\r\n"))
        unit = Unit("idle", [Span(blank, "blank")]) if blank else _unit(data[at:])
        yield unit
        at += unit.size


def _unit(data: bytes) -> Unit:
    size = head_size(data)
    head = read_head(data[:size]) if size else Wrong("structure", 400)
    if isinstance(head, Wrong) or len(data) < size + head.length:
        return Unit("unreadable", [Span(len(data), "remainder")])
    line, *headers = data[: size - 4].split(b"\r\n")
    method, target, version = line.split(b" ")
    path, mark, query = target.partition(b"?")
    spans = [Span(len(method), "method", method.decode()), Span(1, "separator")]
    spans.append(Span(len(path), "path", path.decode("utf-8", "backslashreplace")))
    if mark:
        spans += [Span(1, "separator"), *_fields(query)]
    spans += [Span(1, "separator"), Span(len(version), "version", version.decode()), Span(2, "line.end")]
    for one in headers:
        name, _, value = one.partition(b":")
        shown = value.strip().decode("utf-8", "backslashreplace")
        spans += [Span(len(one), f"header.{name.decode('ascii', 'replace').lower()}", shown), Span(2, "line.end")]
    spans.append(Span(2, "head.end"))
    body = data[size : size + head.length]
    said, variant = content(query, body, head.kind)
    if body:
        as_query = said is body and variant == QUERY
        spans += _fields(body) if as_query else [Span(len(body), "body", body.decode("utf-8", "backslashreplace"))]
    if not terminal_of(said, variant):
        return Unit("unreadable", spans)  # by its session: it names nobody
    return Unit("login" if is_greeting(said, variant) else "frame", spans)


def _fields(query: bytes) -> list[Span]:
    spans: list[Span] = []
    for number, field in enumerate(query.split(b"&")):
        if number:
            spans.append(Span(1, "separator"))
        name, _, value = field.partition(b"=")
        if field:
            called = f"field.{name.decode('utf-8', 'backslashreplace')}"
            spans.append(Span(len(field), called, value.decode("utf-8", "backslashreplace")))
    return spans
