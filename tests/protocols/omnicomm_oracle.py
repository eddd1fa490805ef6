"""Omnicomm as construct and the protobuf library read it, for the tests of every protocol."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.omnicomm import declaration as wire
from protocols.omnicomm.fields import EPOCH
from protocols.records import Frame


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time and place of each message that can be read; None: no container, or one that says of itself it is broken."""
    try:
        body = wire.BODY.parse(frame.data)
        content = wire.CONTAINER.parse(body.payload)
    except ConstructError:
        return None
    if content.rest or body.command not in (0x86, 0x95, 0x9F) or len(frame.data) != len(body.payload) + 5:
        return None
    rows = []
    for position, raw in enumerate(content.messages):
        found = wire.read_message(raw)
        if found is None or not found.general.HasField("Time"):
            return None  # what then holds is Omnicomm's own affair, and its own tests'
        rows.append({"position": position, "time": (EPOCH + found.general.Time) * 1_000_000})
    return rows


def rebuilt(frame: Frame) -> bytes:
    """The body that construct builds out of what it read, messages by way of protobuf."""
    body = wire.BODY.parse(frame.data)
    content = wire.CONTAINER.parse(body.payload)
    messages = []
    for raw in content.messages:
        found = wire.read_message(raw)
        assert found is not None
        messages.append(wire.message(found))
    built = wire.container(content.rec_id, content.time, messages, command=body.command, priority=content.priority)
    splitter = wire.Splitter()
    splitter.feed(built)
    piece = splitter.next()
    assert piece is not None
    return bytes(piece.body)
