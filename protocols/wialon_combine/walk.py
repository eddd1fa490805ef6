"""Messages in a packet's data, exactly: time, count, and as many subrecords, of which none tells its length.

time4 | count1 | kind ext1 and what it holds, …
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from protocols.wialon_combine import wire


class UnreadableError(ValueError):
    """A subrecord of a kind, or a value of a type, whose length nobody knows; or cut short. `args[0]`: the reason."""


class Value(NamedTuple):
    """One value: `kind` of its subrecord, its number there, its type and power of ten, and where it lies."""

    kind: int
    number: int
    type: int
    power: int
    at: int
    end: int


class Message(NamedTuple):
    """One message; `damaged`: it ends before a subrecord that cannot be read."""

    start: int
    end: int
    values: list[Value]
    damaged: str = ""


def messages(data: bytes, at: int, end: int) -> Iterator[Message]:
    """In turn; the last one may be damaged, and then nothing behind it is read."""
    while at < end:
        start = at
        values: list[Value] = []
        if end - at < 5:
            yield Message(start, start, values, "length")
            return
        count = data[at + 4]
        at += 5
        for _ in range(count):
            begin, known = at, len(values)
            try:
                at = _subrecord(data, at, end, values)
            except (UnreadableError, IndexError) as error:
                del values[known:]
                reason = error.args[0] if isinstance(error, UnreadableError) else "length"
                yield Message(start, begin, values, reason)
                return
        yield Message(start, at, values)


_MOST = 512  # sizes that are remembered; terminals of one configuration share a few
_shapes: dict[int, tuple[int, int, int]] = {}  # by size: which bits tell where values lie, what they are, how many


def count(data: bytes, at: int, end: int) -> int:
    """How many messages there are: at once where another packet of this size had its values at the same places."""
    told = int.from_bytes(data[at:end], "little")
    known = _shapes.get(end - at)
    if known is not None and told & known[0] == known[1]:
        return known[2]
    found = list(messages(data, at, end))
    if found and not found[-1].damaged:
        free = [(one.start - at, one.start + 4 - at) for one in found]
        free += [(v.at - at, v.end - at) for one in found for v in one.values if v.type != wire.TEXT]
        mask = (1 << 8 * (end - at)) - 1 - sum((1 << 8 * (stop - start)) - 1 << 8 * start for start, stop in free)
        if len(_shapes) >= _MOST:
            _shapes.pop(next(iter(_shapes)))
        _shapes[end - at] = mask, told & mask, len(found)
    return max(1, len(found))


def _subrecord(data: bytes, at: int, end: int, values: list[Value]) -> int:
    kind, at = wire.ext(data, at, 1)
    if kind in wire.LISTS:
        items, at = wire.ext(data, at, 1)
        for _ in range(items):
            at = _item(data, at, end, kind, values)
    elif kind == wire.POSITION:
        values.append(Value(kind, 0, 0, 0, at, at + 17))
        at += 17
    elif kind == wire.IO:
        values.append(Value(kind, 0, 0, 0, at, at + 8))
        at += 8
    elif kind == wire.CELLS:
        cells = data[at]
        at += 1
        for cell in range(1, cells + 1):
            values.append(Value(kind, cell, 0, 0, at, at + 12))
            at += 12
    elif kind == wire.MESSAGE:
        stop = data.find(0, at, end)
        if stop < 0:
            raise UnreadableError("length")
        values.append(Value(kind, 0, wire.TEXT, 0, at, stop + 1))
        at = stop + 1
    else:
        raise UnreadableError("unsupported")
    if at > end:
        raise UnreadableError("length")
    return at


def _item(data: bytes, at: int, end: int, kind: int, values: list[Value]) -> int:
    number, at = wire.ext(data, at, 1)
    told = data[at]
    at += 1
    size = wire.SIZES.get(told & 0x1F)
    if size is None:
        if told & 0x1F != wire.TEXT:
            raise UnreadableError("unsupported")
        stop = data.find(0, at, end)
        if stop < 0:
            raise UnreadableError("length")
        size = stop + 1 - at
    if at + size > end:
        raise UnreadableError("length")
    values.append(Value(kind, number, told & 0x1F, told >> 5, at, at + size))
    return at + size
