"""Letters over SMTP, one recipient at a time, on a few connections that are kept for the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiosmtplib

from ticketing.channels.email import TIMEOUT, MailSettings
from ticketing.channels.letter import address_of
from ticketing.channels.secrets import read_password
from ticketing.core.errors import DeliveryError, UndeliverableError

CONNECTIONS = 4  # a connection carries one letter at a time; servers frown at many from one sender
KEPT = 30.0  # s idle; servers hang up after some minutes
_FRESH = 5.0  # s; one idle for longer is asked whether it is still there


@dataclass(slots=True)
class _Idle:
    client: aiosmtplib.SMTP
    since: float


class Smtp:
    """A mail server as the courier of letters uses it. `close` gives the connections back."""

    def __init__(self, settings: MailSettings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._idle: list[_Idle] = []
        self._room = asyncio.Semaphore(CONNECTIONS)
        self.shown = f"{settings.host}:{settings.port}"

    async def send(self, sender: str, to: str, raw: bytes) -> str:
        """Hand one letter over; returns what the server answered, which often holds its queue's identity.

        Parameters
        ----------
        sender : the envelope's, where bounces go.

        Raises
        ------
        UndeliverableError
            If this recipient or this letter is refused for good (5xx to RCPT or DATA).
        DeliveryError
            If it was put off, or nobody knows: the same bytes may go again.
        """
        try:
            sender, to = address_of(sender), address_of(to)
        except ValueError as error:
            raise UndeliverableError(str(error)) from error
        async with self._room:
            client = await self._client()
            keep = False
            try:
                _, answer = await client.sendmail(sender, [to], raw)
                keep = True
                return answer
            except aiosmtplib.SMTPRecipientsRefused as error:
                keep = True
                refused = error.recipients[0]
                raise _refusal(refused.code, refused.message) from error
            except aiosmtplib.SMTPDataError as error:
                raise _refusal(error.code, error.message) from error
            except (aiosmtplib.SMTPException, OSError, ValueError) as error:
                raise DeliveryError(f"{type(error).__name__}: {error}") from error
            finally:
                if keep and client.is_connected:
                    self._idle.append(_Idle(client, self._monotonic()))
                else:
                    client.close()

    async def close(self) -> None:
        """Give the connections back."""
        idle, self._idle = self._idle, []
        for one in idle:
            await _leave(one.client)

    async def _client(self) -> aiosmtplib.SMTP:
        """A connection that is ready: one that was kept, or a new one."""
        while self._idle:
            one = self._idle.pop()
            idle = self._monotonic() - one.since
            if idle > KEPT or not one.client.is_connected:
                await _leave(one.client)
                continue
            try:
                if idle > _FRESH:
                    await one.client.noop()
                return one.client
            except (aiosmtplib.SMTPException, OSError):
                one.client.close()
        settings = self._settings
        password = None if settings.password_file is None else await read_password(settings.password_file)
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.user or None,
            password=password if settings.user else None,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            timeout=TIMEOUT,
        )
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            client.close()
            raise DeliveryError(f"{type(error).__name__}: {error}") from error
        return client


def _refusal(code: int, text: str) -> DeliveryError:
    return (UndeliverableError if 500 <= code < 600 else DeliveryError)(f"{code} {text}")


async def _leave(client: aiosmtplib.SMTP) -> None:
    try:
        await client.quit(timeout=1.0)
    except (aiosmtplib.SMTPException, OSError):
        client.close()
