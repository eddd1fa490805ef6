"""One consumer's place in what was stored: which records come next, and moving on.

    held ── history, terminal by terminal, where it is wanted ──→ batches in the order of their numbers ──→ …

Everything goes over one connection that also has the advisory lock of the cursor: whoever loses the one has lost the
other. What is kept of a move may be lost in a crash of the server (it is not waited for): records are then sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray

from gateway.egress.payloads import Payloads
from gateway.store.cursors import HOLDING, ensure
from gateway.store.feed import KEY, prune
from gateway.store.session import fit

_log = structlog.get_logger()

PAGE = 500  # records in one go: some 0.3 MB, and what is sent twice after a crash
READ = 5000  # keys at once, and the rest of their last batch
BATCHES = 500  # at once
BREAKS = "connection"  # reason of a record at which the consumer hangs up
# A machine that vanishes says nothing: either side notices within some 6 s. Loops over indexes are what is wanted here.
_SESSION = {
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "6000",
    "idle_session_timeout": "0",
    "statement_timeout": "0",
    "synchronous_commit": "off",
    "lock_timeout": "5s",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# With what was stored since the cursor was made, and comes again: no clock tells the two apart for certain.
_HISTORY = """
INSERT INTO egress_history (name, part, keys)
SELECT %(name)s, n / %(page)s, string_agg(key, '' ORDER BY n) FROM (
    SELECT int4send(terminal) || timestamptz_send(time) || int8send(fingerprint) AS key,
           row_number() OVER (ORDER BY received, time, fingerprint) - 1 AS n
    FROM (SELECT terminal, time, fingerprint, received FROM record WHERE terminal = %(terminal)s
          UNION ALL
          SELECT terminal, time, fingerprint, received FROM record_outside WHERE terminal = %(terminal)s) r
) k GROUP BY n / %(page)s
"""
_BATCHES = """
SELECT number, extract(epoch FROM min(stored_at))::float8, string_agg(keys, '' ORDER BY part), count(*)
FROM (SELECT *, sum(length(keys)) OVER (ORDER BY number) - sum(length(keys)) OVER (PARTITION BY number) AS before
      FROM (SELECT * FROM egress_batch WHERE number >= %s ORDER BY number, part LIMIT %s) b) b
