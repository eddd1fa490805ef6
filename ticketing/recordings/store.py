"""Recordings of calls (S2-19): a link, or a file of a ticket; each listening in the journal; kept for a time.

A list tells that there is one and never where: that is told to whoever listens, once the listening is written down. A
file that becomes a recording is taken out of its message, so that no other way leads to it. When the days of the
ticket's policy are over, the engine erases the link, and the file with its content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from psycopg import sql

from ticketing.core.db import Connection, utc, utc_or_none, where_all
from ticketing.core.errors import ConflictError, NotFoundError, Problem, WrongInputError
from ticketing.core.journal import append_journal
from ticketing.core.paging import Page, RowId, cursor_of, read_cursor
from ticketing.kit.words import N_
from ticketing.model.states import WATCH, Action
from ticketing.threads.attachments import Stored
from ticketing.tickets.dues import move
from ticketing.tickets.facts import Facts, lock
from ticketing.tickets.office import Office
from ticketing.tickets.rules import stored_policy

MODULE = "recordings"
MAX_LINK = 2000  # characters: what browsers and proxies carry
MOST = 200  # of one ticket that are not erased
AHEAD = timedelta(minutes=5)  # by which the clock of whoever files a call may be wrong
_LINK = re.compile(r"https://[!-~]+", re.ASCII)

_COLUMNS = sql.SQL(
    "r.id, t.number, r.file IS NOT NULL, r.name, r.consent, r.called_at, r.until, r.created_at, r.created_by,"
    " r.erased_at, (SELECT count(*) FROM journal j WHERE j.ticket = r.ticket AND j.action = 'recording-heard'"
    " AND (j.data ->> 'recording')::bigint = r.id)"
)


class Recording(msgspec.Struct, kw_only=True):
    """A recording as lists show it: where it is, is told to who listens. `ticket` is a number, `until` its end.

    `kind` is link or file, `name` the file's; `heard` counts the listenings.
    """

    id: int
    ticket: str
    kind: str
    name: str
    consent: bool
    called_at: datetime
    until: datetime
    at: datetime
    by: str
    erased_at: datetime | None
    heard: int


class NewRecording(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A link, or the id of a file of the ticket; whether the caller agreed to be recorded; when the call was (now)."""

    ticket: Annotated[str, Meta(min_length=1, max_length=40)]
    consent: bool
    link: Annotated[str, Meta(max_length=MAX_LINK)] | None = None
    attachment: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    called_at: datetime | None = None


class Heard(msgspec.Struct, kw_only=True):
    """Where to listen; the listening is on record."""

    id: int
    link: str


async def add(connection: Connection, office: Office, ticket: int, new: NewRecording, by: str, now: datetime) -> int:
    """File one with a ticket that the caller sees; returns its id.

    Raises
    ------
    WrongInputError
        With all that is wrong.
    ConflictError
        If the ticket has too many.
    """
    facts = await lock(connection, ticket, follow=False)
    days = timedelta(days=(await stored_policy(connection, facts.policy_version, office)).file.recordings.days)
    called = new.called_at or now
    wrong = _wrong(new, called, now, days)
    rows = await connection.execute(
        "SELECT a.sha256, a.name FROM attachment a JOIN ticket_message m ON m.id = a.message"
        " WHERE a.id = %s AND m.ticket = %s",
        (new.attachment, ticket),
    )
    file = await rows.fetchone()
    if new.attachment is not None and file is None:
        wrong.append(Problem("attachment", N_("is no file of this ticket"), N_("give the id of one of its files")))
    if wrong:
        raise WrongInputError(*wrong)
    rows = await connection.execute("SELECT count(*) FROM recording WHERE ticket = %s AND erased_at IS NULL", (ticket,))
    if (await rows.fetchone() or (0,))[0] >= MOST:
        raise ConflictError(f"the ticket has {MOST} recordings already")
    digest, name = file or (None, "")
    rows = await connection.execute(
        "INSERT INTO recording (ticket, link, file, name, consent, called_at, until, created_at, created_by)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (ticket, new.link, digest, name, new.consent, called, called + days, now, by),
    )
    (number,) = await rows.fetchone() or (0,)
    await connection.execute(
        "DELETE FROM attachment a USING ticket_message m WHERE m.id = a.message AND m.ticket = %s AND a.sha256 = %s",
        (ticket, digest),
    )
    data = {"recording": number, "called": called, "until": called + days, "consent": new.consent}
    await append_journal(connection, ticket, now, by, Action.RECORDED, "", facts.state, data)
    await _next_look(connection, ticket)
    return int(number)


async def listed(
    connection: Connection, seen: sql.Composable, ticket: str | None, cursor: str | None, limit: int
) -> Page[Recording]:
    """Those of tickets that are `seen` (`t`), newest first."""
    where = [seen] if ticket is None else [seen, sql.SQL("t.number = %(ticket)s")]
    values: dict[str, Any] = {"ticket": ticket, "limit": limit + 1}
    source = sql.SQL("FROM recording r JOIN ticket t ON t.id = r.ticket {}")
    rows = await connection.execute(sql.SQL("SELECT count(*) {}").format(source.format(where_all(where))), values)
    (total,) = await rows.fetchone() or (0,)
    if cursor is not None:
        where.append(sql.SQL("r.id < %(before)s"))
        values["before"] = read_cursor(cursor, RowId)
    rows = await connection.execute(
        sql.SQL("SELECT {} {} ORDER BY r.id DESC LIMIT %(limit)s").format(_COLUMNS, source.format(where_all(where))),
        values,
    )
    items = [_read(row) for row in await rows.fetchall()]
    return Page(items[:limit], total, cursor_of(items[limit - 1].id) if len(items) > limit else None)


