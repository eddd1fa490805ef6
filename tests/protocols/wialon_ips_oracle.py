"""Wialon IPS as its plain parser reads it, for the tests of every protocol."""

from __future__ import annotations

from typing import Any

from protocols.records import BatchBuilder, Frame
from protocols.wialon_ips import declaration, packets
from protocols.wialon_ips.declaration import FieldError
from protocols.wialon_ips.decoder import add_reading
from protocols.wialon_ips.wire import MAX_MEMBERS
from tests.protocols.rows import rows_of

_FIELDS = {"SD": 10, "D": 16, "B": 0}


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """The records of a line; None: it is none of these."""
    kind, bodies = declaration.split_frame(frame.data, frame.variant)
    if not frame.data.startswith(b"#") or kind not in _FIELDS or not 0 < len(bodies) <= MAX_MEMBERS:
        return None
    builder = BatchBuilder()
    for position, body in enumerate(bodies):
        try:
            reading = declaration.read_member(body, _FIELDS[kind])
        except FieldError:
            continue
        add_reading(builder, reading, body, 0, position, archive=kind == "B")
    return rows_of(builder.build())


def rebuilt(frame: Frame) -> bytes:
    """A line of the builders out of what the parser read."""
    kind, bodies = declaration.split_frame(frame.data, frame.variant)
    texts = []
    for body in bodies:
        found = declaration.read_member(body, _FIELDS[kind])
        told = dict(found.measures)
        short = declaration.build_message(
            time=found.time,
            **{
                name: None if (value := getattr(found, name)) != value else value
                for name in ("lat", "lon", "speed", "course", "altitude")
            },
            satellites=found.satellites,
        )
        texts.append(
            declaration.build_long_message(
                short,
                hdop=told.pop("hdop", None),
                inputs=told.pop("inputs", None),
                outputs=told.pop("outputs", None),
                adc=[told.pop(name) for name in sorted(name for name in told if name.startswith("adc."))],
                params={name.removeprefix("param."): value for name, value in told.items()},
            )
        )
    line = packets.black_box(texts, frame.variant) if kind == "B" else packets.long(texts[0], frame.variant)
    return line.removesuffix(b"\r\n")
