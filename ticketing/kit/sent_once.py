"""A form that makes something, sent twice by a double click or a reload: done once, and both lead to the same page."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request

from ticketing.core.idempotency import Answer, BusyKeyError, Idempotency, LostAnswerError
from ticketing.kit.access import visitor
from ticketing.kit.parts import part

PATIENCE = 30.0  # s that the second of two clicks waits for the first
STEP = 0.1  # s between its looks
KEY = re.compile(r"[A-Za-z0-9_-]{8,40}")


def new_key() -> str:
    """The hidden field `key` of a form that is shown for the first time."""
    return secrets.token_urlsafe(12)


async def sent_once(request: Request, key: str, digest: str, work: Callable[[], Awaitable[str]]) -> str:
    """Where `work` leads, done once for each `key` and content of the form; a key that is none of ours protects nobody.

    `work` says `core.idempotency.done` in its transaction.

    Raises
    ------
    BusyKeyError, LostAnswerError
        If the first one is at it for too long, or never came to its end; and whatever `work` raises, with nothing done.
    """
    if not KEY.fullmatch(key):
        return await work()
    keys, who, known = part(request, Idempotency), str(visitor(request).user.id), f"form {key} {digest}"
    until = time.monotonic() + PATIENCE
    while True:
        try:
            before = await keys.claim(who, known, digest.encode())
            break
        except (BusyKeyError, LostAnswerError):
            if time.monotonic() > until:
                raise
        await asyncio.sleep(STEP)
    if before is not None:
        return before.text
    target: str | None = None
    try:
        target = await work()
    finally:
        if target is None:
            await keys.release(who, known)
        else:
            await keys.settle(who, known, Answer(303, target))
    return target
