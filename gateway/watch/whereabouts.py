"""Where terminals come from: the address and the listener of the last connection, the operator of the last record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import inf

from psycopg.sql import SQL, Identifier

from gateway.watch.told import Told
from ticketing.core.db import Pool

READ_AT_ONCE = 1000  # the loop is ours for as long as that takes to read and tell: some milliseconds
OPERATORS_AT_ONCE = 2000  # terminals, one short index scan each
OPERATORS_EVERY = 600.0  # s from one round over all to the next
OVERLAP = timedelta(seconds=60)  # the history is written some time after a connection opened

_LAST = """
SELECT t.id, c.address, c.listener FROM terminal t CROSS JOIN LATERAL
    (SELECT address, listener FROM connection WHERE terminal = t.identity ORDER BY id DESC LIMIT 1) c
"""
_SINCE = """
SELECT DISTINCT ON (t.id) t.id, c.address, c.listener
FROM connection c JOIN terminal t ON t.identity = c.terminal
WHERE c.opened_at >= %s ORDER BY t.id, c.opened_at DESC, c.id DESC
"""


# What the last record tells of network and card. A card's number may come in halves, the second of ten digits.
_CARDS = """
SELECT t.id, o.code::bigint, o.time,
    coalesce(o.extra ->> 'sim.iccid', (o.extra ->> 'sim.iccid.1') || lpad(o.extra ->> 'sim.iccid.2', 10, '0')),
    CASE WHEN o.imsi BETWEEN 1e12 AND 1e15 THEN o.imsi::bigint::text END
FROM (SELECT id FROM terminal WHERE id > %(after)s ORDER BY id LIMIT %(many)s) t
LEFT JOIN LATERAL (
    SELECT CASE WHEN l.code BETWEEN 10000 AND 999999 THEN l.code END AS code, l.imsi, l.extra, l.time FROM (
        SELECT measure(r, 'gsm.operator') AS code, measure(r, 'sim.imsi') AS imsi, r.extra, r.time FROM record r
        WHERE r.terminal = t.id
        AND r.time > now() - interval '7 days' AND r.time < now() + interval '2 days' ORDER BY r.time DESC LIMIT 1
    ) l
) o ON true ORDER BY t.id
"""
# As the history writes what terminals tell: the newest wins, and what is told again is not written again.
_TELL = SQL(
    "UPDATE terminal SET {name} = v, {at} = a FROM unnest(%s::int4[], %s::text[], %s::timestamptz[]) AS u(i, v, a) "
    "WHERE id = i AND {name} IS DISTINCT FROM v AND ({at} IS NULL OR {at} <= a OR {at} > now())"
)
_FACTS = ("operator_told", "iccid", "imsi")


class Operators:
    """Reads what network and card terminals told last, some at each look, all in turn: it seldom changes."""

    def __init__(self) -> None:
        self._after = 0
        self._next = -inf  # monotonic seconds from which on the next round may begin

    async def refresh(self, pool: Pool, tell: Callable[[Sequence[int], Sequence[str]], None]) -> int:
        """Tell rows, and MCC with MNC as the wire has them; nothing where no terminal of the store tells any.

        Network and card go to the terminals' rows besides.
        """
        if not self._after and time.monotonic() < self._next:
            return 0
        async with pool.connection() as connection, connection.transaction():
            rows = await connection.execute(
                "SELECT EXISTS (SELECT FROM layout WHERE names && '{gsm.operator,sim.imsi}'::text[])"
            )
            if await rows.fetchone() != (True,):
                return 0
            if not self._after:
                self._next = time.monotonic() + OPERATORS_EVERY
            rows = await connection.execute(_CARDS, {"after": self._after, "many": OPERATORS_AT_ONCE})
            found = await rows.fetchall()
            for name, values in zip(_FACTS, ([one[place] for one in found] for place in (1, 3, 4)), strict=True):
                its = [(row[0], str(value), row[2]) for row, value in zip(found, values, strict=True) if value]
                if its:
                    statement = _TELL.format(name=Identifier(name), at=Identifier(f"{name}_at"))
                    await connection.execute(statement, [list(column) for column in zip(*its, strict=True)])
        self._after = found[-1][0] if len(found) == OPERATORS_AT_ONCE else 0
        told = [(terminal, str(code)) for terminal, code, *_ in found if code is not None]
        if told:
            ids, codes = zip(*told, strict=True)
            tell(ids, codes)
        return len(told)


class Whereabouts:
    """Reads the last connection of every terminal once, and from then on those that are new."""

    def __init__(self) -> None:
        self._until: datetime | None = None
        self._told: Told[tuple[str, str | None]] = Told()

    async def refresh(
        self, pool: Pool, tell: Callable[[Sequence[int], Sequence[str], Sequence[str | None]], None]
    ) -> int:
        """Tell rows, addresses with their ports, and listeners; returns how many rows."""
        told = 0
        self._told.begin()
        async with pool.connection() as connection, connection.transaction():
            rows = await connection.execute("SELECT now()")
            now = await rows.fetchone()
            async with connection.cursor(name="whereabouts") as cursor:
                if self._until is None:
                    await cursor.execute(_LAST)
                else:
                    await cursor.execute(_SINCE, (self._until - OVERLAP,))
                while found := await cursor.fetchmany(READ_AT_ONCE):
                    its = {row: (address, listener) for row, address, listener in found}
                    news = its if self._until is None else self._told.news(its)
                    if news:
                        told += len(news)
                        addresses, listeners = zip(*news.values(), strict=True)
                        tell(list(news), addresses, listeners)
        self._until = now[0] if now is not None else None
        self._told.end()
        return told
