"""The engine's modules as a rehearsal has them: letters are caught, a recovery is proven by the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from ticketing.core.db import Pool, utc
from ticketing.core.errors import (
    DeliveryError,
)
from ticketing.incidents import Incidents
from ticketing.letters.courier import Courier, Taken
from ticketing.mail.judge import Judge


class Catcher:
    """Takes letters as a mail server does, unless the channel is down."""

    def __init__(self) -> None:
        self.up = True

    async def send(self, sender: str, to: str, raw: bytes) -> str:
        """Take one letter."""
        if not self.up:
            raise DeliveryError("the mail channel is down")
        return "caught"


class LetterModule:
    """The courier as a module of the engine; `taken` are letters since it was last asked."""

    name = "letters"

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self.taken: list[Taken] = []

    async def cycle(self, now: datetime) -> int:
        found = await self._courier.cycle(now)
        self.taken += found
        return len(found)

    async def next_due(self) -> datetime | None:
        return await self._courier.next_due()


class Mailroom:
    """The judge as a module."""

    name = "mail"

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    async def cycle(self, now: datetime) -> int:
        return await self.judge.cycle(now)

    async def next_due(self) -> datetime | None:
        return await self.judge.next_due()


class Recoveries:
    """What the watch proves: an incident that has looked good for long enough is over."""

    name = "recovery"

    def __init__(self, pool: Pool, incidents: Incidents, recovery: timedelta) -> None:
        self._pool = pool
        self._incidents = incidents
        self._recovery = recovery

    async def cycle(self, now: datetime) -> int:
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT kind, terminal, last_good_at FROM incident WHERE state = 'open' AND terminal IS NOT NULL"
                " AND last_good_at <= %s ORDER BY last_good_at, id",
                (now - self._recovery,),
            )
            found = await rows.fetchall()
        for kind, terminal, since in found:
            minutes = self._recovery.total_seconds() / 60
            await self._incidents.recover(
                kind, terminal, now.timestamp(), utc(since).timestamp(), f"good for {minutes:g} min", lambda: True
            )
        return len(found)

    async def next_due(self) -> datetime | None:
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT min(last_good_at) FROM incident WHERE state = 'open' AND terminal IS NOT NULL"
            )
            (found,) = await rows.fetchone() or (None,)
        return None if found is None else utc(found) + self._recovery
