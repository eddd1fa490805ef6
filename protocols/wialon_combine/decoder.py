"""Packets of data to columns. A message's structure is its kinds, numbers, types and texts."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from protocols.learned import Body, Cut, DamagedError, Decoder, Explained, Grammar
from protocols.meanings import Element, Meaning, Names
from protocols.records import Decoded, Frame
from protocols.told import Told
from protocols.wialon_combine import wire
from protocols.wialon_combine.measures import IO, NAMES, POSITION, cell
from protocols.wialon_combine.walk import Value, messages


class _Grammar(Grammar):
    hooked = ()

    def body(self, frame: Frame) -> Body | str:
        try:
            begin, end = wire.span(frame.data)
        except IndexError:
            return "length"
        if end > len(frame.data) or begin == end:
            return "length"
        return Body(None, frame.data[begin:end])

    def cut(self, body: Body) -> Iterator[Cut]:
        data = body.data
        for one in messages(data, 0, len(data)):
            if one.values or not one.damaged:
                moved = [value._replace(at=value.at - one.start, end=value.end - one.start) for value in one.values]
                texts = [data[value.at : value.end] for value in one.values if value.type == wire.TEXT]
                signature = (one.end - one.start, data[one.start + 4], tuple(moved), tuple(texts))
                yield Cut(one.start, one.end, signature, 1, moved)
            if one.damaged:
                raise DamagedError(one.damaged, one.end)

    def explain(self, kind: Hashable, record: bytes, walked: Any) -> Explained:
        return explain(walked)

    @staticmethod
    def hook(told: Told, _kind: Hashable) -> None:
        """0/0 without satellites is no position."""
        lat, lon, satellites = told.get("@lat"), told.get("@lon"), told.get("@satellites")
        if lat is not None and lon is not None and satellites is not None:
            nowhere = (lat == 0) & (lon == 0) & (satellites == 0)
            lat[nowhere] = lon[nowhere] = float("nan")


def explain(values: Sequence[Value]) -> Explained:
    """The values of a message; a text is a part of its structure, since its end tells where the rest lies."""
    names = Names()
    fixed: list[tuple[int, int]] = []
    for one in values:
        size = one.end - one.at
        if one.kind == wire.POSITION:
            names.add(wire.POSITION << 16, POSITION, one.at, size)
        elif one.kind == wire.IO:
            names.add(wire.IO << 16, IO, one.at, size)
        elif one.kind == wire.CELLS:
            names.add((wire.CELLS << 16) + one.number, cell(one.number), one.at, size)
        else:
            name = "message" if one.kind == wire.MESSAGE else f"{NAMES[one.kind]}.{one.number}"
            if one.type == wire.TEXT:
                fixed.append((one.at, size))
                meaning = Meaning(name, kind="text")
            else:
                meaning = Meaning(name, divisor=10.0**one.power if one.type < 8 else 1.0)
            form = "" if one.type == wire.TEXT else ">" + wire.FORMATS[one.type].lstrip(">")
            names.add((one.kind << 16) + one.number, ((meaning, 0, size, form),), one.at, size)
    elements = [Element(Meaning("@time"), 0, 4, ">u4"), *names.elements]
    return Explained(elements, fixed=fixed)


_shared = Decoder(_Grammar())


def decode(frames: Sequence[Frame]) -> Decoded:
    """Decode with the process's own table of structures."""
    return _shared.decode(frames)
