"""Python's garbage collector, for a process with much that stands and little that makes cycles."""

from __future__ import annotations

import gc


def tame_collector() -> None:
    """What stands now stays: the collector need not look at it again, nor so often at the rest.

    To be called first, because a start reads a million terminals, and once more when all is there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
