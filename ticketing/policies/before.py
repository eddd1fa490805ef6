"""Stored policies of earlier releases, brought to today's format.

Before format 2 a ticket had one clock, the policy's `ticket_clock`; the rest was checked and kept, and ruled nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data that today's format accepts; what is of today already is unchanged."""
    if "format" in content:
        return dict(content)
    return {**content, "format": 1}
