"""What tests of line protocols share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.service.decode_print import record_objects
from protocols.anatomy import Unit
from protocols.lines import Exchange, Reading
from protocols.records import Event, Frame
from protocols.registry import protocol
from tests.protocols.examples import examples

PATIENT = examples(100)


def heard(exchange: Exchange, *pieces: bytes) -> Reading:
    """What an exchange makes of these pieces, and of silence after them."""
    for piece in pieces:
        reading = exchange.receive_data(piece)
        if reading is not None:
            return reading
    return exchange.missing()


def events(name: str, wire: bytes, step: int = 0, **options: Any) -> list[Event]:
    """Everything a recorded line says, `step` bytes at a time; 0: all at once."""
    session = protocol(name).new_session(**options)
    found: list[Event] = []
    for at in range(0, len(wire), step or max(1, len(wire))):
        found += session.receive_data(wire[at : at + step] if step else wire, 0.0)
    return found + list(session.end_of_stream())


def measures(name: str, found: Sequence[Event]) -> list[dict[str, Any]]:
    """The measures of the records among events."""
    decoded = protocol(name).decode([event for event in found if isinstance(event, Frame)])
    assert decoded.quarantined == []
    return [record["measures"] for _, _, record in record_objects(decoded.batch)]


def units(name: str, data: bytes) -> list[Unit]:
    """The units of a recorded line, which they tile."""
    anatomy = protocol(name).anatomy
    assert anatomy is not None
    found = list(anatomy(data))
    assert sum(unit.size for unit in found) == len(data)
    assert all(span.size > 0 and span.name for unit in found for span in unit.spans)
    return found
