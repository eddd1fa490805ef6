"""Text messages byte by byte: fields and what parts them, for `anatomy` of protocols of such messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protocols.anatomy import Span, Unit


def parted(data: bytes, names: Sequence[str], by: bytes = b",") -> list[Span]:
    """Fields between separators, by name in their order; those without a name are `field.N`."""
    spans: list[Span] = []
    for number, field in enumerate(data.split(by)):
        if number:
            spans.append(Span(len(by), "separator"))
        if field:
            name = names[number] if number < len(names) else f"field.{number + 1}"
            spans.append(Span(len(field), name, field.decode("utf-8", "backslashreplace")))
    return spans


def sliced(data: bytes, parts: Sequence[tuple[str, int]]) -> list[Span]:
    """Fields of fixed widths, and the rest as one of its own."""
    spans, at = [], 0
    for name, size in parts:
        field = data[at : at + size]
        if field:
            spans.append(Span(len(field), name, field.decode("utf-8", "backslashreplace")))
        at += len(field)
    if at < len(data):
        spans.append(Span(len(data) - at, "rest", data[at:].decode("utf-8", "backslashreplace")))
    return spans


def blanks(data: bytes, at: int) -> Unit | None:
    """Line ends and blanks between two messages."""
    size = len(data) - at - len(data[at:].lstrip(b"\r\n\t \0"))
    return Unit("idle", [Span(size, "blank")]) if size else None


def unreadable(data: bytes, at: int, starts: bytes) -> Unit:
    """From here to where the next message may begin."""
    found = [place for start in starts if (place := data.find(bytes((start,)), at + 1)) > 0]
    return Unit("unreadable", [Span(min(found, default=len(data)) - at, "remainder")])


def named(pairs: Sequence[tuple[str, bytes | None]]) -> Iterator[Span]:
    """Fields that stand end to end, those that are there."""
    for name, field in pairs:
        if field:
            yield Span(len(field), name, field.decode("utf-8", "backslashreplace"))


def whose(unit: Unit, first: str) -> str:
    """Who speaks on a connection, once it was said; a message of somebody else says that it is wrong here."""
    for place, span in enumerate(unit.spans):
        if span.name == "terminal":
            if first and span.value != first:
                unit.spans[place] = span._replace(value=f"wrong, the connection is that of {first}: {span.value}")
            return first or str(span.value)
    return first
