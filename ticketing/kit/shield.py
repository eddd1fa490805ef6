"""What every answer carries and no request may exceed: security headers, and a bound on bodies."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from urllib.parse import urlsplit

from psycopg import OperationalError
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 128 * 1024  # a text is 10 000 characters at most, in a form of 12 bytes each
MAX_UPLOAD = 24 << 20  # of forms that may bring files: five photographs of a phone
LINGER = 5.0  # s that what comes after a refusal is read, at most
UPLOADS = re.compile(r"/tickets/(?:new|[^/]{1,40}/[a-z-]{1,20})")


def content_policy(tiles: str) -> str:
    """The content security policy: nothing inline, nothing from elsewhere but the configured map tiles."""
    images = "'self'"
    if tiles:
        parts = urlsplit(tiles)
        host = parts.netloc.replace("{s}", "*")
        images += f" {parts.scheme}://{host}"
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


class Shield:
    """Outermost: refuses large bodies with 413 and sets the headers, on errors too."""

    def __init__(self, app: ASGIApp, *, tiles: str, https: bool) -> None:
        self._app = app
        self._policy = content_policy(tiles)
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        static = scope["path"].startswith("/static/")
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", self._policy)  # a file's is stricter
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers["Referrer-Policy"] = "same-origin"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
                headers["Cache-Control"] = "public, max-age=3600" if static else "no-store"
                if self._https:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        taken, most = 0, _most(scope)

        async def receive_bounded() -> Message:
            nonlocal taken
            if _announced(scope) > most:  # only here: a stranger's body is not read, and 401 comes first
                raise _TooLargeError
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > most:
                    raise _TooLargeError
            return message

        try:
            await self._app(scope, receive_bounded, send_with_headers)
        except _TooLargeError:
            if not started:
                await _too_large(most, receive, send_with_headers)
        except ClientDisconnect:  # it went, or was cut off, before it had said everything: nobody is there to be told
            return
        except OperationalError:  # the gate could not ask who this is
            if started:
                raise
            await _away(scope["path"])(scope, receive, send_with_headers)
        except Exception:
            if not started:
                await PlainTextResponse("Something went wrong here; it is logged.", 500)(
                    scope, receive, send_with_headers
                )
            raise


class _TooLargeError(Exception):
    """The body is larger than any form of ours."""


async def _too_large(most: int, receive: Receive, send: Send) -> None:
    """413; what still comes is read for a moment, since a connection closed on unread bytes takes the answer along."""
    refusal = JSONResponse({"error": f"more than {most} bytes"}, 413, {"Connection": "close"})
    await send({"type": "http.response.start", "status": 413, "headers": refusal.raw_headers})
    await send({"type": "http.response.body", "body": refusal.body, "more_body": True})
    left = MAX_UPLOAD
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    break
    await send({"type": "http.response.body"})


def _away(path: str) -> Response:
    headers = {"Retry-After": "5"}
    if path.startswith("/api/"):
        return JSONResponse({"error": "the store does not answer in time; please try again"}, 503, headers)
    return PlainTextResponse("The store is away; please try again.", 503, headers)


def _most(scope: Scope) -> int:
    """How long the body may be: only a form of files may be long."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    upload = kind.lower().startswith(b"multipart/form-data") and UPLOADS.fullmatch(scope["path"])
    return MAX_UPLOAD if upload else MAX_BODY


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else MAX_UPLOAD + 1
    return 0
