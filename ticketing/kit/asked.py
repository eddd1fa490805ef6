"""What a request asks for: parameters checked before anything is looked up. A wrong one is 400 and says why."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ticketing.commands import Wanted
from ticketing.core.paging import PAGE_LIMIT
from ticketing.kit.ports import GROUPED, SORTS, TerminalQuery

DEFAULT_LIMIT = 50
MAX_PARAMETER = 200  # characters: identities have 64
MAX_BYTES = 10_000  # characters of bytes as people paste them
MAX_CURSOR = 800  # an identity and what it is sorted by, 64 characters of four bytes each, quoted, in base64
LONGEST_SPAN = timedelta(days=31)
VERDICTS = ("good", "suspect", "fail", "unknown")
YES_NO = {"yes": True, "no": False}


def parameter(request: Request, name: str) -> str | None:
    """A query parameter; None when absent or empty."""
    value = request.query_params.get(name)
    if not value:
        return None
    if len(value) > MAX_PARAMETER or not storable(value):
        raise HTTPException(400, f"{name}: at most {MAX_PARAMETER} characters, none of them NUL")
    return value


def choice(request: Request, name: str, allowed: Collection[str]) -> str | None:
    """A query parameter that is one of the words `allowed`, a sort also with a minus before it; None when absent."""
    value = parameter(request, name)
    if value is not None and (value.removeprefix("-") if name == "sort" else value) not in allowed:
        raise HTTPException(400, f"{name}: one of {', '.join(allowed)}")
    return value


def terminals(request: Request, kinds: Collection[str]) -> TerminalQuery:
    """Which terminals, and in which order; `kinds` are the detectors."""
    connected, overdue = choice(request, "connected", YES_NO), choice(request, "overdue", YES_NO)
    return TerminalQuery(
        search=parameter(request, "search") or "",
        **{name: parameter(request, name) for name in GROUPED},
        connected=YES_NO[connected] if connected else None,
        overdue=YES_NO[overdue] if overdue else None,
        kind=choice(request, "kind", kinds),
        verdict=choice(request, "verdict", VERDICTS),
        sort=choice(request, "sort", SORTS) or "terminal",
    )


def limit(request: Request, default: int = DEFAULT_LIMIT) -> int:
    """The page size, 1 to 500."""
    value = request.query_params.get("limit")
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) <= 4 and 1 <= int(value) <= PAGE_LIMIT):
        raise HTTPException(400, f"limit: a number from 1 to {PAGE_LIMIT}")
    return int(value)


def row_id(text: str) -> int:
    """The id that a text is; 0, which nothing has, for what is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0


def organisation(request: Request) -> int | None:
    """The organisation that a list is asked for."""
    value = parameter(request, "organisation")
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 16):
        raise HTTPException(400, "organisation: the id of one")
    return int(value)


def cursor(request: Request) -> str | None:
    """The cursor; whether it is one of the list's own is for the list to say."""
    value = request.query_params.get("cursor")
    if value is not None and (not 0 < len(value) <= MAX_CURSOR or not value.isascii() or not value.isprintable()):
        raise HTTPException(400, "cursor: what `next` of the page before said")
    return value


def span(
    request: Request,
    latest: datetime,
    begins: str = "since",
    ends: str = "until",
    *,
    usual: timedelta = timedelta(hours=24),
    longest: timedelta = LONGEST_SPAN,
) -> tuple[datetime, datetime]:
    """`since` and `until` (ISO 8601 with an offset); without them the `usual` time up to `latest`."""
    until = _moment(request, ends) or latest
    since = _moment(request, begins) or before(until, usual)
    if not timedelta(0) < until - since <= longest:
        raise HTTPException(400, f"{begins} must lie before {ends}, by {longest.days} days at most")
    return since, until


def before(until: datetime, span: timedelta) -> datetime:
    """When a span ends so far in the past that it would begin before time does, it begins with it."""
    first = datetime.min.replace(tzinfo=UTC)
    return until - span if until - first > span else first


def _moment(request: Request, name: str) -> datetime | None:
    value = parameter(request, name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise HTTPException(400, f"{name}: an instant such as 2026-11-21T10:00:00Z") from error
    if moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise HTTPException(400, f"{name}: an instant with its offset, such as 2026-11-21T10:00:00Z")
    return moment.astimezone(UTC)


async def wanted_command(request: Request) -> Wanted:
    """The JSON body of a command."""
    try:
        return msgspec.json.decode(await request.body(), type=Wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(
            400, f'the body is not {{"text": "…", "expires_in": "10m", "key": "…"}}: {error}'
        ) from error


def storable(text: str) -> bool:
    """Whether PostgreSQL can hold it: no NUL, no lone surrogate."""
    return not any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in text)
