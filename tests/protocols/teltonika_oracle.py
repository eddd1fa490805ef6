"""A slow reading of AVL payloads through the declaration, which the fast decoder must equal."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.keys import key_text
from protocols.records import EVENT, EXACT_INTEGER, IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Frame
from protocols.teltonika.declaration import AVL, AVL_CODECS, tcp_frame
from protocols.teltonika.measures import VARIABLE, Meaning, meaning_of

LAST_MS = 253_402_300_799_999


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
    called: set[str] = set()
    movement = ignition = None
    seen: list[int] = []
    for group in ("n1", "n2", "n4", "n8", "nx"):
        for item in _items(record.io, group):
            value, size = bytes(item.value), VARIABLE if group == "nx" else len(item.value)
            meaning = meaning_of(item.id, size)
            seen.append(item.id)
            names = {meaning.name, meaning.status} - {""}
            if seen.count(item.id) > 1:
                measures.update(_raw(f"io.{item.id}.{seen.count(item.id)}", value, size))
                continue
            if names & called:
                measures.update(_raw(f"io.{item.id}", value, size))
                continue
            called |= names
            measures.update(_measure(meaning, value, size))
            if meaning.name == "ignition":
                ignition = any(value)
            if meaning.name == "movement":
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


def _raw(name: str, value: bytes, size: int) -> dict[str, Any]:
    if size == VARIABLE:
        return {name: value.hex()}
    number = int.from_bytes(value, "big")
    return {name: number if number >= EXACT_INTEGER else float(number)}


def _measure(meaning: Meaning, value: bytes, size: int) -> dict[str, Any]:
    name = meaning.name
    if meaning.kind == "bytes":
        return {name: value.hex()}
    if meaning.kind in ("text", "hex", "decimal", "key"):
        if not value.strip(b"\0"):
            return {}
        if meaning.kind == "text":
            text = value.rstrip(b"\0").decode("ascii", errors="replace")
            return {name: text if value.isascii() and text.isprintable() else value.hex()}
        if meaning.kind == "decimal":
            return {name: f"{int.from_bytes(value, 'big')}"}
        return {name: key_text(value) if meaning.kind == "key" else value.hex()}
    if name.startswith("io."):
        return _raw(name, value, size)
    number = int.from_bytes(value, "big", signed=meaning.signed)
    if meaning.kind == "coded" and (number in meaning.codes if meaning.codes else number < 0):
        return {meaning.status: float(number)}
    if meaning.divisor == meaning.multiplier == 1 and abs(number) >= EXACT_INTEGER:
        return {name: number}
    return {name: float(number) * meaning.multiplier / meaning.divisor}


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """The records of a frame of the wire; None: it is refused."""
    payload = _payload(frame)
    try:
        return read(payload)[0] if len(payload) > 1 else None
    except UnreadableError:
        return None


def rebuilt(frame: Frame) -> bytes:
    """The bytes that the declaration builds out of what it read."""
    return tcp_frame(AVL.build(AVL.parse(_payload(frame))))


def _payload(frame: Frame) -> bytes:
    return frame.data[8:-4] if frame.variant == 0 else frame.data[8 + int.from_bytes(frame.data[6:8], "big") :]
