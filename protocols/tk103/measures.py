"""What TK103 messages tell besides place and time."""

from __future__ import annotations

SHARED = ("ignition", "event", "inputs", "fuel.level.N", "odometer")

MEASURES: dict[str, tuple[str, str]] = {
    "charge": ("0/1", "the first digit of the states as sent: of the supply"),
    "rest": ("text", "what stands behind the fields that are known, as sent"),
}
