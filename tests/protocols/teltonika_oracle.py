"""A slow reading of AVL payloads through the declaration, which the fast decoder must equal."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.records import EVENT, EXACT_INTEGER, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID
from protocols.teltonika.declaration import AVL, AVL_CODECS
from protocols.teltonika.measures import DALLAS_CODES, MEANINGS

LAST_MS = 253_402_300_799_999
NUMBER_SIZES = (1, 2, 4, 8)


class UnreadableError(ValueError):
    """The payload does not follow the declaration."""


def read(payload: bytes, frame: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The records of a payload (codec to second count) and how many of them have an impossible time."""
    if payload[0] not in AVL_CODECS:
        raise UnreadableError("codec")
    if payload[1] == 0 or payload[1] != payload[-1]:
        raise UnreadableError("count")
    try:
        parsed = AVL.parse(payload)
    except ConstructError as error:
        raise UnreadableError("structure") from error
    used = 3
    for record in parsed.records:
        items = sum(len(_items(record.io, size)) for size in ("n1", "n2", "n4", "n8", "nx"))
        if items != record.io.total:
            raise UnreadableError("structure")
        used += _size(parsed.codec, record)
    if used != len(payload):
        raise UnreadableError("structure")
    records = [_record(r, frame, n) for n, r in enumerate(parsed.records) if r.timestamp <= LAST_MS]
    return records, len(parsed.records) - len(records)


def _items(io: Any, group: str) -> list[Any]:
    return list(io[group]["items"]) if io[group] is not None else []


def _size(codec: int, record: Any) -> int:
    identifier, count = {0x08: (1, 1), 0x8E: (2, 2), 0x10: (2, 1)}[codec]
    size = 24 + identifier + (codec == 0x10) + count * 5
    for group in ("n1", "n2", "n4", "n8"):
        size += sum(identifier + len(item.value) for item in _items(record.io, group))
    if codec == 0x8E:
        size += 2 + sum(4 + len(item.value) for item in _items(record.io, "nx"))
    return size


def _record(record: Any, frame: int, position: int) -> dict[str, Any]:
    measures: dict[str, Any] = {"event": record.io.event, "priority": record.priority}
    if record.io.generation is not None:
        measures["event.generation"] = record.io.generation
    movement = ignition = None
    last: dict[str, tuple[int, bytes]] = {}
    for group in ("n1", "n2", "n4", "n8", "nx"):
        for item in _items(record.io, group):
            last[_name(item.id, item.value)] = (item.id, bytes(item.value))
    for name, (identifier, value) in last.items():
        measures.update(_measure(name, identifier, value))
        if len(value) in NUMBER_SIZES and identifier == 239:
            ignition = any(value)
        if len(value) in NUMBER_SIZES and identifier == 240:
            movement = any(value)
    lat, lon = record.latitude / 1e7, record.longitude / 1e7
    valid = record.satellites != 0 and abs(lat) <= 90 and abs(lon) <= 180
    flags = VALID * valid | EVENT * (record.io.event != 0)
    if ignition is not None:
        flags |= IGNITION_KNOWN | IGNITION_ON * ignition
    flags |= MOVING * (movement if movement is not None else valid and record.speed > 0)
    return {
        "frame": frame,
        "position": position,
        "time": record.timestamp * 1000,
        "lat": lat if valid else None,
        "lon": lon if valid else None,
        "altitude": float(record.altitude),
        "speed": float(record.speed),
        "course": float(record.angle),
        "satellites": record.satellites,
        "flags": int(flags),
        "measures": measures,
    }


def _name(identifier: int, value: bytes) -> str:
    meaning = MEANINGS.get(identifier)
    if meaning is None or (meaning.kind == "text" and len(value) in NUMBER_SIZES):
        return f"io.{identifier}"
    return meaning.name


def _measure(name: str, identifier: int, value: bytes) -> dict[str, Any]:
    meaning = MEANINGS.get(identifier)
    numeric = len(value) in NUMBER_SIZES
    if meaning is not None and meaning.kind == "text" and not numeric:
        text = value.decode("ascii", errors="replace")
        return {name: text if value.isascii() and text.isprintable() else value.hex()}
    if not numeric or (meaning is not None and meaning.kind == "hex"):
        return {name: value.hex()}
    number = int.from_bytes(value, "big", signed=bool(meaning and meaning.signed))
    if meaning is None or meaning.kind == "text":
        return {name: number if number >= EXACT_INTEGER else float(number)}
    if meaning.kind == "level":
        exact = number if abs(number) >= EXACT_INTEGER else float(number)
        return {meaning.status if number < 0 else name: exact}
    if meaning.kind == "dallas" and number in DALLAS_CODES:
        return {meaning.status: float(number)}
    if meaning.divisor == meaning.multiplier == 1 and abs(number) >= EXACT_INTEGER:
        return {name: number}
    return {name: float(number) * meaning.multiplier / meaning.divisor}
