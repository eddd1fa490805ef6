"""The inbox under `/api/mail`: what came in, what became of it, and what a person does with held mail.

Staff and auditors see each mail with its ticket, and those without one; staff accept, dismiss and judge again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ticketing.core.db import Pool
from ticketing.core.errors import ConflictError
from ticketing.core.paging import Page
from ticketing.kit.access import visitor
from ticketing.kit.asked import choice, limit, parameter
from ticketing.kit.parts import part
from ticketing.kit.routes import Row
from ticketing.mail import inbox
from ticketing.mail.imap import MailboxState, states
from ticketing.mail.inbox import InboxRow
from ticketing.mail.judge import Judge
from ticketing.mail.verdicts import Kind
from ticketing.people.scope import Kind as Seen
from ticketing.people.scope import condition
from ticketing.threads.attachments import Stored
from ticketing.threads.download import as_response

TAG = "Mail"
_DIGITS = 18  # of an id


@dataclass(frozen=True, slots=True)
class MailDesk:
    """What the routes of this module are made of; `judge` is None where no mail can come in.

    `mailboxes` are the names of those that are read (`MailboxSettings.name`); None: whatever was ever read.
    """

    pool: Pool
    judge: Judge | None
    now: Callable[[], datetime]
    mailboxes: Collection[str] | None = None


async def listed(request: Request) -> Page[InboxRow]:
    """Mails, the newest first."""
    verdict = choice(request, "verdict", [*map(str, Kind), "failing"])
    before = parameter(request, "before")
    items = await page_of(request, verdict or "", None if before is None else number_of(before), limit(request))
    return Page(items, len(items))


async def one(request: Request) -> InboxRow:
    """One mail."""
    return await seen(request)


async def raw(request: Request) -> Response:
    """The mail as it came, for saving."""
    row = await seen(request)
    content = await inbox.raw_of(part(request, MailDesk).pool, row.id)
    return as_response(Stored(f"mail-{row.id}.eml", "message/rfc822", content, 0, public=False))


async def accept(request: Request) -> InboxRow:
    """Let a held mail in."""
    row, desk = await seen(request), part(request, MailDesk)
    await judge_of(desk).accept(row.id, visitor(request).user.name, desk.now())
    return await _after(desk, row.id)


async def dismiss(request: Request) -> InboxRow:
    """Leave a held mail out."""
    row, desk = await seen(request), part(request, MailDesk)
    await judge_of(desk).dismiss(row.id, visitor(request).user.name, desk.now())
    return await _after(desk, row.id)


async def again(request: Request) -> InboxRow:
    """Ask all questions anew."""
    row, desk = await seen(request), part(request, MailDesk)
    await judge_of(desk).again(row.id, visitor(request).user.name, desk.now())
    return await _after(desk, row.id)


async def page_of(request: Request, verdict: str, before: int | None, limit: int) -> list[InboxRow]:
    """Mails that the visitor sees; `verdict` a kind, `failing` or empty: all."""
    return await inbox.listed(
        part(request, MailDesk).pool,
        verdict=None if verdict in ("", "failing") else verdict,
        failing=verdict == "failing",
        before=before,
        limit=limit,
        seen=condition(visitor(request).user, Seen.TICKET, "t"),
    )


async def failing(desk: MailDesk) -> list[MailboxState]:
    """The mailboxes that are read and do not answer."""
    return [
        one
        for one in await states(desk.pool)
        if one.failing_since is not None and (desk.mailboxes is None or one.mailbox in desk.mailboxes)
    ]


async def seen(request: Request) -> InboxRow:
    """The mail that the path names, or 404."""
    found = await inbox.listed(
        part(request, MailDesk).pool,
        only=number_of(request.path_params["id"]),
        seen=condition(visitor(request).user, Seen.TICKET, "t"),
    )
    if not found:
        raise HTTPException(404, "no such mail")
    return found[0]


async def _after(desk: MailDesk, row: int) -> InboxRow:
    (found,) = await inbox.listed(desk.pool, only=row)
    return found


def judge_of(desk: MailDesk) -> Judge:
    """Who judges here; `ConflictError` without one."""
    if desk.judge is None:
        raise ConflictError("no mail comes in here: configure a [[mailbox]] or [lmtp]")
    return desk.judge


def number_of(text: str) -> int:
    """The number of a mail, or 404."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise HTTPException(404, "no such mail")
    return int(text)


_FILTERS = (
    ("verdict", "one verdict alone, such as `held`; `failing`: what cannot be judged"),
    ("before", "the id that the mails come before"),
    ("limit", "how many, at most 500"),
)
ROUTES = (
    Row("GET", "/api/mail", "mail", listed, "What came in", TAG, answer=Page[InboxRow], filters=_FILTERS),
    Row("GET", "/api/mail/{id}", "mail", one, "A mail and its verdict", TAG, answer=InboxRow),
    Row("GET", "/api/mail/{id}/raw", "mail", raw, "A mail as it came", TAG),
    Row("POST", "/api/mail/{id}/accept", "mail.write", accept, "Let a held mail in", TAG, answer=InboxRow),
    Row("POST", "/api/mail/{id}/dismiss", "mail.write", dismiss, "Leave a held mail out", TAG, answer=InboxRow),
    Row("POST", "/api/mail/{id}/again", "mail.write", again, "Judge a mail again", TAG, answer=InboxRow),
)
