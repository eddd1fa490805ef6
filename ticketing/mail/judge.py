"""Judges what the inbox holds: one message, one transaction, one verdict.

A message that cannot be judged is pushed ahead with a growing wait, logged once and counted; it never stops its
neighbours. Two services may judge side by side: rows are claimed with skip-locked, mails of one sender one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from psycopg import Error, InterfaceError, OperationalError

from ticketing.core.db import Connection, Pool, storable, utc_or_none
from ticketing.core.errors import ConflictError, NotFoundError
from ticketing.mail import limits
from ticketing.mail.bounces import bounces
from ticketing.mail.facts import Known, Settings
from ticketing.mail.known import Row, load
from ticketing.mail.message import Mail
from ticketing.mail.port import Hands, Incoming, Ref
from ticketing.mail.read import read
from ticketing.mail.steps import Judged, judge
from ticketing.mail.verdicts import CHANGES, REPEATABLE, Kind, Reason, Verdict

log = structlog.get_logger()

CYCLE = 500  # messages of one cycle: the engine's other modules have their turn in between
RETRY_AFTER = (5, 30, 120, 600, 3600)  # s after the first, second … failure; then always the last
SMALL = 256 << 10  # bytes; larger mails are read in a thread

_COLUMNS = "id, received_at, message_id, envelope_from, envelope_to, raw, size, accepted_by, attempts"


class Judge:
    """The desk's judge of mail.

    Attributes
    ----------
    judged : verdicts since the start, by kind.
    failed : messages that could not be judged, each time counted.
    """

    def __init__(self, pool: Pool, hands: Hands, settings: Settings) -> None:
        self._pool = pool
        self._hands = hands
        self.replace(settings)
        self.judged: Counter[str] = Counter()
        self.failed = 0

    def replace(self, settings: Settings) -> None:
        """Go on with changed settings, from the next message."""
        self._settings = settings

    async def cycle(self, now: datetime) -> int:
        """Judge what is due, in the order of arrival; returns how many messages were looked at."""
        for done in range(CYCLE):
            if not await self._next(now):
                return done
        return CYCLE

    async def next_due(self) -> datetime | None:
        """When a message is to be judged next; None: none waits."""
        async with self._pool.connection() as connection:
            rows = await connection.execute("SELECT min(judge_at) FROM inbox WHERE judge_at IS NOT NULL")
            row = await rows.fetchone()
        return None if row is None else utc_or_none(row[0])

    async def again(self, row: int, user: str, now: datetime) -> Judged:
        """Judge a message once more by the rules as they are now.

        Raises
        ------
        NotFoundError
            If there is no such message.
        ConflictError
            If something was done with it already.
        """
        return await self._by_hand(row, user, now, accept=False)

    async def accept(self, row: int, user: str, now: datetime) -> Judged:
        """Let a held message in: it goes where it says it belongs. Raises as `again` does."""
        return await self._by_hand(row, user, now, accept=True)

    async def dismiss(self, row: int, user: str, now: datetime) -> None:
        """Leave a held message out for good. Raises as `again` does."""
        async with self._pool.connection() as connection:
            await self._locked(connection, row, only_held=True)
            await connection.execute(
                "UPDATE inbox SET verdict = %s, reason = %s, step = 'person', judged_at = %s, judged_by = %s,"
                " judge_at = NULL WHERE id = %s",
                (Kind.DROPPED, Reason.DISMISSED, now, user, row),
            )
        self.judged[Kind.DROPPED] += 1

    async def _next(self, now: datetime) -> bool:
        judged: Judged | None = None
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                f"SELECT {_COLUMNS} FROM inbox WHERE judge_at <= %s ORDER BY judge_at, id LIMIT 1"  # noqa: S608
                " FOR UPDATE SKIP LOCKED",
                (now,),
            )
            found = await rows.fetchone()
            if found is None:
                return False
            try:
                async with connection.transaction():
                    judged = await self._judge(connection, found, "", now)
            except (OperationalError, InterfaceError) as error:
                if connection.broken or connection.closed:
                    raise
                await self._put_off(connection, found, error, now)
            except Exception as error:
                await self._put_off(connection, found, error, now)
        if judged is not None:
            self.judged[judged.verdict.kind] += 1
        return True

    async def _by_hand(self, row: int, user: str, now: datetime, *, accept: bool) -> Judged:
        async with self._pool.connection() as connection:
            found = await self._locked(connection, row, only_held=accept)
            if accept:
                await connection.execute("UPDATE inbox SET accepted_by = %s WHERE id = %s", (user, row))
                found = (*found[:7], user, found[8])
            judged = await self._judge(connection, found, user, now)
        self.judged[judged.verdict.kind] += 1
        return judged

    async def _locked(self, connection: Connection, row: int, *, only_held: bool) -> tuple[Any, ...]:
        rows = await connection.execute(
            f"SELECT {_COLUMNS}, verdict, reason FROM inbox WHERE id = %s FOR UPDATE",  # noqa: S608  # constants
            (row,),
        )
        found = await rows.fetchone()
        if found is None:
            raise NotFoundError(f"no mail {row} in the inbox")
        verdict = found[-2]
        if only_held and verdict != Kind.HELD:
            raise ConflictError(f"the mail is not held but {verdict or 'not judged yet'}: only held ones are let in")
        if verdict is not None and verdict not in REPEATABLE:
            raise ConflictError(f"the mail was {verdict} already: what it did cannot be done again")
        return found[:-2]

    async def _judge(self, connection: Connection, found: Sequence[Any], user: str, now: datetime) -> Judged:
        """Read, judge, do and record one message, whose row is locked."""
        identity, received_at, message_id, envelope_from, envelope_to, raw, size, accepted_by, _ = found
        raw = bytes(raw)
        mail = read(raw, envelope_from) if len(raw) <= SMALL else await asyncio.to_thread(read, raw, envelope_from)
        row = Row(identity, received_at, message_id, tuple(envelope_to), size, len(raw) < size, accepted_by or "")
        # Mails of one sender one by one: each must see what the one before it did.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 27))", (storable(mail.sender.address),)
        )
        known = await load(connection, mail, row, self._settings, now)
        judged = judge(mail, known)
        judged, ticket = await self._do(connection, judged, mail, known, row, now)
        await connection.execute(
            "UPDATE inbox SET verdict = %s, step = %s, reason = %s, ticket = %s, judged_at = %s, judged_by = %s,"
            " judge_at = NULL, sender = %s, subject = %s, subject_key = %s, text_key = %s, matched = %s,"
            " last_error = NULL WHERE id = %s",
            (
                judged.verdict.kind,
                judged.step,
                judged.verdict.reason,
                ticket,
                now,
                user or "rules",
                storable(mail.sender.address) or None,
                storable(mail.subject),
                limits.subject_key(mail),
                limits.text_key(mail),
                None if known.match is None else known.match.by,
                row.id,
            ),
        )
        return judged

    async def _do(
        self, connection: Connection, judged: Judged, mail: Mail, known: Known, row: Row, now: datetime
    ) -> tuple[Judged, int | None]:
        """Do what the verdict says; returns the verdict that held, and the ticket."""
        verdict = judged.verdict
        thread = None if known.match is None else known.match.thread
        incoming = Incoming(
            row=row.id,
            mail=mail,
            received_at=known.received_at,
            contact=_contact(known),
            by="" if known.match is None else known.match.by,
            data=verdict.data,
            accepted_by=row.accepted_by,
        )
        hands = self._hands
        if verdict.kind is Kind.OPENED:
            return judged, (await hands.open(connection, incoming, now)).id
        if verdict.kind is Kind.BOUNCED:
            for bounce in bounces(mail, known):
                await hands.bounced(connection, bounce, thread, incoming, now)
            if thread is not None and thread.notes < limits.NOTES:
                await hands.note(connection, thread, incoming, now)
        elif verdict.kind is Kind.HELD:
            data = {"mail": row.id, "reason": str(verdict.reason)}
            await hands.task(connection, f"held/{row.id}", "held-mail", thread, data, now)
        elif verdict.kind is Kind.DROPPED:
            if verdict.data.get("alarm"):
                data = {"mail": row.id, "address": mail.sender.address, "subject": mail.subject}
                await hands.task(connection, f"loop/{row.id}", "mail-loop", thread, data, now)
                log.warning("mail loop muted", mail=row.id)
        elif thread is not None:
            ref, judged = await self._in_thread(connection, judged, incoming, known, now)
            return judged, thread.id if ref is None else ref.id
        return judged, None if thread is None else thread.id

    async def _in_thread(
        self, connection: Connection, judged: Judged, incoming: Incoming, known: Known, now: datetime
    ) -> tuple[Ref | None, Judged]:
        assert known.match is not None  # noqa: S101  # the caller looked
        hands, thread, kind = self._hands, known.match.thread, judged.verdict.kind
        if kind is Kind.FOLLOWED_UP:
            return await hands.follow_up(connection, thread, incoming, now), judged
        if kind is Kind.NOTED:
            await hands.note(connection, thread, incoming, now)
            return None, judged
        if kind in CHANGES:
            change = {
                Kind.ANSWERED: hands.answer,
                Kind.CONSENTED: hands.consent,
                Kind.DISPUTED: hands.dispute,
                Kind.REOPENED: hands.reopen,
            }[kind]
            try:
                async with connection.transaction():
                    await change(connection, thread, incoming, now)
            except ConflictError:  # the ticket moved on between reading and doing
                data = {**judged.verdict.data, "instead_of": str(kind)}
                judged = Judged(Verdict(Kind.APPENDED, Reason.REPLY, data), judged.step)
                incoming = replace(incoming, data=data)
            else:
                return None, judged
        await hands.append(connection, thread, incoming, now)
        return None, judged

    async def _put_off(self, connection: Connection, found: Sequence[Any], error: Exception, now: datetime) -> None:
        self.failed += 1
        identity, attempts = found[0], found[8]
        told = f"{type(error).__name__}: {error}" if not isinstance(error, Error) else type(error).__name__
        if attempts == 0:
            log.error("mail cannot be judged", mail=identity, exc_info=error)
        delay = timedelta(seconds=RETRY_AFTER[min(attempts, len(RETRY_AFTER) - 1)])
        await connection.execute(
            "UPDATE inbox SET attempts = attempts + 1, judge_at = %s, last_error = %s WHERE id = %s",
            (now + delay, storable(told)[:500], identity),
        )


def _contact(known: Known) -> Any:
    """Of several people with one address the one whose ticket it is."""
    thread = None if known.match is None else known.match.thread
    ours = [one for one in known.contacts if thread is not None and one.organisation == thread.organisation]
    return next(iter(ours or known.contacts), None)
