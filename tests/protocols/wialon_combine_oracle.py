"""What a packet of Wialon Combine says, through the declaration."""

from __future__ import annotations

import math
from typing import Any

from construct import ConstructError

from protocols.records import MOVING, VALID, Frame
from protocols.wialon_combine import declaration as d
from protocols.wialon_combine import wire
from protocols.wialon_combine.measures import NAMES

_CELL = ("mcc", "mnc", "lac", "id", "level", "advance")


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """The records; None where the packet cannot be read to its end."""
    try:
        begin, end = wire.span(frame.data)
        if begin == end or end > len(frame.data):
            return None
        messages = d.MESSAGES.parse(frame.data[begin:end]).messages
    except (ConstructError, UnicodeError, IndexError):
        return None
    told = [_row(message) for message in messages]
    return None if None in told else told  # type: ignore[return-value]


def _row(message: Any) -> dict[str, Any] | None:
    row: dict[str, Any] = {"time": message.time * 1_000_000, "lat": None, "lon": None, "flags": 0}
    measures: dict[str, Any] = {}
    seen: list[str] = []
    for part in message.subrecords:
        if part.kind == wire.POSITION:
            found = {"hdop": part.body.hdop / 100}
            _place(row, part.body)
        elif part.kind == wire.IO:
            found = {"inputs": part.body[0], "outputs": part.body[1]}
        elif part.kind == wire.CELLS:
            found = {
                f"cell.{name}.{n}": value
                for n, values in enumerate(part.body.cells, 1)
                for name, value in zip(_CELL, values, strict=True)
            }
        elif part.kind == wire.MESSAGE:
            found = {"message": part.body}
        elif part.kind in NAMES:
            items = part.body["items"]
            if any(item.type & 31 > wire.TEXT for item in items):
                return None
            found = {f"{NAMES[part.kind]}.{item.number}": _value(item) for item in items}
            if len(found) < len(items):
                return None
        else:
            return None
        if found.keys() & set(seen):  # of two values of one name the decoder's own test tells
            return None
        seen += found
        measures |= {name: _text(value) if isinstance(value, str) else value for name, value in found.items()}
    row["measures"] = {name: value for name, value in measures.items() if value is not None}
    return row


def _value(item: Any) -> Any:
    if item.type & 31 == wire.TEXT:
        return item.value
    value = item.value / 10 ** (item.type >> 5) if item.type & 31 < 8 and item.type >> 5 else item.value
    return value if math.isfinite(value) else None


def _text(value: str) -> str | None:
    if not value:
        return None
    return value if value.isascii() and value.isprintable() else value.encode().hex() + "00"


def _place(row: dict[str, Any], told: Any) -> None:
    row |= {"speed": told.speed, "course": told.course, "altitude": told.height, "satellites": told.satellites}
    inside = abs(told.lat) <= 90_000_000 and abs(told.lon) <= 180_000_000
    if inside and (told.lat or told.lon or told.satellites):
        row["lat"], row["lon"] = told.lat / 1e6, told.lon / 1e6
        row["flags"] = VALID | (MOVING if told.speed > 0 else 0)


def rebuilt(frame: Frame) -> bytes:
    """Built out of what was parsed."""
    told = d.parse(frame.data)
    data = b""
    for message in told["messages"]:
        parts = []
        for part in message.subrecords:
            if part.kind == wire.POSITION:
                parts.append(d.position(**{name: part.body[name] for name in part.body if name != "_io"}))
            elif part.kind == wire.IO:
                parts.append(wire.put(wire.IO, 1) + b"".join([value.to_bytes(4, "big") for value in part.body]))
            else:
                items = [(item.number, item.type, item.value) for item in part.body["items"]]
                parts.append(d.listed(part.kind, items))
        data += d.message(message.time, parts)
    return wire.packet(told["type"], told["number"], data)
