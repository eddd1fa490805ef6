"""JT/T 808 as construct reads it, for the tests of every protocol; measures are compared in its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from protocols.jt808 import declaration as wire
from protocols.jt808.wire import BATCH, LOCATION, LOCATION_ANSWER, package, packages
from protocols.records import Frame

_AHEAD = 8 * 3600  # s: the standard's clock is Beijing's


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time, height and speed of each location; None: a message that no declaration reads."""
    whole = packages(frame.data)
    if whole is None:
        return None
    head, body = whole[0][0], wire.body_of(whole[0][0], b"".join(part for _, part in whole))
    if isinstance(body, str) or head.id not in (LOCATION, LOCATION_ANSWER, BATCH):
        return None
    found = body.locations if head.id == BATCH else [body if head.id == LOCATION else body.location]
    return [row for position, one in enumerate(found) if (row := _row(position, one)) is not None]


def _row(position: int, one: Any) -> dict[str, Any] | None:
    digits = one.time.hex()
    try:
        at = datetime.strptime(f"20{digits}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    if not digits.isdigit():
        return None
    return {
        "position": position,
        "time": (round(at.timestamp()) - _AHEAD) * 1_000_000,
        "altitude": one.altitude,
        "speed": one.speed / 10,
    }


def rebuilt(frame: Frame) -> bytes:
    """The package that the declaration builds out of what it read."""
    ((head, raw),) = packages(frame.data) or []
    form = {LOCATION: wire.LOCATION_BODY, BATCH: wire.BATCH_BODY}[head.id]
    return package(head.id, head.phone, head.serial, form.build(form.parse(raw)), version=head.version)
