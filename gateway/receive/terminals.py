"""Which terminals there are: identity to row, the protocol they spoke, and who may speak."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg_pool import AsyncConnectionPool

from gateway.receive.enrolment import Admission, Enrolment

CHANNEL = "dozor_terminal"  # NOTIFY with an identity: registered or changed by a command
NO_ROW = -1  # unregistered
PENDING = -2  # accepted while the store is away: its row is made when the spool is drained


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
    protocol: Told = field(default_factory=Told)
    _enrolment: Enrolment = field(init=False)

    def __post_init__(self) -> None:
        self._enrolment = Enrolment(self)

    async def load(self) -> None:
        """Read all there are."""
        async with self.pool.connection() as link:
            query = "SELECT id, identity, protocol FROM terminal"
            cursor = await link.execute(query, binary=True)
            while found := await cursor.fetchmany(10_000):  # by columns: there may be a million
                rows, identities, protocols = zip(*found, strict=True)
                self.rows.update(zip(identities, rows, strict=True))
                self.protocol.learn(rows, protocols)

    async def reload(self, identity: str) -> int:
        """Read one again; `NO_ROW` if it is not there."""
        async with self.pool.connection() as link:
            cursor = await link.execute("SELECT id, identity, protocol FROM terminal WHERE identity = %s", (identity,))
            row = await cursor.fetchone()
        if row is None:
            self.rows.pop(identity, None)
            return NO_ROW
        self._learn(*row)
        return int(row[0])

    def _learn(self, row: int, identity: str, protocol: str | None) -> None:
        self.rows[identity] = row
        if protocol is not None:
            self.protocol[row] = protocol

    async def admit(
        self, identity: str, protocol: str, may_register: Callable[[], bool] | None = None
    ) -> tuple[Admission, int]:
        """Decide on a login whose identity is not in memory: who it is, and its row.

        `may_register` is asked when it would be a new terminal; None: it may. Waits for a store that does not answer.
        """
        admission, row = await self._enrolment.ask(identity, protocol, may_register)
        return admission, NO_ROW if row is None else row

    @property
    def failing(self) -> bool:
        """Whether the registry has not answered for some seconds: whoever is not in memory cannot be admitted."""
        return self._enrolment.failing

    async def resolve(self, identity: str, protocol: str) -> int:
        """The row of a terminal whose frames were acknowledged already."""
        row = self.rows.get(identity)
        return row if row is not None else (await self.admit(identity, protocol))[1]

    # -- for the enrolment --------------------------------------------------------------------------------------

    async def find(self, link: psycopg.AsyncConnection, identities: Sequence[str]) -> None:
        """Read those again that are in the registry."""
        cursor = await link.execute(
            "SELECT id, identity, protocol FROM terminal WHERE identity = ANY(%s::text[])",
            (list(identities),),
        )
        for row in await cursor.fetchall():
            self._learn(*row)

    async def register(self, link: psycopg.AsyncConnection, wanted: Mapping[str, str]) -> None:
        """Register identities, each with its protocol."""
        cursor = await link.execute(
            "INSERT INTO terminal (identity, protocol) SELECT * FROM unnest(%s::text[], %s::text[]) "
            "ORDER BY 1 ON CONFLICT (identity) DO UPDATE SET protocol = excluded.protocol "
            "RETURNING id, identity, protocol",
            (list(wanted), list(wanted.values())),
        )
        for row in await cursor.fetchall():
            self._learn(*row)
