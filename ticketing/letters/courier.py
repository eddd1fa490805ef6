"""Carries letters: what is owed is frozen, sent, and what came of it written down, for each recipient by itself.

A letter is frozen with its claim, in one transaction; after an unknown outcome the same bytes go again under the same
Message-ID. Letters of one ticket reach an address in their order. Any number of couriers work side by side: claims skip
locked rows and carry a lease. All instants are the caller's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import structlog
from psycopg import Error, sql
from psycopg_pool import PoolTimeout

from ticketing.core.db import Connection, Pool, storable, utc
from ticketing.core.errors import DeliveryError, UndeliverableError
from ticketing.core.message_ids import bounce_address
from ticketing.letters.budget import Budget, Candidate, admit, entries
from ticketing.letters.compose import Desk, Draft, compose
from ticketing.letters.enclosed import files_of, thread_of
from ticketing.letters.tokens import keep_token

log = structlog.get_logger()

# About 1, 5 and 30 s catch a restart of the mail server and most greylists' first minutes; then slower, up to a day.
RETRY_AFTER = (1, 5, 30, 120, 600, 1800, 3600)
GIVE_UP_AFTER = timedelta(hours=24)
SEND_TIMEOUT = 30.0  # s, for one attempt whole
LEASE = timedelta(seconds=60)  # longer than an attempt: a lease that ends belongs to a dead courier
FAR = timedelta(hours=2)  # a lease beyond it was given by a clock that was ahead
CLAIM = 16  # letters under way at once
ROUNDS = 32  # of one cycle; what is left is due at once
REASON_LIMIT = 1000  # characters of what a server answered

# Of one ticket (or outage) and address an earlier letter goes first, once it is due or has been tried.
_WAITS = sql.SQL(
    "EXISTS (SELECT FROM letter e WHERE e.id < l.id AND e.state IN ('owed', 'deferred') AND e.address = l.address"
    " AND (e.ticket = l.ticket OR e.outage = l.outage) AND (e.attempts > 0 OR e.not_before <= l.not_before))"
)


class Transport(Protocol):
    """What hands a letter over: a mail server, or a catcher in memory."""

    async def send(self, sender: str, to: str, raw: bytes) -> str:
        """One letter to one address; returns the receiver's word.

        Raises
        ------
        DeliveryError
            If it was put off, or nobody knows; `UndeliverableError` if it never will be taken.
        """


class Outcome(StrEnum):
    """What came of a letter."""

    SENT = "sent"
    DEFERRED = "deferred"
    REFUSED = "refused"  # for good, or put off for a day
    DIGESTED = "digested"  # its address's budget is used up: a digest will list it
    UNTOLD = "untold"  # there is no way out


@dataclass(frozen=True, slots=True)
class Taken:
    """A letter that was tried, and what came of it; `ticket` and `number` are None of one that has none."""

    letter: int
    kind: str
    n: int
    ticket: int | None
    number: str | None
    outage: int | None
    contact: int | None
    address: str
    language: str
    subject: str
    message_id: str
    auto: bool
    outcome: Outcome
    reason: str
    at: datetime


Hook: TypeAlias = Callable[[Connection, Taken], Awaitable[None]]
"""Told of each outcome in the transaction that writes it down: a refusal's phone task, a journal line."""


@dataclass(frozen=True, slots=True)
class _Claimed:
    candidate: Candidate
    n: int
    number: str | None
    outage: int | None
    attempts: int
    tried_at: datetime
    message_id: str
    subject: str
    raw: bytes

    def taken(self, outcome: Outcome, reason: str, at: datetime) -> Taken:
        one = self.candidate
        return Taken(
            one.id, one.kind, self.n, one.ticket, self.number, self.outage, one.contact, one.address, one.language,
            self.subject, self.message_id, one.auto, outcome, reason, at,
        )  # fmt: skip


