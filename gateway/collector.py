"""Python's garbage collector, for a process with much that stands and little that makes cycles."""

from __future__ import annotations

import gc


def tame_collector() -> None:
    """What stands after the start stays: the collector need not look at it again, nor so often at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