WHERE number <= %s AND before < %s GROUP BY number ORDER BY number
"""
# After a minute, two, four … a day.
_AGAIN = (
    "UPDATE egress_aside SET tries = tries + 1, reason = %s, next_at = now() + least(interval '1 day',"
    " interval '1 minute' * power(2, least(tries, 11))) WHERE name = %s AND key = %s"
)


@dataclass(slots=True)
class Page:
    """Records that come next.

    Attributes
    ----------
    keys : `KEY` array, shape (n,), of the terminals that are wanted.
    after : where the cursor stands when so many of them are done with, n + 1 places (number, place); the last one is
        also behind what is not wanted.
    part : the part of the history that this is, whole; None: it is of the batches.
    """

    keys: NDArray[Any]
    after: list[tuple[int, int]] = field(default_factory=list)
    part: int | None = None


@dataclass(slots=True)
class _Batch:
    number: int
    stored_at: float
    keys: NDArray[Any]
    place: int  # so many of them are on their way


class LostError(Exception):
    """The cursor was begun anew, or forgotten, by somebody else."""


class Follower:
    """A cursor, followed over a connection of its own; made by `follow`.

    Attributes
    ----------
    client : by which name a consumer knows us.
    oldest : when the oldest record that waits was stored, Unix seconds, as last seen; None: none waited.
    aside : records that are set aside; `lost`: that retention dropped before they were sent.
    """

    def __init__(self, link: psycopg.AsyncConnection[Any], name: str, start: str, terminals: Sequence[str]) -> None:
        self._link = link
        self._name = name
        self._start = start
        self._identities = list(terminals)
        self._wanted: dict[str, int] = {}
        self._number = self._place = self._after = 0
        self._ready: deque[_Batch] = deque()  # read, and not on their way yet
        self._last: int | None = None
        self._created = 0.0
        self.client = ""
        self.oldest: float | None = None
        self.aside = self.lost = 0
        self.takers: set[int] = set()
        self.payloads = Payloads(link)

    # -- holding ------------------------------------------------------------------------------------------------

    async def take(self) -> bool:
        """Whether the cursor is ours now; if not, another service has it."""
        row = await self._one(
            "SELECT pg_try_advisory_lock(%s, id) FROM egress_cursor WHERE name = %s", (HOLDING, self._name)
        )
        if row is None:  # forgotten
            await ensure(self._link, [(self._name, self._start)])
            return await self.take()
        await self._read()
        return bool(row[0])

    async def _read(self) -> None:
        row = await self._one(
            "UPDATE egress_cursor SET seen_at = clock_timestamp() WHERE name = %s RETURNING client::text, number,"
            " place, history_last, history_after, extract(epoch FROM created_at)::float8, lost",
            (self._name,),
        )
        if row is None:
            raise LostError
        self._ready.clear()
        self.client, self._number, self._place, self._last, self._after, self._created, self.lost = row
        row = await self._one("SELECT count(*) FROM egress_aside WHERE name = %s", (self._name,))
        self.aside = row[0] if row is not None else 0
        cursor = await self._link.execute("SELECT terminal FROM egress_taker WHERE name = %s", (self._name,))
        self.takers = {terminal for (terminal,) in await cursor.fetchall()}
        await self._look()

    async def _look(self) -> None:
        """See what waits; the transactions in flight do not count, those behind them do."""
        row = await self._one(
            "SELECT client::text, (SELECT extract(epoch FROM stored_at)::float8 FROM egress_batch"
            " WHERE number >= c.number ORDER BY number, part LIMIT 1) FROM egress_cursor c WHERE name = %s",
            (self._name,),
        )
        if row is None or row[0] != self.client:
            raise LostError
        self.oldest = self._created if self._last is not None else row[1]

    async def look(self) -> None:
        """As `_look`, where another service may have moved the cursor or begun it anew."""
        client = self.client
        await self._read()
        if client != self.client:
            raise LostError

    # -- reading ------------------------------------------------------------------------------------------------

    async def page(self, most: int = PAGE) -> Page | None:
        """What comes next, at most so many records; None: nothing does for now."""
        if self._last is not None:
            return await self._history(await self._terminals(), self._last)
        if not self._ready:
            await self._read_on()
        if not self._ready:
            await self._look()
            return None
        # Asked behind the batches: who was registered meanwhile may stand in them already.
        return self._batches(await self._terminals(), most)

    async def _terminals(self) -> NDArray[np.int32] | None:
        """Rows of the terminals that are wanted and registered; None: all are."""
        if not self._identities:
            return None
        unknown = [identity for identity in self._identities if identity not in self._wanted]
        if unknown:
            cursor = await self._link.execute("SELECT identity, id FROM terminal WHERE identity = ANY(%s)", (unknown,))
            self._wanted.update(await cursor.fetchall())
        return np.array(list(self._wanted.values()), np.int32)

    def _batches(self, wanted: NDArray[np.int32] | None, most: int) -> Page:
        self.oldest = self._ready[0].stored_at
        taken: list[NDArray[Any]] = []
        after: list[tuple[int, int]] = []
        while self._ready and len(after) < most:
            batch = self._ready[0]
            chosen = np.arange(batch.place, len(batch.keys))
            if wanted is not None:
                chosen = chosen[np.isin(batch.keys["terminal"][chosen], wanted)]
            room = most - len(after)
            taken.append(batch.keys[chosen[:room]])
            after += [(batch.number, place) for place in chosen[:room].tolist()]
            if len(chosen) > room:
                batch.place = int(chosen[room])
                end = (batch.number, batch.place)
            else:
                self._ready.popleft()
                end = (batch.number + 1, 0)
        return Page(np.concatenate(taken).astype(KEY), [*after, end])  # its byte order is part of it

    async def _read_on(self) -> None:
        row = await self._one("SELECT egress_settled()")
        settled = row[0] if row is not None else 0
        # A statement of its own, so that whatever is up to that number can be seen by now.
        cursor = await self._link.execute(_BATCHES, (self._number, BATCHES, settled, KEY.itemsize * READ))
        batches = await cursor.fetchall()
        if sum(parts for *_, parts in batches) == BATCHES and len(batches) > 1:
            batches.pop()  # there may be more parts of it
        self._ready.extend(
            _Batch(number, stored_at, np.frombuffer(data, KEY), 0) for number, stored_at, data, _ in batches
        )
        if self._ready and self._ready[0].number == self._number:
            self._ready[0].place = self._place

    async def _history(self, wanted: NDArray[np.int32] | None, last: int) -> Page | None:
        self.oldest = self._created
        row = await self._one(
            "SELECT part, keys FROM egress_history WHERE name = %s ORDER BY part LIMIT 1", (self._name,)
        )
        if row is not None:
            keys = np.frombuffer(row[1], KEY)
            after = [(self._number, place) for place in range(self._place, len(keys))]
            return Page(keys[self._place :], [*after, (self._number, 0)], row[0])
        async with self._link.transaction():
            row = await self._one(
                "SELECT id FROM terminal WHERE id > %s AND id <= %s AND (%s::int[] IS NULL OR id = ANY(%s))"
                " ORDER BY id LIMIT 1",
                (self._after, last, *[wanted.tolist() if wanted is not None else None] * 2),
            )
            if row is None:
                await self._change("history_last = NULL")
                self._last = None
                _log.info("what was stored before has been passed on", egress=self._name)
                return Page(np.empty(0, KEY), [(self._number, self._place)])
            values = {"name": self._name, "terminal": row[0], "page": PAGE}
            await self._link.execute(_HISTORY, values)
            await self._change("history_after = %s", row[0])
            self._after = row[0]
        return Page(np.empty(0, KEY), [(self._number, self._place)])

    async def offered_again(self) -> NDArray[Any]:
        """Keys of records that were set aside and are due; one at which the connection broke comes alone."""
        if not self.aside:
            return np.empty(0, KEY)
        cursor = await self._link.execute(
            "SELECT key, reason = %s FROM egress_aside WHERE name = %s AND next_at <= now()"
            " ORDER BY reason = %s, next_at LIMIT %s",
            (BREAKS, self._name, BREAKS, PAGE),
        )
        due = await cursor.fetchall()
        keys = [key for key, breaks in due if not breaks] or [key for key, _ in due[:1]]
        return np.frombuffer(b"".join(keys), KEY)

    # -- moving -------------------------------------------------------------------------------------------------

    async def move(
        self,
        page: Page,
        first: int,
        end: int,
        *,
        refused: Sequence[tuple[bytes, str]] = (),
        lost: int = 0,
        takers: AbstractSet[int] = frozenset(),
    ) -> None:
        """The records of a page from `first`, where the cursor stands, to before `end` are done with.

        `refused` of them, keys with a reason, are set aside; `takers` are terminals whose records somebody read.

        Raises
        ------
        LostError
            If the cursor is not what it was: nothing has moved.
        """
        number, place = page.after[end]
        whole = end == len(page.keys)
        async with self._link.transaction():
            await self._change(
                "number = %s, place = %s, sent = sent + %s, lost = lost + %s, seen_at = clock_timestamp()",
                number, place, end - first - len(refused) - lost, lost,
            )  # fmt: skip
            if whole and page.part is not None:
                await self._link.execute(
                    "DELETE FROM egress_history WHERE name = %s AND part = %s", (self._name, page.part)
                )
            for key, reason in refused:
                await self._link.execute(
                    "INSERT INTO egress_aside (name, key, reason, next_at)"
                    " VALUES (%s, %s, %s, now() + interval '1 minute') ON CONFLICT (name, key) DO NOTHING",
                    (self._name, key, reason),
                )
            await self._remember(takers)
        self._number, self._place = number, place
        if not whole:  # what is behind is read again
            self._ready.clear()
        self.lost += lost
        self.aside += len(refused)

    async def settle(
        self, done: Sequence[bytes], refused: Sequence[tuple[bytes, str]], *, sent: int, lost: int
    ) -> None:
        """What became of records that were offered again: `done` are no longer aside."""
        async with self._link.transaction():
            await self._change("sent = sent + %s, lost = lost + %s", sent, lost)
            await self._link.execute(
                "DELETE FROM egress_aside WHERE name = %s AND key = ANY(%s)", (self._name, list(done))
            )
            for key, reason in refused:
                await self._link.execute(_AGAIN, (reason, self._name, key))
        self.lost += lost
        self.aside -= len(done)

    async def prune(self) -> None:
        """Let go what all consumers have done with."""
        await prune(self._link)

    async def _remember(self, takers: AbstractSet[int]) -> None:
        new = takers - self.takers
        if new:
            await self._link.execute(
                "INSERT INTO egress_taker (name, terminal) SELECT %s, unnest(%s::int[]) ON CONFLICT DO NOTHING",
                (self._name, sorted(new)),
            )
            self.takers |= new

    async def _change(self, what: str, *values: Any) -> None:
        cursor = await self._link.execute(
            f"UPDATE egress_cursor SET {what} WHERE name = %s AND client = %s".encode(),  # noqa: S608  # texts of ours
            (*values, self._name, self.client),
        )
        if cursor.rowcount != 1:
            raise LostError

    async def _one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = await (await self._link.execute(sql.encode(), values)).fetchone()
        return row


async def connect(dsn: str) -> psycopg.AsyncConnection[Any]:
    """A connection for `Follower`."""
    return await psycopg.AsyncConnection.connect(
        fit(dsn, **_SESSION),
        autocommit=True,
        connect_timeout=5,
        prepare_threshold=None,  # each page's own plan leaves the other weeks out
        application_name="dozor egress",
        keepalives_idle=3,
        keepalives_interval=1,
        keepalives_count=3,
        tcp_user_timeout=6000,
    )
