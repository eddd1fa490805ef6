"""Records read by a learned structure, by the structure just learned, and plainly: the same of all three."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from protocols import learned
from protocols.learned import Decoder
from protocols.records import Decoded, Frame
from tests.protocols.rows import rows_of


def all_ways(new_decoder: Callable[[], Decoder], frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """The records in wire order, which are the same whichever way they are read; quarantined ones are too."""
    decoder = new_decoder()
    first = decoder.decode(frames)
    again = decoder.decode(frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "_LESSONS", 0)
        plain = new_decoder().decode(frames)
    alone: list[dict[str, Any]] = []
    for place, frame in enumerate(frames):
        alone += [{**row, "frame": place} for row in rows_of(new_decoder().decode([frame]).batch)]
    rows = rows_of(first.batch)
    for other in (rows_of(again.batch), rows_of(plain.batch), alone):
        assert other == rows
    assert refused(first) == refused(again) == refused(plain)
    return rows


def refused(decoded: Decoded) -> list[tuple[int, str, bytes | None]]:
    """What came into quarantine."""
    return [(bad.frame, bad.reason, bad.data) for bad in decoded.quarantined]


def close(found: Any, expected: Any) -> bool:
    """Equal, numbers as near as a float4 tells them."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and found.keys() == expected.keys() and all(
            close(found[name], value) for name, value in expected.items()
        )  # fmt: skip
    if isinstance(expected, float) and found is not None:
        return bool(found == pytest.approx(expected, rel=1e-6, abs=1e-9))
    return bool(found == expected)


def differs(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By name what is not as expected: for messages of tests."""
    names = [*expected, *(name for name in found if name not in expected)]
    return {n: (found.get(n), expected.get(n)) for n in names if not close(found.get(n), expected.get(n))}
