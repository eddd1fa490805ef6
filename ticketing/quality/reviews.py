"""A sample of what each person wrote to clients, looked at by the lead: the ethics of writing (S2-20).

When a month is over, the messages of people in the tickets closed in it are drawn from, each person's by itself: the
share of `[review]` of the policy that a ticket was opened under, rounded up, and at least so many. Which ones is told
by the digest of month and message alone: nobody chooses, and whoever asks again finds the same. A message is drawn
once; a mark is final, and nobody marks his own words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from psycopg import sql
from psycopg.types.json import Jsonb

from ticketing.core.db import Connection, utc, utc_or_none
from ticketing.core.errors import ConflictError, NotAllowedError, NotFoundError, Problem, WrongInputError
from ticketing.core.paging import Page, RowId, cursor_of, read_cursor
from ticketing.policies.format import ReviewTable
from ticketing.tickets.office import Office
from ticketing.tickets.rules import stored_policy
from ticketing.tickets.sampling import bounds, month_of, months

MARKERS = ("admin", "manager")
BEHIND = 24  # months that are drawn at once after a long rest; of earlier ones nobody remembers the clients
TITLES = 120  # months that a list can be asked for


class Criteria(msgspec.Struct, kw_only=True):
    """What a message is judged by: its tone, whether it can be understood, whether it says all, by which channel."""

    polite: bool
    clear: bool
    complete: bool
    official: bool  # no personal contacts, nothing by private channels


class Review(msgspec.Struct, kw_only=True):
    """A message that was drawn: `engineer` wrote `text` at `at` in `ticket`. `marked_at` None: nobody looked yet."""

    id: int
    month: str
    engineer: str
    ticket: str
    at: datetime
    text: str
    marked_at: datetime | None
    marked_by: str | None
    criteria: Criteria | None
    passed: bool | None
    note: str


class Mark(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The lead's judgement: it passed if every criterion is met; else `note` says why not."""

    criteria: Criteria
    note: Annotated[str, Meta(max_length=4000)] = ""


class Share(msgspec.Struct, kw_only=True):
    """How much one person wrote, how much of it is to be looked at, was, and passed; `met`: all that is to be."""

    engineer: str
    messages: int
    wanted: int
    marked: int
    passed: int
    met: bool


class ReviewRates(msgspec.Struct, kw_only=True):
    """A month's sample; `met`: everybody's. `month` None: no month is over yet."""

    month: str | None
    messages: int
    wanted: int
    marked: int
    passed: int
    met: bool
    engineers: list[Share]


async def look(connection: Connection, office: Office, subject: int, now: datetime) -> datetime:
    """Draw from the months that are over since the last draw, at first from the latest alone; then when this one is."""
    zone = office.terms.policy.zone
    this = month_of(now, zone)
    begin, end = bounds(this, zone)
    rows = await connection.execute("SELECT max(month) FROM review_month")
    (last,) = await rows.fetchone() or (None,)
    since = last or month_of(begin - timedelta(microseconds=1), zone)
    over = [month for month in months(since, this) if month not in (last, this)]
    for month in over[-BEHIND:]:
        await draw(connection, office, month, now)
    return end


async def draw(connection: Connection, office: Office, month: str, now: datetime) -> int:
    """Draw the month's sample; returns how many messages it has. A month is drawn once."""
    rows = await connection.execute(
        "INSERT INTO review_month (month, drawn_at) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING month",
        (month, now),
    )
    if await rows.fetchone() is None:
        return 0
    begin, end = bounds(month, office.terms.policy.zone)
    rows = await connection.execute(
        "SELECT m.author, t.policy_version, array_agg(m.id ORDER BY sha256(convert_to(%(month)s || '/' || m.id,"
        "  'UTF8')), m.id) FROM ticket t JOIN ticket_message m ON m.ticket = t.id AND m.direction = 'out' AND m.public"
        "  AND NOT m.machine JOIN app_user u ON u.name = m.author"
        " WHERE t.state = 'closed' AND t.closed_at >= %(begin)s AND t.closed_at < %(end)s"
        "  AND NOT EXISTS (SELECT FROM review r WHERE r.message = m.id) GROUP BY 1, 2 ORDER BY 1, 2",
        {"month": month, "begin": begin, "end": end},
    )
    wrote: dict[str, int] = {}
    drawn: dict[str, list[int]] = {}
    for author, version, messages in await rows.fetchall():
        rule = (await stored_policy(connection, version, office)).file.review
        if rule is None:
            continue
        wrote[author] = wrote.get(author, 0) + len(messages)
        drawn.setdefault(author, []).extend(messages[: wanted(rule, len(messages))])
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO review_share (month, engineer, messages, wanted) VALUES (%s, %s, %s, %s)",
            [(month, author, count, len(drawn[author])) for author, count in wrote.items()],
        )
        await cursor.executemany(
            "INSERT INTO review (month, engineer, message) VALUES (%s, %s, %s)",
            [(month, author, message) for author, messages in drawn.items() for message in messages],
        )
    return sum(map(len, drawn.values()))


def wanted(rule: ReviewTable, messages: int) -> int:
    """How many of so many messages are looked at."""
    return min(messages, max(rule.least, math.ceil(messages * rule.percent / 100)))


