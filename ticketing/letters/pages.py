"""The pages that links in letters lead to: opening one changes nothing, its button acts once.

Nobody signs in here: the token in the path says who it is. It is in no log of ours, and no other site is told of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from ticketing.core.db import Pool
from ticketing.core.errors import ConflictError, NotAllowedError, NotFoundError
from ticketing.kit.access import LETTER
from ticketing.kit.parts import part
from ticketing.letters.texts import LANGUAGES, words
from ticketing.letters.tokens import Act, Offer, offer, press

_TOKEN_LIMIT = 64  # characters; ours have 32
_STATUSES = {"used": 410, "expired": 410, "late": 409, "unknown": 404, "choose": 422, "thanks": 200}

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class LetterButtons:
    """What the pages are made of, given to the desk as one of its parts.

    Attributes
    ----------
    act : does what a button says, in the transaction that uses its token up.
    address : the desk's mail address, for whom no button fits.
    """

    pool: Pool
    act: Act
    address: str
    now: Callable[[], datetime]


def routes() -> list[BaseRoute]:
    """``GET`` shows, ``POST`` acts; the desk needs a `LetterButtons` among its parts."""
    return [
        Route(LETTER + "{token}", _show, methods=["GET"]),
        Route(LETTER + "{token}", _press, methods=["POST"]),
    ]


async def _show(request: Request) -> Response:
    here = part(request, LetterButtons)
    async with here.pool.connection() as connection:
        found = await offer(connection, _token(request), here.now())
    if found is None:
        return _page(request, None, "unknown")
    if found.spent is not None:
        return _page(request, found, found.spent.reason)
    return _page(request, found, "", request.query_params.get("b", ""))


async def _press(request: Request) -> Response:
    here = part(request, LetterButtons)
    async with request.form(max_files=0, max_fields=8) as form:
        button, text = (value if isinstance(value := form.get(name), str) else "" for name in ("button", "text"))
    token = _token(request)
    async with here.pool.connection() as connection:
        found = await offer(connection, token, here.now())
        if found is None:
            return _page(request, None, "unknown")
        if found.spent is not None:
            return _page(request, found, found.spent.reason)
        if button not in found.buttons:
            return _page(request, found, "choose", text=text)
        try:
            async with connection.transaction():
                await press(connection, token, button, text, here.now(), here.act)
        except (ConflictError, NotAllowedError, NotFoundError) as error:
            # Two clicks at once: the second finds the token used.
            return _page(request, found, "used" if str(error) == "used" else "late")
    return _page(request, found, "thanks")


def _token(request: Request) -> str:
    return str(request.path_params["token"])[:_TOKEN_LIMIT]


def _page(request: Request, found: Offer | None, told: str, chosen: str = "", text: str = "") -> Response:
    """The page in the letter's language; of a link that is not known in the browser's, as far as it says."""
    language = found.language if found is not None else _preferred(request.headers.get("accept-language", ""))
    said = words(language)
    asks = found is not None and told in ("", "choose")
    values: dict[str, Any] = {
        "language": language,
        "title": said.get("page", "title").format(number=found.number) if found else said.get("frame", "desk"),
        "told": said.get("page", told) if told else "",
        "good": told in ("", "thanks"),
        "ask": said.get("page", "ask"),
        "comment": said.get("page", "comment"),
        "send": said.get("page", "send"),
        "reply": said.get("page", "reply").format(address=part(request, LetterButtons).address),
        "buttons": [(one, said.get("button", one)) for one in found.buttons] if found is not None and asks else [],
        "chosen": chosen,
        "text": text,
    }
    html = _environment.get_template("letter_button.html").render(values)
    return HTMLResponse(html, _STATUSES.get(told, 200), {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"})


def _preferred(accepted: str) -> str:
    spoken = (part.partition(";")[0].strip()[:2].lower() for part in accepted.split(",")[:10])
    return next((language for language in spoken if language in LANGUAGES), "en")
