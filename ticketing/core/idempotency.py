"""The same request again is done once: what it was answered is kept under its key, and answered again.

A key belongs to whom it was sent by. The first request that brings it claims it; the same request later gets the first
one's answer, another one under this key is refused, and one that comes while the first is still worked on is told so.

    claim ──► work ──► settle(answer)     the answer stands until it expires
                └────► release            the work was not done (it failed here): whoever asks again does it

A process that dies in between leaves a claim that answers nobody. After `LEASE` the next request takes it over, unless
the work had said in its own transaction that it was done (`done`): then nothing is done again, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from hashlib import sha256
from typing import LiteralString, NamedTuple

from ticketing.core.db import Connection, Pool
from ticketing.core.errors import ConflictError
from ticketing.core.moments import utc_now

EXPIRY = timedelta(hours=24)  # of an answer: a script that retries for longer than a day is a new attempt
LEASE = timedelta(minutes=2)  # of a claim: no request is worked on for so long, the store's own limit is far below
MAX_KEY = 200  # characters
DONE = 0  # the status of what was done while its answer is not written yet

_current: ContextVar[tuple[str, str] | None] = ContextVar("idempotency", default=None)


class Answer(NamedTuple):
    """What a request was answered."""

    status: int
    text: str


class BusyKeyError(ConflictError):
    """The request of this key is being worked on just now."""


class LostAnswerError(ConflictError):
    """The request of this key was done, and what it was answered is not written: not yet, or never after a crash."""


class Idempotency:
    """Keys and answers in the store."""

    def __init__(self, pool: Pool, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._clock = clock

    async def claim(self, who: str, key: str, request: bytes) -> Answer | None:
        """The answer that `request` got before; None: it is the caller's to do now, and then to settle or release.

        `request` is whatever makes it the same one: method, path and body.

        Raises
        ------
        BusyKeyError
            If it is being worked on.
        ConflictError
            If the key belongs to another request, or its answer was lost in a crash.
        """
        now = self._clock()
        digest = sha256(request).digest()
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("DELETE FROM idempotency WHERE at <= %s", (now - EXPIRY,))
            taken = await connection.execute(
                """INSERT INTO idempotency AS i (who, key, digest, at) VALUES (%(who)s, %(key)s, %(digest)s, %(now)s)
                   ON CONFLICT (who, key) DO UPDATE SET at = excluded.at
                   WHERE i.status IS NULL AND i.digest = excluded.digest AND i.at <= %(lapsed)s""",
                {"who": who, "key": key, "digest": digest, "now": now, "lapsed": now - LEASE},
            )
            if taken.rowcount == 1:
                _current.set((who, key))
                return None
            rows = await connection.execute(
                "SELECT digest, status, answer FROM idempotency WHERE who = %s AND key = %s", (who, key)
            )
            row = await rows.fetchone()
        if row is None:  # released between the two statements
            raise BusyKeyError("the request with this Idempotency-Key is being worked on: send it again in a moment")
        if bytes(row[0]) != digest:
            raise ConflictError("this Idempotency-Key was sent with another request: choose a new one")
        if row[1] is None:
            raise BusyKeyError("the request with this Idempotency-Key is being worked on: send it again in a moment")
        if row[1] == DONE:
            raise LostAnswerError("this request was done, but its answer was lost: look at what it was about")
        return Answer(row[1], row[2])

    async def settle(self, who: str, key: str, answer: Answer) -> None:
        """Keep what the claimed request was answered."""
        _current.set(None)
        await self._execute(
            "UPDATE idempotency SET status = %s, answer = %s WHERE who = %s AND key = %s",
            answer.status,
            answer.text,
            who,
            key,
        )

    async def release(self, who: str, key: str) -> None:
        """The claimed request was not done: whoever asks again may do it. What said `done` stays done."""
        _current.set(None)
        await self._execute("DELETE FROM idempotency WHERE who = %s AND key = %s AND status IS NULL", who, key)

    async def _execute(self, statement: LiteralString, *values: object) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(statement, values)


async def done(connection: Connection) -> None:
    """Say in the transaction of the work itself that the request is done; nothing where it brought no key."""
    claimed = _current.get()
    if claimed is not None:
        await connection.execute(
            "UPDATE idempotency SET status = %s WHERE who = %s AND key = %s AND status IS NULL", (DONE, *claimed)
        )