async def drawn_months(connection: Connection) -> list[str]:
    """Months that were drawn from, newest first."""
    rows = await connection.execute("SELECT month FROM review_month ORDER BY month DESC LIMIT %s", (TITLES,))
    return [month for (month,) in await rows.fetchall()]


async def rates(connection: Connection, month: str | None = None) -> ReviewRates:
    """Whether the sample of a month, by default the last one, was looked at."""
    if month is None:
        month = next(iter(await drawn_months(connection)), None)
    rows = await connection.execute(
        "SELECT s.engineer, s.messages, s.wanted, count(r.marked_at), count(*) FILTER (WHERE r.passed)"
        " FROM review_share s LEFT JOIN review r ON r.month = s.month AND r.engineer = s.engineer"
        " WHERE s.month = %s GROUP BY s.engineer, s.messages, s.wanted ORDER BY s.engineer",
        (month,),
    )
    shares = [
        Share(engineer=name, messages=messages, wanted=wants, marked=marked, passed=passed, met=marked >= wants)
        for name, messages, wants, marked, passed in await rows.fetchall()
    ]
    return ReviewRates(
        month=month,
        messages=sum(one.messages for one in shares),
        wanted=sum(one.wanted for one in shares),
        marked=sum(one.marked for one in shares),
        passed=sum(one.passed for one in shares),
        met=all(one.met for one in shares),
        engineers=shares,
    )


_COLUMNS = sql.SQL(
    "r.id, r.month, r.engineer, t.number, m.at, m.text, r.marked_at, r.marked_by, r.criteria, r.passed, r.note"
    " FROM review r JOIN ticket_message m ON m.id = r.message JOIN ticket t ON t.id = m.ticket"
)


async def listed(
    connection: Connection,
    seen: sql.Composable,
    *,
    month: str | None = None,
    engineer: str | None = None,
    marked: bool | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Review]:
    """Messages that were drawn, in the order of drawing; `seen` is whose tickets they may be of, over `t`."""
    asked = {
        "month": month, "engineer": engineer, "marked": marked, "limit": limit + 1,
        "last": read_cursor(cursor, RowId) if cursor else 0,
    }  # fmt: skip
    where = sql.SQL(
        "{} AND (%(month)s::text IS NULL OR r.month = %(month)s) AND (%(engineer)s::text IS NULL OR r.engineer ="
        " %(engineer)s) AND (%(marked)s::boolean IS NULL OR (r.marked_at IS NOT NULL) = %(marked)s)"
    ).format(seen)
    rows = await connection.execute(
        sql.SQL("SELECT count(*) FROM (SELECT {} WHERE {}) x").format(_COLUMNS, where), asked
    )
    (total,) = await rows.fetchone() or (0,)
    rows = await connection.execute(
        sql.SQL("SELECT {} WHERE {} AND r.id > %(last)s ORDER BY r.id LIMIT %(limit)s").format(_COLUMNS, where), asked
    )
    items = [_read(row) for row in await rows.fetchall()]
    more = len(items) > limit
    return Page(items[:limit], total, cursor_of(items[limit - 1].id) if more else None)


async def get(connection: Connection, seen: sql.Composable, number: int) -> Review:
    """One of them.

    Raises
    ------
    NotFoundError
    """
    rows = await connection.execute(sql.SQL("SELECT {} WHERE r.id = %s AND {}").format(_COLUMNS, seen), (number,))
    row = await rows.fetchone()
    if row is None:
        raise NotFoundError("no such review")
    return _read(row)


async def mark(
    connection: Connection, seen: sql.Composable, number: int, said: Mark, by: str, role: str, at: datetime
) -> Review:
    """Judge a message, once, inside the caller's transaction.

    Raises
    ------
    NotAllowedError
        To who leads nobody, and of one's own words.
    NotFoundError, ConflictError, WrongInputError
        If there is none, if it was judged before, if it did not pass and nothing says why.
    """
    if role not in MARKERS:
        raise NotAllowedError(f"the role {role} may not review")
    await connection.execute("SELECT FROM review WHERE id = %s FOR UPDATE", (number,))
    found = await get(connection, seen, number)
    if found.engineer == by:
        raise NotAllowedError("nobody reviews his own words")
    if found.marked_at is not None:
        raise ConflictError(f"{found.marked_by} reviewed it already")
    criteria: dict[str, bool] = msgspec.structs.asdict(said.criteria)
    passed = all(criteria.values())
    note = said.note.strip()
    if not passed and not note:
        raise WrongInputError(Problem("note", "is missing", "say what is to be better"))
    await connection.execute(
        "UPDATE review SET marked_at = %s, marked_by = %s, criteria = %s, passed = %s, note = %s WHERE id = %s",
        (at, by, Jsonb(criteria), passed, note, number),
    )
    return await get(connection, seen, number)


def _read(row: Sequence[Any]) -> Review:
    return Review(
        id=row[0], month=row[1], engineer=row[2], ticket=row[3], at=utc(row[4]), text=row[5],
        marked_at=utc_or_none(row[6]), marked_by=row[7], criteria=Criteria(**row[8]) if row[8] else None,
        passed=row[9], note=row[10],
    )  # fmt: skip
