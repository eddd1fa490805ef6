"""`/mail`: what came in, what became of it and why; and what a person does with mail that is held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ticketing.core.errors import ConflictError, NotAllowedError, NotFoundError, WrongInputError
from ticketing.kit.asked import choice, limit, parameter
from ticketing.kit.forms import checked_form
from ticketing.kit.pages import render
from ticketing.kit.parts import part
from ticketing.kit.routes import Row
from ticketing.kit.words import N_
from ticketing.mail import inbox
from ticketing.mail.api import MailDesk, failing, judge_of, number_of, page_of, seen
from ticketing.mail.called import LOOKS, REASONS, STEPS, VERDICTS
from ticketing.mail.inbox import InboxRow
from ticketing.mail.judge import Judge
from ticketing.mail.read import read
from ticketing.mail.verdicts import Kind

LANES = {"held": N_("Held for a person"), "failing": N_("Cannot be judged"), "": N_("All")}
TEXT_SHOWN = 20_000  # characters; the whole is in the raw mail


async def show(request: Request) -> Response:
    """What came in, held mail first to be asked for."""
    verdict = choice(request, "verdict", [*map(str, Kind), "failing"]) or ""
    before, many = parameter(request, "before"), limit(request)
    items = await page_of(request, verdict, None if before is None else number_of(before), many + 1)
    held = await page_of(request, "held", None, 100)
    return render(
        request,
        "mail.html",
        mails=items[:many],
        next=items[many - 1].id if len(items) > many else None,
        first=before is None,
        chosen={"verdict": verdict, "limit": request.query_params.get("limit", "")},
        lanes=LANES,
        held=len(held),
        mailboxes=await failing(part(request, MailDesk)),
        **_words(),
    )


async def one(request: Request) -> Response:
    """One mail, as it reads, and what became of it."""
    return await _one(request, await seen(request))


async def accept(request: Request) -> Response:
    """The button that lets a held mail in."""
    return await _done(request, lambda judge, row, user, now: judge.accept(row, user, now))


async def dismiss(request: Request) -> Response:
    """The button that leaves a held mail out."""
    return await _done(request, lambda judge, row, user, now: judge.dismiss(row, user, now))


async def again(request: Request) -> Response:
    """The button that asks all questions anew."""
    return await _done(request, lambda judge, row, user, now: judge.again(row, user, now))


async def _done(request: Request, work: Callable[[Judge, int, str, datetime], Awaitable[Any]]) -> Response:
    """Done, and back to the mail; or the mail with why nothing was done."""
    await checked_form(request)
    row, desk = await seen(request), part(request, MailDesk)
    try:
        await work(judge_of(desk), row.id, request.state.visitor.user.name, desk.now())
    except (ConflictError, NotAllowedError, NotFoundError, WrongInputError) as error:
        return await _one(request, await seen(request), str(error))
    return RedirectResponse(f"/mail/{row.id}", 303)


async def _one(request: Request, row: InboxRow, error: str = "") -> Response:
    raw = await inbox.raw_of(part(request, MailDesk).pool, row.id)
    mail = await asyncio.to_thread(read, raw)
    repeatable = row.verdict in (None, Kind.HELD, Kind.DROPPED)
    return render(
        request,
        "mail_one.html",
        status=409 if error else 200,
        row=row,
        mail=mail,
        text=mail.text[:TEXT_SHOWN],
        more=len(mail.text) > TEXT_SHOWN,
        error=error,
        held=row.verdict == Kind.HELD,
        repeatable=repeatable,
        **_words(),
    )


def _words() -> dict[str, Any]:
    return {"verdict_words": VERDICTS, "looks": LOOKS, "reasons": REASONS, "steps": STEPS}


ROUTES = (
    Row("GET", "/mail", "mail", show),
    Row("GET", "/mail/{id}", "mail", one),
    Row("POST", "/mail/{id}/accept", "mail.write", accept),
    Row("POST", "/mail/{id}/dismiss", "mail.write", dismiss),
    Row("POST", "/mail/{id}/again", "mail.write", again),
)
