"""How many examples hypothesis tries: all of them in the long form, a part in the short one (`make test`)."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

LONG = bool(os.environ.get("DOZOR_SOAK"))


def some(full: int) -> int:
    """So many tries in the long form; a quarter of them, not below 20, in the short one."""
    return full if LONG else max(min(full, 20), full // 4)


def examples(full: int) -> Any:
    """In place of `settings`; machines are busy, so no single example has a deadline."""
    return settings(max_examples=some(full), deadline=None, suppress_health_check=[HealthCheck.too_slow])
