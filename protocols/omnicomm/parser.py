"""Exact parser of one message: protobuf with groups, without the library.

    parse(data) -> Parsed: raw 32-bit numbers by field, everything else by field, event numbers
    BrokenError     an unterminated or mismatched group, a number beyond ten bytes, a string past the end,
                    nesting beyond four levels, a tag that cannot be

Protobuf's own rules hold: the last value of a field wins, repeated groups merge, repeated numbers come packed or not,
what is unknown or of another wire type is skipped, 32-bit fields keep the low 32 bits.
"""

from __future__ import annotations

from typing import TypeAlias

from protocols.omnicomm.fields import EVENTS, MESSAGE, Group, Odd, Scaled

MAX_DEPTH = 4  # the message itself needs two
_MASK_32, _MASK_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_VARINT, _FIXED_64, _BYTES, _START, _END, _FIXED_32 = range(6)


class BrokenError(Exception):
    """These bytes are no message."""


class Table:
    """One group's fields by wire tag, and what its end tag is."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}


class Opaque:
    """A group kept as bytes."""

    __slots__ = ("odd",)

    def __init__(self, odd: Odd) -> None:
        self.odd = odd


class Packed:
    """Repeated numbers or floats in one length-delimited field."""

    __slots__ = ("odd",)

    def __init__(self, odd: Odd) -> None:
        self.odd = odd


Entry: TypeAlias = Scaled | Odd | Table | Opaque | Packed


def _table(group: Group) -> Table:
    table = Table()
    for number, entry in group.fields.items():
        tag = number << 3
        if isinstance(entry, Scaled):
            table.entries[tag | _VARINT] = entry
        elif isinstance(entry, Group):
            table.entries[tag | _START] = _table(entry)
        elif entry.kind == "group":
            table.entries[tag | _START] = Opaque(entry)
        elif entry.kind in ("float", "floats"):
            table.entries[tag | _FIXED_32] = entry
            if entry.kind == "floats":
                table.entries[tag | _BYTES] = Packed(entry)
        elif entry.kind in ("number", "numbers", "special"):
            table.entries[tag | _VARINT] = entry
            if entry.kind != "number":
                table.entries[tag | _BYTES] = Packed(entry)
        else:
            table.entries[tag | _BYTES] = entry
    return table


ROOT = _table(MESSAGE)
UNKNOWN = Table()

Value: TypeAlias = int | bytes


class Parsed:
    """`scaled`: raw numbers, not yet zigzag-decoded. `odd`: all values of a field in wire order, numbers as raw
    integers, floats and strings as their bytes."""

    __slots__ = ("odd", "scaled")

    def __init__(self) -> None:
        self.scaled: dict[Scaled, int] = {}
        self.odd: dict[Odd, list[Value]] = {}

    @property
    def events(self) -> list[int]:
        return [e for e in self.odd.get(EVENTS, ()) if isinstance(e, int)]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where the next one begins.

    Raises
    ------
    BrokenError
        If it is longer than ten bytes or runs past the end.
    """
    value = shift = 0
    for byte in data[at : at + 10]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & _MASK_64, at + shift // 7
    raise BrokenError


def parse(data: bytes) -> Parsed:
    """Read one message.

    Raises
    ------
    BrokenError
        If the bytes are no message.
    """
    parsed = Parsed()
    scaled, odd = parsed.scaled, parsed.odd
    entries = ROOT.entries
    stack: list[tuple[dict[int, Entry], int, Odd | None, int]] = []  # outer table, end tag, opaque field, its start
    at, end = 0, len(data)
    while at < end:
        begin = at
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = varint(data, begin)
        entry = entries.get(tag)
        kind = tag & 7
        if kind == _VARINT:
            if at >= end:
                raise BrokenError
            value = data[at]
            at += 1
            if value >= 0x80:
                value, at = varint(data, at - 1)
            if entry is None:
                _check(tag, entries)
            elif entry.__class__ is Scaled:
                scaled[entry] = value & _MASK_32
            elif isinstance(entry, Odd):
                odd.setdefault(entry, []).append(value if entry.wide else value & _MASK_32)
        elif kind == _START:
            _check(tag, entries)
            if len(stack) >= MAX_DEPTH:
                raise BrokenError
            stack.append((entries, tag + 1, entry.odd if isinstance(entry, Opaque) else None, at))
            entries = entry.entries if isinstance(entry, Table) else UNKNOWN.entries
        elif kind == _END:
            if not stack or stack[-1][1] != tag:
                raise BrokenError
            entries, _, opaque, start = stack.pop()
            if opaque is not None:
                odd.setdefault(opaque, []).append(data[start:begin])
        else:
            _check(tag, entries)
            at = _string(data, at, kind, entry, odd)
    if stack:
        raise BrokenError
    return parsed


def _check(tag: int, entries: dict[int, Entry]) -> None:
    """Field numbers run from 1, tags fit 32 bits; as in the library, nobody minds a 0 inside what is skipped anyway."""
    if tag > _MASK_32 or (tag < 8 and entries is not UNKNOWN.entries):
        raise BrokenError


def _string(data: bytes, at: int, kind: int, entry: Entry | None, odd: dict[Odd, list[Value]]) -> int:
    """Read what has a length: strings, packed numbers, fixed-width numbers. Returns where it ends."""
    if kind == _BYTES:
        size, at = varint(data, at)
    elif kind == _FIXED_32:
        size = 4
    elif kind == _FIXED_64:
        size = 8
    else:
        raise BrokenError
    if size > len(data) - at:
        raise BrokenError
    end = at + size
    if isinstance(entry, Odd):
        odd.setdefault(entry, []).append(data[at:end])
    elif isinstance(entry, Packed):
        values = odd.setdefault(entry.odd, [])
        if entry.odd.kind == "floats":
            if size % 4:
                raise BrokenError
            values += [data[i : i + 4] for i in range(at, end, 4)]
        else:
            part = data[at:end]
            here = 0
            while here < size:
                value, here = varint(part, here)
                values.append(value if entry.odd.wide else value & _MASK_32)
    return end
