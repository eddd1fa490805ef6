"""Where Galileosky's tags lie: every length is checked, nothing is read.

Tags ascend within a record, so a code that does not begins the next one. There is no general length: what stands
behind an unknown tag cannot be found.
"""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple, TypeAlias

from protocols.galileosky.measures import ARRAY, EXTENDED, EXTENDED_TAGS, REFRIGERATOR, TAGS, TEXT, TYRES, VARIABLE
from protocols.learned import DamagedError

Walked: TypeAlias = list[tuple[int, int, int]]  # tag, offset of its value, size; lengths of variable ones in front

_UNKNOWN = 0
SIZES = [TAGS[tag].size if tag in TAGS else _UNKNOWN for tag in range(256)]
# A refrigerating unit tells only what its flags name: zones, sensors, alarms, hours of service and motor, errors, rpm.
_PARTS = [
    (1, 10),
    (2, 10),
    (3, 10),
    *((bit, 2) for bit in range(4, 10)),
    (10, 32),
    (11, 20),
    (12, 12),
    (13, 2),
    (14, 2),
]
REFRIGERATOR_HEAD = 7
_NO_TYRES = b"\xff\x00"  # compressed packets only


class Shape:
    """A record whose sizes are all fixed: its length, where its tags stand, and which they are."""

    __slots__ = ("_codes", "_first", "_start", "length", "tags")

    def __init__(self, length: int, tags: tuple[tuple[int, int], ...], start: int) -> None:
        """`start`: where the first record stands in what `repeats` is asked about."""
        self.length, self.tags, self._start = length, tags, start
        self._first = itemgetter(*(start + offset for offset, _ in tags), start)  # of two at least: gives a tuple
        self._codes = (*(tag for _, tag in tags), tags[0][1])

    def repeats(self, body: bytes, stop: int) -> int:
        """How many such records the bytes are, and nothing else; 0: something else."""
        start, length = self._start, self.length
        count, rest = divmod(stop - start, length)
        if rest or self._first(body) != self._codes:
            return 0
        if count == 1:
            return 1
        for offset, tag in self.tags:
            if body[start + offset : stop : length] != tag.to_bytes(1, "big") * count:
                return 0
        return count


def value(data: bytes, tag: int, at: int, end: int) -> tuple[int, int]:
    """Where a tag's value begins behind the code, and its size.

    Raises
    ------
    DamagedError
        If the tag is unknown ("tag"), or the value runs past `end` ("structure").
    """
    size = SIZES[tag]
    if size == _UNKNOWN:
        raise DamagedError("tag")
    if size == VARIABLE:
        head = 2 if tag == EXTENDED else 0 if tag == REFRIGERATOR else 1
        if at + max(head, 3 if tag == REFRIGERATOR else 0) > end:
            raise DamagedError("structure")
        if tag == REFRIGERATOR:
            flags = data[at + 1] | data[at + 2] << 8
            size = REFRIGERATOR_HEAD + sum(size for bit, size in _PARTS if flags >> bit & 1)
        else:
            size = int.from_bytes(data[at : at + head], "little")
            at += head
    if at + size > end:
        raise DamagedError("structure")
    return at, size


def walk(data: bytes, at: int, end: int) -> tuple[Walked, int]:
    """The tags of the record at `at`, and where it ends.

    Raises
    ------
    DamagedError
        As `value`.
    """
    found: Walked = []
    last = -1
    while at < end:
        tag = data[at]
        if tag <= last:
            break
        size = SIZES[tag]
        if size > 0 and at + 1 + size <= end:
            begin = at + 1
        else:
            begin, size = value(data, tag, at + 1, end)
        found.append((tag, begin, size))
        at = begin + size
        last = tag
    return found, at


def extended(data: bytes, at: int, end: int) -> Walked:
    """The codes of a block of extended tags; behind an unknown one the rest is a value of tag FE itself."""
    found: Walked = []
    while at < end:
        code = int.from_bytes(data[at : at + 2], "little")
        known = EXTENDED_TAGS.get(code)
        if known is None or at + 2 + known.size > end:
            found.append((EXTENDED, at, end - at))
            break
        found.append((code, at + 2, known.size))
        at += 2 + known.size
    return found


def count(data: bytes, at: int, end: int) -> tuple[int, Shape | None]:
    """How many records there are, a damaged one counted in; the shape of the first, if it has one."""
    records, shape, first = 0, None, at
    try:
        while at < end:
            records += 1
            walked, at = walk(data, at, end)
            if records == 1 and all(SIZES[tag] > 0 for tag, _, _ in walked):
                shape = Shape(at - first, tuple((begin - 1 - first, tag) for tag, begin, _ in walked), first)
    except DamagedError:
        pass
    return records, shape


class Listed(NamedTuple):
    """How a compressed packet's records are made: with a minimal data set or not, and of which tags."""

    minimal: bool
    tags: tuple[int, ...]


def listed(data: bytes, at: int, end: int) -> tuple[Listed, int, int]:
    """The head of a compressed packet: what its records are, and where its list of tags begins and ends.

    Raises
    ------
    DamagedError
        If the list runs past `end`.
    """
    if at >= end:
        raise DamagedError("structure")
    minimal = data[at] < 0x80
    if minimal:
        at += 10
    begin = at
    if at > end:
        raise DamagedError("structure")
    tags: tuple[int, ...] = ()
    if at < end and data[at] == 0xFF:
        mask = data[at + 1 : at + 33]
        at += 33
        tags = tuple(8 * place + bit for place, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1)
    elif at < end and data[at] >= 0x80:
        size = data[at] & 0x7F
        tags = tuple(data[at + 1 : at + 1 + size])
        at += 1 + size
    if at > end or not (minimal or tags):
        raise DamagedError("structure")
    return Listed(minimal, tags), begin, at


def walk_listed(data: bytes, kind: Listed, at: int, end: int) -> tuple[Walked, int]:
    """The values of a compressed record, whose codes stand in its packet's list.

    Raises
    ------
    DamagedError
        As `value`.
    """
    if kind.minimal:
        at += 10
        if at > end:
            raise DamagedError("structure")
    found: Walked = []
    for tag in kind.tags:
        if tag == TYRES and data[at : at + 2] == _NO_TYRES:
            begin, size = at, 2
        else:
            begin, size = value(data, tag, at, end)
        found.append((tag, begin, size))
        at = begin + size
    return found, at


__all__ = ["ARRAY", "TEXT", "Listed", "Shape", "Walked", "count", "extended", "listed", "value", "walk", "walk_listed"]
