"""A stored file as an answer: always saved, never shown in place, whatever it is.

A browser that guessed another type, or opened it within the desk's origin, would run what a stranger wrote.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from ticketing.threads.attachments import Stored

# Types that browsers do not run even where a header is lost; all others go out as bytes.
_HARMLESS = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf", "text/plain"})
POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"


def as_response(stored: Stored) -> Response:
    """The file for saving; its name in RFC 6266 form, twice: plain for old programs, and as it is."""
    kind = stored.type if stored.type in _HARMLESS else "application/octet-stream"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%;' else "_" for c in stored.name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(stored.name, safe='')}"
    headers = {
        "Content-Disposition": disposition,
        "Content-Type": f"{kind}; charset=utf-8" if kind == "text/plain" else kind,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-store",
    }
    return Response(stored.content, headers=headers)