class Courier:
    """Carries what is owed, by `transport`; None: there is no way out, and what is a day old is given up.

    Attributes
    ----------
    counts : letters by kind and outcome, since the start.
    unforeseen : those that met an error no part is meant to raise, and were put off.
    """

    def __init__(
        self,
        pool: Pool,
        transport: Transport | None,
        desk: Desk,
        *,
        budget: Budget | None = None,
        own: frozenset[str] = frozenset(),
        hook: Hook | None = None,
    ) -> None:
        """`own`: the desk's own addresses in lower case; nothing is sent there."""
        self._pool = pool
        self._hook = hook
        self.counts: Counter[tuple[str, str]] = Counter()
        self.unforeseen = 0
        self._transport: Transport | None
        self.replace(transport, desk, budget=budget, own=own)

    def replace(
        self,
        transport: Transport | None,
        desk: Desk,
        *,
        budget: Budget | None = None,
        own: frozenset[str] = frozenset(),
    ) -> None:
        """Go on with changed settings, from the next cycle."""
        self._transport = transport
        self._desk = desk
        self._budget = budget or Budget()
        self._own = own | {parseaddr(desk.sender)[1].lower()}

    async def cycle(self, now: datetime) -> list[Taken]:
        """Send what is due at `now`, in order; returns what came of each letter.

        What cannot even be composed is put off and told once; a store that is away raises psycopg's errors.
        """
        taken: list[Taken] = []
        for _ in range(ROUNDS):
            found, claimed = await self._claim(now)
            taken += found
            if not claimed and not found:
                break
            results = await asyncio.gather(*(self._attempt(one) for one in claimed))
            for one, (outcome, reason, answer) in zip(claimed, results, strict=True):
                settled = await self._settle(one, outcome, reason, answer, now)
                if settled is not None:
                    taken.append(settled)
        return taken

    async def next_due(self) -> datetime | None:
        """When there is something to do next; None: nothing is owed."""
        async with self._pool.connection() as connection:
            if self._transport is None:
                rows = await connection.execute(
                    "SELECT min(greatest(l.created_at, l.not_before)) + %s FROM letter l"
                    " WHERE l.state IN ('owed', 'deferred')",
                    (GIVE_UP_AFTER,),
                )
            else:
                rows = await connection.execute(
                    sql.SQL(
                        "SELECT min(greatest(l.not_before, coalesce(l.lease_until, l.not_before))) FROM letter l"
                        " WHERE l.state IN ('owed', 'deferred') AND NOT {}"
                    ).format(_WAITS)
                )
            row = await rows.fetchone()
        return None if row is None or row[0] is None else utc(row[0])

    async def _claim(self, now: datetime) -> tuple[list[Taken], list[_Claimed]]:
        """Take what is due: budget asked, bytes frozen, leased. Also what is over with that."""
        over: list[Taken] = []
        claimed: list[_Claimed] = []
        async with self._pool.connection() as connection:
            if self._transport is None:
                return await self._give_up(connection, now), []
            rows = await connection.execute(
                sql.SQL(
                    "SELECT l.id, l.kind, l.ticket, l.contact, l.address, l.language, l.auto,"
                    " l.admitted_at IS NOT NULL, l.data, l.n, (SELECT number FROM ticket WHERE id = l.ticket), "
                    " l.outage, l.attempts, coalesce(l.tried_at, %(now)s), coalesce(l.message_id, ''), l.subject, l.raw"
                    " FROM letter l WHERE l.state IN ('owed', 'deferred') AND l.not_before <= %(now)s"
                    " AND (l.lease_until IS NULL OR l.lease_until <= %(now)s OR l.lease_until > %(far)s)"
                    " AND NOT {} ORDER BY l.not_before, l.id LIMIT %(limit)s FOR UPDATE OF l SKIP LOCKED"
                ).format(_WAITS),
                {"now": now, "far": now + FAR, "limit": CLAIM},
            )
            due = [
                _Claimed(Candidate(*row[:9]), row[9], row[10], row[11], row[12] + 1, utc(row[13]), row[14], row[15],
                         row[16] or b"")
                for row in await rows.fetchall()
            ]  # fmt: skip
            waiting = await admit(connection, [one.candidate for one in due], self._budget, now)
            # In one order of tickets, as hooks may lock them: two couriers never wait for each other.
            for one in sorted(due, key=lambda claimed: (claimed.candidate.ticket or 0, claimed.candidate.id)):
                if one.candidate.id in waiting:
                    told = one.taken(Outcome.DIGESTED, "the address's budget is used up", now)
                    await self._tell(connection, told)
                    over.append(told)
            for one in due:
                if one.candidate.id in waiting:
                    continue
                found = await self._frozen(connection, one, now)
                if isinstance(found, Taken):
                    over.append(found)
                else:
                    claimed.append(found)
        return over, claimed

    async def _frozen(self, connection: Connection, one: _Claimed, now: datetime) -> _Claimed | Taken:
        """A claimed letter with its bytes; or what became of one that can have none."""
        letter = one.candidate.id
        try:
            async with connection.transaction():
                if not one.raw:
                    one = await self._compose(connection, one, now)
                await connection.execute(
                    "UPDATE letter SET lease_until = %s, attempts = attempts + 1, tried_at = %s WHERE id = %s",
                    (now + LEASE, one.tried_at, letter),
                )
                return one
        except UndeliverableError as error:
            outcome, reason = Outcome.REFUSED, str(error)
        except Exception as error:
            self.unforeseen += 1
            outcome, reason = Outcome.DEFERRED, f"{type(error).__name__}: {error}"
            if one.attempts == 1:  # its trace is told once
                log.exception("letter cannot be composed", letter=letter, kind=one.candidate.kind)
        return await self._write(connection, one, outcome, reason, "", now)

    async def _compose(self, connection: Connection, one: _Claimed, now: datetime) -> _Claimed:
        candidate = one.candidate
        if candidate.address in self._own:
            raise UndeliverableError("it is the desk's own address")
        rows = await connection.execute(
            "SELECT count(*) FROM letter WHERE ticket = %s AND id <= %s", (candidate.ticket, candidate.id)
        )
        sequence = 1 + int((await rows.fetchone() or (0,))[0])
        files, left = await files_of(connection, candidate)
        draft = Draft(
            files=files,
            left=left,
            id=candidate.id,
            kind=candidate.kind,
            number=one.number,
            sequence=sequence,
            address=candidate.address,
            language=candidate.language,
            auto=candidate.auto,
            data=candidate.data,
            references=await thread_of(connection, candidate) if candidate.ticket is not None else (),
            entries=await entries(connection, candidate.id) if candidate.kind == "digest" else (),
        )
        try:
            written = compose(draft, self._desk, now)
        except ValueError as error:
            raise UndeliverableError(str(error)) from error
        await connection.execute(
            "UPDATE letter SET raw = %s, message_id = %s, subject = %s WHERE id = %s",
            (written.raw, written.message_id, storable(written.subject), candidate.id),
        )
        if written.token is not None:
            await keep_token(connection, written.token, candidate.id, now)
        return _Claimed(
            candidate, one.n, one.number, one.outage, one.attempts, one.tried_at, written.message_id, written.subject,
            written.raw,
        )  # fmt: skip

    async def _attempt(self, one: _Claimed) -> tuple[Outcome, str, str]:
        """Send one letter; outcome, why it was not taken, the receiver's word. Raises nothing."""
        transport = self._transport
        sender = parseaddr(self._desk.sender)[1]
        try:
            if transport is None:
                raise DeliveryError("there is no mail server any more")
            async with asyncio.timeout(SEND_TIMEOUT):
                envelope = bounce_address(self._desk.secret, sender, one.candidate.id)
                return Outcome.SENT, "", await transport.send(envelope, one.candidate.address, one.raw)
        except UndeliverableError as error:
            return Outcome.REFUSED, str(error), ""
        except (DeliveryError, TimeoutError) as error:
            return Outcome.DEFERRED, str(error) or f"no answer within {SEND_TIMEOUT:g} s", ""
        except Exception as error:
            self.unforeseen += 1
            if one.attempts == 1:
                log.exception("letter cannot be sent", letter=one.candidate.id, kind=one.candidate.kind)
            return Outcome.DEFERRED, f"{type(error).__name__}: {error}", ""

    async def _settle(self, one: _Claimed, outcome: Outcome, reason: str, answer: str, now: datetime) -> Taken | None:
        try:
            async with self._pool.connection() as connection:
                return await self._write(connection, one, outcome, reason, answer, now)
        except (Error, PoolTimeout) as error:  # its lease ends, and the same bytes go out once more
            log.warning("outcome of a letter not recorded", letter=one.candidate.id, error=str(error))
            return None

    async def _write(
        self, connection: Connection, one: _Claimed, outcome: Outcome, reason: str, answer: str, now: datetime
    ) -> Taken:
        if outcome == Outcome.DEFERRED and now - one.tried_at >= GIVE_UP_AFTER:
            outcome, reason = Outcome.REFUSED, f"given up after {GIVE_UP_AFTER.total_seconds() / 3600:g} h: {reason}"
        delay = timedelta(seconds=RETRY_AFTER[min(one.attempts, len(RETRY_AFTER)) - 1])
        told = one.taken(outcome, reason, now)
        written = await connection.execute(
            "UPDATE letter SET state = %(state)s, lease_until = NULL, last_error = %(error)s,"
            " tried_at = coalesce(tried_at, %(now)s), attempts = greatest(attempts, %(attempts)s),"
            " not_before = CASE WHEN %(state)s = 'deferred' THEN %(later)s ELSE not_before END,"
            " sent_at = CASE WHEN %(state)s = 'sent' THEN %(now)s END, provider_id = %(provider)s"
            " WHERE id = %(letter)s AND state IN ('owed', 'deferred')",
            {
                "state": str(outcome),
                "error": storable(reason)[:REASON_LIMIT] or None,
                "now": now,
                "attempts": one.attempts,
                "later": now + delay,
                "provider": storable(answer)[:200] or None,
                "letter": one.candidate.id,
            },
        )
        if outcome != Outcome.SENT:
            log.warning(
                "letter not delivered",
                letter=one.candidate.id,
                kind=one.candidate.kind,
                ticket=one.number,
                attempt=one.attempts,
                error=reason,
                retry_in_s=delay.total_seconds() if outcome == Outcome.DEFERRED else None,
            )
        if written.rowcount:  # else a bounce was quicker
            await self._tell(connection, told)
        return told

    async def _give_up(self, connection: Connection, now: datetime) -> list[Taken]:
        """Without a way out: what has waited for a day will not be sent when there is one."""
        rows = await connection.execute(
            "UPDATE letter l SET state = 'untold', untold = 'no_mail', lease_until = NULL WHERE l.id IN (SELECT id"
            " FROM letter WHERE state IN ('owed', 'deferred') AND greatest(created_at, not_before) <= %s"
            " ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING l.id, l.kind, l.n, l.ticket,"
            " (SELECT number FROM ticket WHERE id = l.ticket), l.outage, l.contact, l.address, l.language, l.subject,"
            " coalesce(l.message_id, ''), l.auto",
            (now - GIVE_UP_AFTER, CLAIM),
        )
        end: tuple[Any, ...] = (Outcome.UNTOLD, "there is no mail server", now)
        found = [Taken(*(*row, *end)) for row in await rows.fetchall()]
        for one in sorted(found, key=lambda taken: taken.letter):
            await self._tell(connection, one)
        return found

    async def _tell(self, connection: Connection, told: Taken) -> None:
        """Count an outcome and tell it; a hook that fails changes nothing about the letter."""
        self.counts[told.kind, str(told.outcome)] += 1
        if self._hook is None:
            return
        try:
            async with connection.transaction():
                await self._hook(connection, told)
        except Exception:
            self.unforeseen += 1
            log.exception("outcome of a letter not told", letter=told.letter, outcome=str(told.outcome))
