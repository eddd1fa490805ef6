"""Which terminals there are: identity to row, what they told of themselves, and who may speak."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import psycopg
from psycopg_pool import AsyncConnectionPool

Admission = Literal["accepted", "refused", "quarantined"]

CHANNEL = "dozor_terminal"  # NOTIFY with an identity: registered or changed by a command
NO_ROW = -1  # unregistered
PENDING = -2  # accepted while the store is away: its row is made when the spool is drained
_BATCH = 2000  # identities registered in one statement
_TIMEOUT = 2.0  # s for that statement; a connection whose answer was lost on the way must not hold up every login


class Told:
    """A text for each terminal row. Fleets tell few different ones: each is kept once, 8 bytes a terminal besides."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[str | None] = []

    def get(self, row: int) -> str | None:
        """What that terminal told last."""
        return self._texts[row] if 0 <= row < len(self._texts) else None

    def __contains__(self, row: int) -> bool:
        return self.get(row) is not None

    def __setitem__(self, row: int, text: str) -> None:
        if row >= len(self._texts):
            self._texts.extend([None] * (row + 1 - len(self._texts)))
        self._texts[row] = sys.intern(text)

    def learn(self, rows: Sequence[int], texts: Sequence[str | None]) -> None:
        """The texts of many terminals; None: not told."""
        if texts.count(None) < len(texts):
            known, intern = self._texts, sys.intern
            known.extend([None] * (max(rows) + 1 - len(known)))
            for row, text in zip(rows, texts, strict=True):
                if text is not None:
                    known[row] = intern(text)


@dataclass(slots=True)
class Terminals:
    """The registry, in memory; `rows` maps an identity to its row in the table."""

    pool: AsyncConnectionPool
    policy: str
    rows: dict[str, int] = field(default_factory=dict)
    firmware: Told = field(default_factory=Told)
    model: Told = field(default_factory=Told)  # as told by the terminal
    protocol: Told = field(default_factory=Told)
    _wanted: dict[str, tuple[str, asyncio.Future[int]]] = field(default_factory=dict)
    _worker: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read all there are."""
        async with self.pool.connection() as link:
            query = "SELECT id, identity, protocol, firmware, model_told FROM terminal"
            cursor = await link.execute(query, binary=True)
            while found := await cursor.fetchmany(10_000):  # by columns: there may be a million
                rows, identities, protocols, firmwares, models = zip(*found, strict=True)
                self.rows.update(zip(identities, rows, strict=True))
                self.protocol.learn(rows, protocols)
                self.firmware.learn(rows, firmwares)
                self.model.learn(rows, models)

    async def reload(self, identity: str) -> int:
        """Read one again; `NO_ROW` if it is not there."""
        async with self.pool.connection() as link:
            cursor = await link.execute(
                "SELECT id, identity, protocol, firmware, model_told FROM terminal WHERE identity = %s",
                (identity,),
            )
            row = await cursor.fetchone()
        if row is None:
            self.rows.pop(identity, None)
            return NO_ROW
        self._learn(*row)
        return int(row[0])

    def _learn(self, row: int, identity: str, protocol: str | None, firmware: str | None, model: str | None) -> None:
        self.rows[identity] = row
        for known, value in ((self.protocol, protocol), (self.firmware, firmware), (self.model, model)):
            if value is not None:
                known[row] = value

    async def admit(self, identity: str, protocol: str) -> tuple[Admission, int]:
        """Decide on a login whose identity is not in memory: who it is, and its row."""
        if self.policy == "accept":
            return "accepted", await self._register(identity, protocol)
        row = await self.reload(identity)
        if row != NO_ROW:
            return "accepted", row
        return ("refused", NO_ROW) if self.policy == "known" else ("quarantined", NO_ROW)

    async def resolve(self, identity: str, protocol: str) -> int:
        """The row of a terminal whose frames were acknowledged already."""
        row = self.rows.get(identity)
        return row if row is not None else (await self.admit(identity, protocol))[1]

    async def _register(self, identity: str, protocol: str) -> int:
        """Register on first sight; logins that come together share a statement."""
        entry = self._wanted.get(identity)
        if entry is None:
            entry = self._wanted[identity] = (protocol, asyncio.get_running_loop().create_future())
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._register_wanted())
        return await asyncio.shield(entry[1])

    async def _register_wanted(self) -> None:
        while self._wanted:
            wanted = dict(list(self._wanted.items())[:_BATCH])
            try:
                async with asyncio.timeout(_TIMEOUT), self.pool.connection() as link:
                    cursor = await link.execute(
                        "INSERT INTO terminal (identity, protocol) SELECT * FROM unnest(%s::text[], %s::text[]) "
                        "ORDER BY 1 ON CONFLICT (identity) DO UPDATE SET protocol = excluded.protocol "
                        "RETURNING id, identity, protocol, firmware, model_told",
                        (list(wanted), [protocol for protocol, _ in wanted.values()]),
                    )
                    for row in await cursor.fetchall():
                        self._learn(*row)
            except (psycopg.Error, OSError, TimeoutError):  # no store, no login: the terminal waits
                await asyncio.sleep(0.5)
                continue
            for identity, (_, future) in wanted.items():
                del self._wanted[identity]
                if not future.done():
                    future.set_result(self.rows[identity])
