"""A signed call: ``POST`` with the frozen body, any 2xx takes it.

``Dozor-Signature: t=UNIX,v1=HEX`` is HMAC-SHA256 over ``t.body``; the receiver compares it and refuses an old `t`.
The same id on every attempt, in the body and as ``Idempotency-Key``.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from ticketing.channels.secrets import read_secret
from ticketing.core.errors import DeliveryError
from ticketing.core.outbox import OPENED, Outgoing

TIMEOUT = 10.0  # s, for each of connecting, writing, reading


def signature(secret: bytes, at: int, body: bytes) -> str:
    """The value of `Dozor-Signature` for a body sent at Unix second `at`."""
    return f"t={at},v1={hmac.new(secret, b'%d.' % at + body, hashlib.sha256).hexdigest()}"


class Webhook:
    """One receiver. Redirects are not followed and no proxy is taken from the environment: what is called is what
    is configured."""

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret_file: Path | None = None,
        *,
        events: tuple[str, ...] = (OPENED,),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.target = url
        self.events = events
        parts = urlsplit(url)
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # path and query may hold tokens
        self._secret_file = secret_file
        self._clock = clock
        self._client: httpx.AsyncClient | None = None

    async def send(self, message: Outgoing) -> str:
        """Call once; see `Channel.send`."""
        body = message.body.encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id, "User-Agent": "dozor"}
        if self._secret_file is not None:
            headers["Dozor-Signature"] = signature(await read_secret(self._secret_file), int(self._clock()), body)
        if self._client is None:
            # The system's own authorities, so that a company's certificate needs no setting of ours.
            self._client = httpx.AsyncClient(
                timeout=TIMEOUT, follow_redirects=False, trust_env=False, verify=ssl.create_default_context()
            )
        try:
            # Streamed: the answer's body says nothing we need, and may be endless.
            async with self._client.stream("POST", self.target, content=body, headers=headers) as response:
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from error
        if not 200 <= status < 300:
            raise DeliveryError(f"answered {status}")
        return str(status)

    async def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