async def get(connection: Connection, seen: sql.Composable, number: int) -> Recording:
    """One of a ticket that is `seen`.

    Raises
    ------
    NotFoundError
    """
    rows = await connection.execute(
        sql.SQL("SELECT {} FROM recording r JOIN ticket t ON t.id = r.ticket WHERE r.id = %s AND {}").format(
            _COLUMNS, seen
        ),
        (number,),
    )
    row = await rows.fetchone()
    if row is None:
        raise NotFoundError("no such recording")
    return _read(row)


async def listen(connection: Connection, number: int, by: str, now: datetime) -> Heard | Stored:
    """Where it is, or the file; the listening is in the journal when the caller's transaction ends.

    Raises
    ------
    NotFoundError
    ConflictError
        If its time is over.
    """
    rows = await connection.execute("SELECT ticket FROM recording WHERE id = %s", (number,))
    owner = await rows.fetchone()
    if owner is None:
        raise NotFoundError("no such recording")
    facts = await lock(connection, owner[0], follow=False)
    rows = await connection.execute(
        "SELECT r.link, r.name, b.type, b.content, r.called_at, r.until FROM recording r"
        " LEFT JOIN blob b ON b.sha256 = r.file WHERE r.id = %s",
        (number,),
    )
    link, name, kind, content, called, until = await rows.fetchone() or (None, "", None, None, now, now)
    if utc(until) <= now or (link is None and content is None):
        raise ConflictError("its time is over: the recording is erased")
    await _journal(connection, facts, Action.HEARD, by, number, utc(called), now)
    return Heard(id=number, link=link) if link is not None else Stored(name, kind, bytes(content), facts.row, False)


async def look(connection: Connection, _office: Office, ticket: int, now: datetime) -> datetime | None:
    """Erase what is over; returns when the next is."""
    facts = await lock(connection, ticket, follow=False)
    rows = await connection.execute(
        "WITH over AS (SELECT id, file FROM recording WHERE ticket = %s AND erased_at IS NULL AND until <= %s)"
        " UPDATE recording r SET link = NULL, file = NULL, name = '', erased_at = %s FROM over WHERE over.id = r.id"
        " RETURNING r.id, r.called_at, over.file",
        (ticket, now, now),
    )
    for number, called, file in sorted(await rows.fetchall(), key=lambda row: int(row[0])):
        await connection.execute(
            "DELETE FROM blob b WHERE sha256 = %s AND NOT EXISTS (SELECT FROM attachment a WHERE a.sha256 = b.sha256)"
            " AND NOT EXISTS (SELECT FROM recording r WHERE r.file = b.sha256)",
            (file,),
        )
        await _journal(connection, facts, Action.UNRECORDED, WATCH, number, utc(called), now)
    return await _soonest(connection, ticket)


async def _journal(
    connection: Connection, facts: Facts, action: Action, by: str, number: int, called: datetime, now: datetime
) -> None:
    data = {"recording": number, "called": called}
    await append_journal(connection, facts.row, now, by, action, "", facts.state, data)


async def _soonest(connection: Connection, ticket: int) -> datetime | None:
    rows = await connection.execute(
        "SELECT min(until) FROM recording WHERE ticket = %s AND erased_at IS NULL", (ticket,)
    )
    (soonest,) = await rows.fetchone() or (None,)
    return utc_or_none(soonest)


async def _next_look(connection: Connection, ticket: int) -> None:
    await move(connection, MODULE, ticket, await _soonest(connection, ticket))


def _wrong(new: NewRecording, called: datetime, now: datetime, days: timedelta) -> list[Problem]:
    wrong = []
    if (new.link is None) is (new.attachment is None):
        wrong.append(Problem("link", N_("give a link or a file, and not both"), N_("say where the recording is")))
    if new.link is not None and not _is_link(new.link):
        wrong.append(Problem("link", N_("is no https address"), N_("write https://recorder.example/call/17")))
    if called.tzinfo is None:
        wrong.append(Problem("called_at", N_("has no offset"), N_("write 2026-03-02T08:00:00+03:00")))
    elif called > now + AHEAD:
        wrong.append(Problem("called_at", N_("lies ahead"), N_("say when the call was")))
    elif called + days <= now:
        wrong.append(Problem("called_at", N_("is longer ago than recordings are kept"), N_("file later calls alone")))
    return wrong


def _is_link(text: str) -> bool:
    """Whether it is an address over TLS, without a name and password that would stand in it for all to read."""
    try:
        parts = urlsplit(text)
        return _LINK.fullmatch(text) is not None and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _read(row: Sequence[Any]) -> Recording:
    number, ticket, is_file, name, consent, called, until, at, by, erased, heard = row
    return Recording(
        id=number,
        ticket=ticket,
        kind="file" if is_file else "link",
        name=name,
        consent=consent,
        called_at=utc(called),
        until=utc(until),
        at=utc(at),
        by=by,
        erased_at=utc_or_none(erased),
        heard=heard,
    )
