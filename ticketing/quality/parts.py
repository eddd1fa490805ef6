"""What the handlers of these routes use, put together in one place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo

from ticketing.core.db import Pool
from ticketing.core.moments import utc_now
from ticketing.quality.known_errors import KnownErrors
from ticketing.quality.reply_templates import ReplyTemplates


def quality_parts(pool: Pool, *, zone: tzinfo, now: Callable[[], datetime] = utc_now) -> list[object]:
    """The stores; `zone` is that of times in replies to clients who have none of their own."""
    return [KnownErrors(pool, now=now), ReplyTemplates(pool, zone=zone, now=now)]
