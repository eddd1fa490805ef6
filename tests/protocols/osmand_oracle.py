"""OsmAnd's requests read with the standard library alone, for the tests of every protocol."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlencode

from protocols.osmand.declaration import JSON, query_fields, read
from protocols.records import Frame
from protocols.selfnamed import FieldError


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Place and height of a request; None: the parser refuses it."""
    try:
        read(frame.data, frame.variant)
    except FieldError:
        return None
    if frame.variant == JSON:
        coords = json.loads(frame.data)["location"]["coords"]
        return [{"position": 0, "altitude": coords.get("altitude")}]
    fields = parse_qs(frame.data.decode("utf-8", "replace"), keep_blank_values=True)
    altitude = fields.get("altitude", [""])[-1]
    return [{"position": 0, "altitude": float(altitude) if altitude else None}]


def rebuilt(frame: Frame) -> bytes:
    """The query, made of its fields."""
    return urlencode(query_fields(frame.data)).encode()
