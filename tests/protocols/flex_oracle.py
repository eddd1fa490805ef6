"""FLEX as construct reads it, for the tests of every protocol; measures are compared in its own."""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.flex import declaration as wire
from protocols.flex.wire import unprefixed, whole
from protocols.records import Frame


def declared(frame: Frame) -> list[dict[str, Any]] | None:
    """Time and satellites of each record with the fields agreed upon; None: another word, or a damaged one."""
    found = unprefixed(frame.data)
    if found is None:
        return None
    chosen, at = found
    letter, size = (
        frame.data[at : at + 2],
        sum(wire.field(n, short=chosen.short).sizeof() for n in wire.numbers(chosen)),
    )
    if letter == b"~E":
        return _additional(frame, len(frame.data) - at - 4)
    head = {b"~A": 3, b"~T": 6, b"~C": 2}.get(letter)
    if head is None or len(frame.data) < at + head + 1 or not size:
        return None
    count, rest = divmod(len(frame.data) - at - head - 1, size)
    if rest or count != (frame.data[at + 2] if letter == b"~A" else 1):
        return None
    try:
        told = wire.parse(frame.data)["records"]
    except ConstructError:
        return None
    return [
        {"position": position}
        | ({"time": one.field_3 * 1_000_000} if 3 in wire.numbers(chosen) else {})
        | ({"satellites": one.field_8.satellites} if 8 in wire.numbers(chosen) else {})
        for position, one in enumerate(told)
    ]


def _additional(frame: Frame, size: int) -> list[dict[str, Any]] | None:
    try:
        found = wire.parse(frame.data)
    except ConstructError:
        return None
    if not found["records"] or len(found["records"]) != found["count"]:
        return None
    if sum(len(wire.ADDITIONAL.build(one)) for one in found["records"]) != size:
        return None
    return [{"position": position} for position in range(len(found["records"]))]


def rebuilt(frame: Frame) -> bytes:
    """The word that the declaration builds out of what it read, behind the agreement."""
    found = wire.parse(frame.data)
    agreed = unprefixed(frame.data)
    assert agreed is not None
    chosen, at = agreed
    made = [wire.record(chosen, {n: one[f"field_{n}"] for n in found["fields"]}) for one in found["records"]]
    if found["word"] == "~A":
        built = wire.archive(made)
    elif found["word"] == "~T":
        built = wire.urgent(found["index"], made[0])
    else:
        built = wire.current(made[0])
    assert whole(built)
    return frame.data[:at] + built
