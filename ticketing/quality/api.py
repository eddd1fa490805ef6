"""`/api/known-errors`, `/api/reply-templates`, `/api/reviews`, and what they come to."""

from __future__ import annotations

import re
from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ticketing.core.paging import Page
from ticketing.kit import asked
from ticketing.kit.access import visitor
from ticketing.kit.body import json_body
from ticketing.kit.pages import number_in
from ticketing.kit.parts import part
from ticketing.people.fields import LANGUAGES
from ticketing.people.scope import Kind
from ticketing.quality import reviews
from ticketing.quality.known_errors import ChangedKnownError, KnownError, KnownErrors, NewKnownError
from ticketing.quality.reply_templates import (
    ChangedReplyTemplate,
    FilledReply,
    NewReplyTemplate,
    ReplyTemplate,
    ReplyTemplates,
)
from ticketing.quality.reviews import Mark, Review, ReviewRates
from ticketing.tickets.api import Intake
from ticketing.tickets.eyes import ticket_for
from ticketing.tickets.known import HitRate
from ticketing.tickets.known import hit_rate as rate_of

MONTH = re.compile(r"(19[7-9]\d|[2-8]\d{3})-(0[1-9]|1[0-2])")


async def known_errors(request: Request) -> Page[KnownError]:
    """Those the visitor sees."""
    return await part(request, KnownErrors).list(
        visitor(request).user, asked.parameter(request, "search"), asked.parameter(request, "kind"),
        yes_no(request, "active"), asked.cursor(request), asked.limit(request),
    )  # fmt: skip


async def known_error(request: Request) -> KnownError:
    """One of them, or 404."""
    return await part(request, KnownErrors).get(visitor(request).user, number_in(request))


async def add_known_error(request: Request) -> KnownError:
    """A new one."""
    return await part(request, KnownErrors).add(visitor(request).user, await json_body(request, NewKnownError))


async def change_known_error(request: Request) -> KnownError:
    """What the body names is changed."""
    found = await known_error(request)
    body = await json_body(request, ChangedKnownError)
    return await part(request, KnownErrors).change(visitor(request).user, found.id, body)


async def hit_rate(request: Request) -> HitRate:
    """What suggestions came to, of the tickets that the visitor sees."""
    intake = part(request, Intake)
    since, until = asked.span(
        request, intake.now(), "from", "to", usual=timedelta(days=90), longest=timedelta(days=732)
    )
    async with intake.pool.connection() as connection:
        return await rate_of(connection, visitor(request).seen(Kind.TICKET), since, until, asked.organisation(request))


async def reply_templates(request: Request) -> Page[ReplyTemplate]:
    """All of them, or those of one language."""
    return await part(request, ReplyTemplates).list(
        visitor(request).user, asked.choice(request, "language", LANGUAGES), yes_no(request, "active"),
        asked.cursor(request), asked.limit(request),
    )  # fmt: skip


async def reply_template(request: Request) -> ReplyTemplate:
    """One of them, or 404."""
    return await part(request, ReplyTemplates).get(visitor(request).user, number_in(request))


async def add_reply_template(request: Request) -> ReplyTemplate:
    """A new one."""
    return await part(request, ReplyTemplates).add(visitor(request).user, await json_body(request, NewReplyTemplate))


async def change_reply_template(request: Request) -> ReplyTemplate:
    """What the body names is changed."""
    found = await reply_template(request)
    body = await json_body(request, ChangedReplyTemplate)
    return await part(request, ReplyTemplates).change(visitor(request).user, found.id, body)


async def offered(request: Request) -> Page[FilledReply]:
    """The templates filled for the ticket that the path names."""
    language, intake, user = asked.choice(request, "language", LANGUAGES), part(request, Intake), visitor(request).user
    async with intake.pool.connection() as connection:
        ticket = await ticket_for(connection, request.path_params["number"], user, intake.now())
    if ticket is None:
        raise HTTPException(404, "no such ticket")
    found = await part(request, ReplyTemplates).offered(user, ticket, language)
    return Page(list(found), len(found))


async def listed(request: Request) -> Page[Review]:
    """Messages that were drawn."""
    async with part(request, Intake).pool.connection() as connection:
        return await reviews.listed(
            connection, visitor(request).seen(Kind.TICKET), month=month_in(request),
            engineer=asked.parameter(request, "engineer"), marked=yes_no(request, "marked"),
            cursor=asked.cursor(request), limit=asked.limit(request),
        )  # fmt: skip


async def review(request: Request) -> Review:
    """One of them, or 404."""
    async with part(request, Intake).pool.connection() as connection:
        return await reviews.get(connection, visitor(request).seen(Kind.TICKET), number_in(request))


async def mark(request: Request) -> Review:
    """The visitor's judgement."""
    found = await review(request)
    return await marked(request, found.id, await json_body(request, Mark))


async def marked(request: Request, number: int, said: Mark) -> Review:
    """Judge it, in a transaction of its own; raises as `reviews.mark` does."""
    intake, user = part(request, Intake), visitor(request).user
    async with intake.pool.connection() as connection, connection.transaction():
        seen = visitor(request).seen(Kind.TICKET)
        return await reviews.mark(connection, seen, number, said, user.name, user.role, intake.now())


async def rates(request: Request) -> ReviewRates:
    """Whether a month's sample was looked at."""
    async with part(request, Intake).pool.connection() as connection:
        return await reviews.rates(connection, month_in(request))


def month_in(request: Request) -> str | None:
    """The month that is asked for; None: no particular one."""
    value = asked.parameter(request, "month")
    if value is not None and not MONTH.fullmatch(value):
        raise HTTPException(400, "month: one such as 2026-03")
    return value


def yes_no(request: Request, name: str) -> bool | None:
    """A filter that is `yes` or `no`; None: both."""
    value = asked.choice(request, name, asked.YES_NO)
    return None if value is None else asked.YES_NO[value]
