"""The fields of our own forms, and whether it was one of ours that sent them."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ticketing.kit.access import csrf_matches, visitor

FORM_FIELDS = 60


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


async def joined_form(request: Request, *lists: str) -> dict[str, str]:
    """The same; of the names in `lists`, which checkboxes share, all values, a line each."""
    came = await raw_form(request)
    fields = {name: value.replace("\r\n", "\n") for name, value in came.items() if isinstance(value, str)}
    for name in lists:
        if name in fields:
            fields[name] = "\n".join(value for value in came.getlist(name) if isinstance(value, str))
    return fields


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
