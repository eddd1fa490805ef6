"""One JSON payload → records in the plain shape, each member good or refused by itself. Nothing here raises on bytes.

Bounds: `MAX_PAYLOAD` bytes, `MAX_DEPTH` levels, `MAX_RECORDS` members; keys that come twice, NaN and Infinity are
refused. The plain shape of one record, all keys but `us` optional::

    {"us": µs since the Unix epoch, "lat", "lon", "altitude", "speed", "course", "satellites", "valid": bool,
     "m": {measure: number or text}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from protocols.json_records import shapes
from protocols.json_records.shapes import Plain, RefusedError, cleaned
from protocols.json_records.template import Template
from protocols.records import Message

MAX_PAYLOAD = 64 << 10  # bytes; a thousand plain records fit
MAX_DEPTH = 8
MAX_RECORDS = 1000
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Refusal:
    """A payload, or one member of it, that is no record; `reason` is a word of quarantine."""

    data: bytes
    reason: str


@dataclass(slots=True)
class Reading:
    """What a payload held.

    Attributes
    ----------
    records : plain records, by the terminal they name; "" where they name none.
    refused : what is no record.
    notes : what is kept as evidence: answers to commands, events without a position.
    firmware, model : where it tells them of its terminal.
    """

    records: dict[str, list[Plain]] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)
    firmware: str | None = None


def read(payload: bytes, template: Template | None = None) -> Reading:
    """What a payload holds; with a template by that, else by the built-in shape it has."""
    found = Reading()
    if len(payload) > MAX_PAYLOAD:
        found.refused.append(Refusal(payload, "length"))
        return found
    try:
        told = json.loads(payload, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
        members = _members(told, template)
    except RefusedError as error:
        found.refused.append(Refusal(payload, error.reason))
        return found
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number without end
        found.refused.append(Refusal(payload, "structure"))
        return found
    for member in members:
        try:
            _take(member, template, payload, found)
        except RefusedError as error:
            found.refused.append(Refusal(payload if len(members) == 1 else _written(member), error.reason))
    return found


def pack(records: Sequence[Plain]) -> bytes:
    """Plain records as a frame's data."""
    return _encode(records)


def _take(member: Any, template: Template | None, payload: bytes, found: Reading) -> None:
    if not isinstance(member, dict):
        raise RefusedError("structure")
    if template is not None:
        terminal, plain = template.plain(member)
        found.records.setdefault(terminal, []).append(plain)
        return
    note = shapes.note_of(member)
    if note is not None:
        data = payload if len(payload) <= MAX_PAYLOAD else b""
        found.notes.append(Message(data, cleaned(data.decode("utf-8", "replace")), note))
        return
    told = shapes.plain_of(member)
    found.records.setdefault(told.terminal, []).append(told.plain)
    found.firmware = told.firmware or found.firmware


def _members(told: Any, template: Template | None) -> list[Any]:
    if _depth(told) > MAX_DEPTH:
        raise RefusedError("structure")
    if template is not None:
        told = template.members(told)
    members = told if isinstance(told, list) else [told]
    if not 0 < len(members) <= MAX_RECORDS:
        raise RefusedError("count")
    return members


def _depth(told: Any) -> int:
    """Levels of objects and lists; the parser itself ends those that nest by the thousand."""
    deepest, level = 0, [told]
    while level:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        deepest += any(isinstance(each, dict | list) for each in level)
        if deepest > MAX_DEPTH:
            break
        level = inner
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise RefusedError("structure")
    return made


def _finite(text: str) -> float:
    told = float(text)
    if not math.isfinite(told):  # 1e999
        raise RefusedError("structure")
    return told


def _no_constant(_: str) -> Any:
    raise RefusedError("structure")


def _written(member: Any) -> bytes:
    return json.dumps(member, separators=(",", ":")).encode()
