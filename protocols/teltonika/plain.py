"""One record without numpy: for structures that are not worth learning.

A structure costs some 15 µs a name to compile, a hundred times what reading one record by it costs. So what a stranger
invents anew in each record is read here, in a fifth of a microsecond a name, and nothing is remembered of it. The same
bytes mean the same on both ways. Beyond `MAX_NAMES` names a record's measures go to `extra`: they are no columns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from protocols.keys import key_text
from protocols.records import (
    EVENT,
    EXACT_INTEGER,
    IGNITION_KNOWN,
    IGNITION_ON,
    MAX_NAMES,
    MOVING,
    VALID,
    BatchBuilder,
    Quarantined,
)
from protocols.structures import Rows
from protocols.teltonika.declaration import CODEC_8, CODEC_16
from protocols.teltonika.measures import VARIABLE, WITH_MEANING, Meaning, meaning_of, without_meaning
from protocols.teltonika.walk import PREFIX, Walked

LAST_MS = 253_402_300_799_999  # the end of year 9999: later instants cannot be told apart from noise
_HEAD = struct.Struct(">QBiihHBH").unpack_from
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_NAN = float("nan")


class Plain(NamedTuple):
    """A record to be read: of which frame, its place in it, its bytes, and where its values lie in `data`."""

    frame: int
    position: int
    record: bytes
    codec: int
    data: bytes
    walked: Walked


def meanings(elements: Sequence[tuple[int, int]]) -> list[Meaning]:
    """What each element, id and size, is called: a second one of an id, or of a name, goes by its id."""
    found: list[Meaning] = []
    times: dict[int, int] = {}
    used: set[str] = set()
    for identifier, size in elements:
        nth = times[identifier] = times.get(identifier, 0) + 1
        meaning = meaning_of(identifier, size)
        if nth > 1:
            meaning = without_meaning(f"io.{identifier}.{nth}", size)
        elif meaning.name in used:
            meaning = without_meaning(f"io.{identifier}", size)
        used.add(meaning.name)
        found.append(meaning)
    return found


def text_of(data: bytes, kind: str) -> str | None:
    """A text of that kind (see `Meaning`), None where it tells nothing."""
    if kind == "bytes":
        return data.hex()
    if not any(data):
        return None
    if kind == "decimal":
        return str(int.from_bytes(data, "big"))
    if kind == "key":
        return key_text(data)
    if kind == "text":
        told = data.rstrip(b"\0")
        if told.isascii() and (text := told.decode("ascii")).isprintable():
            return text
    return data.hex()


class _Names(dict[int, str]):
    """What an id without a meaning is called; there are 65 536 of them."""

    def __missing__(self, identifier: int) -> str:
        name = self[identifier] = f"io.{identifier}"
        return name


_names = _Names()


@lru_cache(16)
def _pairs(id_size: int, size: int) -> Callable[[bytes], Iterator[tuple[int, int]]]:
    return struct.Struct(f">{_CODES[id_size]}{_CODES[size]}").iter_unpack


def read_plainly(records: Sequence[Plain], refused: list[tuple[int, int, Quarantined]]) -> BatchBuilder:
    """Read records one by one; those whose time is beyond any calendar come into `refused`."""
    builder = BatchBuilder()
    lengths: dict[int, list[Plain]] = {}
    for one in records:
        lengths.setdefault(len(one.record), []).append(one)
    for alike in lengths.values():
        prints = Rows.of([one.record for one in alike]).fingerprints().tolist()
        for one, fingerprint in zip(alike, prints, strict=True):
            if int.from_bytes(one.record[:8], "big") > LAST_MS:
                refused.append((one.frame, one.position, Quarantined(one.frame, "time", one.record)))
            else:
                _read(builder, one, fingerprint)
    return builder


def _read(builder: BatchBuilder, one: Plain, fingerprint: int) -> None:
    record = one.record
    milliseconds, priority, lon, lat, altitude, course, satellites, speed = _HEAD(record)
    event = int.from_bytes(record[PREFIX : PREFIX + (1 if one.codec == CODEC_8 else 2)], "big")
    numbers: dict[str, float] = {"event": event, "priority": priority}
    if one.codec == CODEC_16:
        numbers["event.generation"] = record[PREFIX + 2]
    extra: dict[str, Any] = {}
    _values(one, numbers, extra)
    valid = satellites != 0 and abs(lon) <= 1_800_000_000 and abs(lat) <= 900_000_000
    ignition, movement = numbers.get("ignition"), numbers.get("movement")
    flags = (VALID if valid else 0) | (EVENT if event else 0)
    if ignition is not None:
        flags |= IGNITION_KNOWN | (IGNITION_ON if ignition else 0)
    if movement if movement is not None else valid and speed > 0:
        flags |= MOVING
    if len(numbers) > MAX_NAMES:
        extra = {name: _exact(value) for name, value in numbers.items() if value == value} | extra
        numbers = {}
    builder.add(
        frame=one.frame,
        position=one.position,
        time=milliseconds * 1000,
        fingerprint=fingerprint,
        lat=lat / 1e7 if valid else _NAN,
        lon=lon / 1e7 if valid else _NAN,
        altitude=altitude,
        speed=speed,
        course=course,
        satellites=satellites,
        flags=flags,
        names=tuple(numbers),
        values=tuple(numbers.values()),
        extra=extra or None,
        time_digits=3,
    )


def _exact(value: float) -> float | int:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _values(one: Plain, numbers: dict[str, float], extra: dict[str, Any]) -> None:
    """All values by name, numbers apart from texts."""
    data, names, walked = one.data, _names, one.walked
    id_size = 1 if one.codec == CODEC_8 else 2
    numbered = [
        (identifier, raw, size)
        for begin, count, size in walked.groups
        if count
        for identifier, raw in _pairs(id_size, size)(data[begin : begin + count * (id_size + size)])
    ]
    ids = {identifier for identifier, _, _ in numbered}
    ids.update(identifier for identifier, _, _ in walked.variable)
    if len(ids) == walked.names and not ids & WITH_MEANING:  # nothing that is known, nothing twice: invented
        for identifier, raw, _ in numbered:
            name = names[identifier]
            numbers[name] = raw
            if raw >= EXACT_INTEGER:
                numbers[name], extra[name] = _NAN, raw
        for identifier, begin, size in walked.variable:
            extra[names[identifier]] = data[begin : begin + size].hex()
        return
    elements = [(identifier, size) for identifier, _, size in numbered]
    elements += [(identifier, VARIABLE) for identifier, _, _ in walked.variable]
    called = iter(meanings(elements))
    for (_, raw, size), meaning in zip(numbered, called, strict=False):
        if meaning.kind in ("number", "coded"):
            _number(meaning, raw, size, numbers, extra)
        else:
            _text(meaning, raw.to_bytes(size, "big"), extra)
    for (_, begin, size), meaning in zip(walked.variable, called, strict=True):
        _text(meaning, data[begin : begin + size], extra)


def _text(meaning: Meaning, data: bytes, extra: dict[str, Any]) -> None:
    text = text_of(data, meaning.kind)
    if text is not None:
        extra[meaning.name] = text


def _number(meaning: Meaning, raw: int, size: int, numbers: dict[str, float], extra: dict[str, Any]) -> None:
    name = meaning.name
    if meaning.signed and raw >> (8 * size - 1):
        raw -= 1 << (8 * size)
    plain = meaning.divisor == 1 and meaning.multiplier == 1
    numbers[name] = raw if plain else float(raw) * meaning.multiplier / meaning.divisor
    if meaning.kind == "coded":
        coded = raw in meaning.codes if meaning.codes else raw < 0
        numbers[meaning.status] = raw if coded else _NAN
        if coded:
            numbers[name] = _NAN
            return
    if size == 8 and plain and abs(raw) >= EXACT_INTEGER:
        numbers[name], extra[name] = _NAN, raw
