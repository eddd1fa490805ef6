"""Replies in ready words, by language: a text with {variables} that a ticket fills (S2-20).

A variable is one of `VARIABLES` and is told by the ticket alone. Texts are filled once: what a ticket brings is never
read again, so that a title with braces in it stays as it is. A template with any other brace is refused when written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from psycopg import sql

from ticketing.core.db import Connection, Pool, utc
from ticketing.core.errors import NotFoundError
from ticketing.core.moments import local_time, utc_now
from ticketing.core.paging import Page
from ticketing.model.tickets import TEXT_LIMIT, Ticket
from ticketing.people.fields import Checks, Language, Version
from ticketing.people.records import Records, Table, Values
from ticketing.people.scope import Kind, condition
from ticketing.people.users import User
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import zone

Called = Annotated[str, Meta(min_length=1, max_length=100)]
Text = Annotated[str, Meta(min_length=1, max_length=4000)]

UNKNOWN = "…"  # of what the ticket does not tell: whoever replies fills it in
VALUE = 200  # characters of one value
OFFERED = 50  # templates of a language with a ticket
VARIABLES: Mapping[str, Callable[[Ticket, tzinfo], str | None]] = {
    "number": lambda ticket, _zone: ticket.number,
    "title": lambda ticket, _zone: ticket.title,
    "client": lambda ticket, _zone: ticket.client,
    "reporter": lambda ticket, _zone: ticket.reporter_name,
    "vehicle": lambda ticket, _zone: ticket.vehicle,
    "terminal": lambda ticket, _zone: ticket.terminal,
    "engineer": lambda ticket, _zone: ticket.owner,
    "opened": lambda ticket, zone: _instant(ticket.opened_at, zone),
    "eta": lambda ticket, zone: None if ticket.eta is None else _instant(ticket.eta.at, zone),
}
_VARIABLE = re.compile(r"\{(" + "|".join(VARIABLES) + r")\}")


class ReplyTemplate(msgspec.Struct, kw_only=True):
    """One of them; `text` may hold the variables, such as `{number}`."""

    id: int
    name: str
    language: Language
    text: str
    active: bool
    created_by: str
    created_at: datetime
    row_version: int


class NewReplyTemplate(msgspec.Struct, kw_only=True):
    """What is needed of a new one."""

    name: Called
    language: Language
    text: Text
    active: bool = True


class ChangedReplyTemplate(msgspec.Struct, kw_only=True):
    """What may be changed; what is left out stays. `row_version` is the version that was read."""

    name: Called | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    text: Text | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    row_version: Version | UnsetType = UNSET


class FilledReply(msgspec.Struct, kw_only=True):
    """A template filled with what a ticket tells; what it does not tell is `…`."""

    template: int
    name: str
    language: Language
    text: str


def _read(row: Mapping[str, Any]) -> ReplyTemplate:
    fields = {name: row[name] for name in ReplyTemplate.__struct_fields__}
    return ReplyTemplate(**(fields | {"created_at": utc(row["created_at"])}))


TABLE = Table("reply_template", Kind.REPLY_TEMPLATE, "reply_template x", "x.*", _read, "reply template")


class ReplyTemplates(Records[ReplyTemplate]):
    """Reply templates in the store; `zone` is that of times where a client has none of its own."""

    def __init__(self, pool: Pool, *, zone: tzinfo, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(pool, TABLE, now=now)
        self._zone = zone

    async def list(
        self,
        user: User,
        language: str | None = None,
        active: bool | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ReplyTemplate]:
        """Those that `user` sees."""
        where: list[Any] = []
        if language is not None:
            where.append(("x.language = %(v)s", language))
        if active is not None:
            where.append(("x.active = %(v)s", active))
        return await self.page(user, where, cursor, limit)

    async def checked(self, connection: Connection, user: User, given: Values, before: ReplyTemplate | None) -> Values:
        """A name in one line, once a language; a text whose braces are variables."""
        checks = Checks(given)
        values = checks.values
        checks.line("name")
        if "text" in values:
            values["text"] = values["text"].strip()
            if not values["text"]:
                checks.wrong("text", "is empty", "say what is to be said")
            if (brace := re.search(r"[{}].{0,20}", _VARIABLE.sub("", values["text"]))) is not None:
                named = ", ".join(f"{{{name}}}" for name in VARIABLES)
                checks.wrong("text", f"{brace[0]!r} is no variable", f"there are: {named}")
        name = values.get("name", before.name if before else "")
        language = values.get("language", before.language if before else "")
        rows = await connection.execute(
            "SELECT id FROM reply_template WHERE lower(name) = lower(%s) AND language = %s AND id <> %s",
            (name, language, before.id if before else 0),
        )
        if (same := await rows.fetchone()) is not None:
            checks.wrong("name", f"reply template {same[0]} is called that already", "change that one")
        checks.raise_any()
        return values if before is not None else {**values, "created_by": user.name}

    async def offered(self, user: User, ticket: Ticket, language: str | None = None) -> Sequence[FilledReply]:
        """Those in use in the client's language, or in another, filled for the ticket, by name."""
        async with self.pool.connection() as connection:
            rows = await connection.execute(
                "SELECT coalesce(c.language, o.language, t.language, 'en'), o.time_zone FROM ticket t"
                " LEFT JOIN organisation o ON o.id = t.organisation LEFT JOIN contact c ON c.id = t.reporter"
                " WHERE t.number = %s",
                (ticket.number,),
            )
            found = await rows.fetchone()
            if found is None:
                raise NotFoundError("no such ticket")
            spoken, place = found
            rows = await connection.execute(
                sql.SQL(
                    "SELECT x.id, x.name, x.language, x.text FROM reply_template x WHERE x.active AND {}"
                    " AND x.language = %s ORDER BY lower(x.name), x.id LIMIT %s"
                ).format(condition(user, Kind.REPLY_TEMPLATE, "x")),
                (language or spoken, OFFERED),
            )
            return [
                FilledReply(template=row[0], name=row[1], language=row[2], text=filled(row[3], ticket, self._at(place)))
                for row in await rows.fetchall()
            ]

    def _at(self, place: str | None) -> tzinfo:
        try:
            return zone(place).info if place else self._zone
        except ClockInputError:  # one that the organisation was given, and that is known no more
            return self._zone


def filled(text: str, ticket: Ticket, at: tzinfo) -> str:
    """The text for a ticket, its times as the zone `at` has them."""
    return _VARIABLE.sub(lambda match: _line(VARIABLES[match[1]](ticket, at)), text)[:TEXT_LIMIT]


def _line(value: str | None) -> str:
    return " ".join((value or "").split())[:VALUE] or UNKNOWN


def _instant(moment: datetime, at: tzinfo) -> str:
    return f"{local_time(moment, at):%Y-%m-%d %H:%M}"
