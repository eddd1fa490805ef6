"""The fields of our own forms, and whether it was one of ours that sent them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ticketing.kit.access import csrf_matches, visitor

FORM_FIELDS = 60
INSTANTS = (
    "eta",
    "until",
    "slot_from",
    "slot_to",
    "received_at",
    "started_at",
    "called_at",
    "since",
)  # typed in the reader's zone, sent on with an offset


async def raw_form(request: Request) -> FormData:
    """The form as it came, equal names and all.

    Raises
    ------
    HTTPException
        400 for what our pages never send: a multipart form says in which encoding it is to be read, and may lie.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise HTTPException(400, "send the form as application/x-www-form-urlencoded")
    return await request.form(max_files=0, max_fields=FORM_FIELDS)


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of equal names counts; line ends as in JSON. `HTTPException` as `raw_form`."""
    fields = await raw_form(request)
    return {name: value.replace("\r\n", "\n") for name, value in fields.items() if isinstance(value, str)}


def vouched(request: Request, fields: Mapping[str, str]) -> bool:
    """Whether the form carries the token of the session that sends it."""
    session = visitor(request).session
    return session is not None and csrf_matches(session, fields.get("csrf", ""))


async def checked_form(request: Request) -> dict[str, str]:
    """The fields of one of our own forms.

    Raises
    ------
    HTTPException
        403 without the form's token.
    """
    fields = await form(request)
    if not vouched(request, fields):
        raise HTTPException(403, "this form is not from the desk or has expired: open the page again")
    return fields


async def checked_fields(request: Request) -> FormData:
    """All fields of one of our own forms, as they came; see `checked_form`."""
    fields = await raw_form(request)
    token = fields.get("csrf", "")
    if not vouched(request, {"csrf": token if isinstance(token, str) else ""}):
        raise HTTPException(403, "this form is not from the desk or has expired: open the page again")
    return fields


def zoned(fields: Mapping[str, str], zone: tzinfo) -> dict[str, str]:
    """Instants that a browser's field says without an offset, with that of the reader's zone then."""
    said = dict(fields)
    for name in INSTANTS:
        try:
            moment = datetime.fromisoformat(said.get(name, "").strip())
        except ValueError:  # empty, or refused by its name later
            continue
        said[name] = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat()
    return said
