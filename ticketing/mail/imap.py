"""IMAP: reads a mailbox from where it stopped, by UID and UIDVALIDITY; never by flags, which other readers change.

The standard library's client in a thread, read-only (EXAMINE, BODY.PEEK): the mailbox stays as it is. Each mail is
committed together with the position, so that a crash loses none and repeats at most one, which the inbox knows.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import imaplib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from psycopg import Error
from psycopg_pool import PoolTimeout

from ticketing.channels.secrets import read_password
from ticketing.core.db import Pool, storable, utc_or_none
from ticketing.core.errors import DeliveryError
from ticketing.core.moments import utc_now
from ticketing.mail.inbox import LARGEST, Arrival, keep

log = structlog.get_logger()

TIMEOUT = 60.0  # s for connecting and each answer
SLOWEST = 600.0  # s between looks at a mailbox that fails
ROUND = 1000  # mails of one look; the rest in the next, at once
_SIZES = re.compile(rb"UID ([0-9]{1,10}).*?RFC822\.SIZE ([0-9]{1,12})|RFC822\.SIZE ([0-9]{1,12}).*?UID ([0-9]{1,10})")


@dataclass(frozen=True, slots=True)
class MailboxSettings:
    """A mailbox to read; attributes as the configuration's keys, `poll` in seconds. `tls`: tls, starttls or none."""

    host: str
    port: int = 993
    tls: str = "tls"
    user: str = ""
    password_file: Path | None = None
    folder: str = "INBOX"
    poll: float = 30.0
    ca: Path | None = None

    @property
    def name(self) -> str:
        """What tells it from others, in positions, notices and the inbox."""
        return f"imap {self.user}@{self.host}:{self.port}/{self.folder}"


@dataclass(frozen=True, slots=True)
class MailboxState:
    """How a mailbox stands, for pages: `failing_since` is None of one that answers."""

    mailbox: str
    looked_at: datetime | None
    failing_since: datetime | None
    error: str | None


class Mailbox:
    """Reads one mailbox for ever.

    Attributes
    ----------
    kept : mails taken, since the start.
    failed : looks that failed.
    failing : whether the last one did.
    """

    def __init__(
        self,
        pool: Pool,
        settings: MailboxSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
        on_kept: Callable[[], None] = lambda: None,
        largest: int = LARGEST,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._on_kept = on_kept
        self._largest = largest
        self.kept = 0
        self.failed = 0
        self.failing = False

    async def run(self) -> None:
        """Look, wait, look again; ever slower while it fails. A store that is away is waited for as well."""
        wait = self._settings.poll
        while True:
            try:
                more = await self.look()
            except (DeliveryError, Error, PoolTimeout) as error:
                wait = min(SLOWEST, max(wait, self._settings.poll) * 2)
                log.warning("mailbox cannot be read", mailbox=self._settings.name, error=str(error), retry_in_s=wait)
            else:
                wait = 0 if more else self._settings.poll
            await asyncio.sleep(wait)
            wait = max(wait, self._settings.poll)

    async def look(self) -> bool:
        """Take what is new; returns whether there is more.

        Raises
        ------
        DeliveryError
            If the mailbox cannot be read; it is noted for the pages.
        """
        try:
            more = await self._look()
        except (DeliveryError, imaplib.IMAP4.error, OSError, ssl.SSLError, ValueError, EOFError) as error:
            told = str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"
            self.failed += 1
            self.failing = True
            await self._note(told[:500])
            raise DeliveryError(f"{self._settings.name}: {told}") from error
        self.failing = False
        await self._note(None)
        return more

    async def _look(self) -> bool:
        settings = self._settings
        password = "" if settings.password_file is None else await read_password(settings.password_file)
        session = await asyncio.to_thread(_Session, settings, password)
        try:
            validity = session.validity
            position = await self._position(validity)
            waiting = await asyncio.to_thread(session.after, position)
            for uid, size in waiting[:ROUND]:
                arrival = await asyncio.to_thread(session.fetch, uid, size, self._largest)
                if await self._take(arrival, validity, uid):
                    self.kept += 1
                    self._on_kept()
            return len(waiting) > ROUND
        finally:
            # Not awaited when cancelled: the thread ends by itself.
            await asyncio.shield(asyncio.to_thread(session.close))

    async def _position(self, validity: int) -> int:
        """The last UID read; 0 of a mailbox that is new, or was made anew: the inbox knows what it has."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT uidvalidity, uid FROM mailbox_position WHERE mailbox = %s", (self._settings.name,)
            )
            row = await rows.fetchone()
        return row[1] if row is not None and row[0] == validity else 0

    async def _take(self, arrival: Arrival | None, validity: int, uid: int) -> bool:
        now = self._clock()
        async with self._pool.connection() as connection:
            kept = None if arrival is None else await keep(connection, arrival, now)
            await connection.execute(
                "INSERT INTO mailbox_position AS p (mailbox, uidvalidity, uid, looked_at) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (mailbox) DO UPDATE SET uidvalidity = excluded.uidvalidity,"
                " looked_at = excluded.looked_at,"
                # Two services side by side: the position never goes back.
                " uid = CASE WHEN p.uidvalidity = excluded.uidvalidity THEN greatest(p.uid, excluded.uid)"
                " ELSE excluded.uid END",
                (self._settings.name, validity, uid, now),
            )
        return kept is not None

    async def _note(self, error: str | None) -> None:
        now = self._clock()
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO mailbox_position AS p (mailbox, uidvalidity, uid, looked_at, failing_since, error)"
                " VALUES (%(mailbox)s, 0, 0, %(looked)s, %(since)s, %(error)s) ON CONFLICT (mailbox) DO UPDATE SET"
                " looked_at = coalesce(excluded.looked_at, p.looked_at), error = excluded.error,"
                " failing_since = CASE WHEN excluded.error IS NOT NULL"
                " THEN coalesce(p.failing_since, excluded.failing_since) END",
                {
                    "mailbox": self._settings.name,
                    "looked": now if error is None else None,
                    "since": None if error is None else now,
                    "error": None if error is None else storable(error),
                },
            )


async def states(pool: Pool) -> list[MailboxState]:
    """How all mailboxes stand."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT mailbox, looked_at, failing_since, error FROM mailbox_position ORDER BY mailbox"
        )
        return [
            MailboxState(mailbox, utc_or_none(looked), utc_or_none(since), error)
            for mailbox, looked, since, error in await rows.fetchall()
        ]


class _Session:
    """One connection, in a thread. All of it may raise what `imaplib` and sockets do."""

    def __init__(self, settings: MailboxSettings, password: str) -> None:
        self._source = settings.name
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.tls == "tls":
            self._link: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                settings.host, settings.port, ssl_context=context, timeout=TIMEOUT
            )
        else:
            self._link = imaplib.IMAP4(settings.host, settings.port, timeout=TIMEOUT)
        try:
            if settings.tls == "starttls":
                self._link.starttls(context)
            self._log_in(settings.user, password)
            answer, counted = self._link.select(_quoted(settings.folder), readonly=True)
            if answer != "OK":
                raise imaplib.IMAP4.error(f"folder {settings.folder}: {_shown(counted)}")
            self._count = int(counted[0] or b"0")
            validity = self._link.response("UIDVALIDITY")[1][0]
            if validity is None:
                raise imaplib.IMAP4.error(f"folder {settings.folder} tells no UIDVALIDITY: it cannot be followed")
            self.validity = int(validity)
        except BaseException:
            self.close()
            raise

    def _log_in(self, user: str, password: str) -> None:
        if "AUTH=PLAIN" in self._link.capabilities:  # passwords of any letters
            self._link.authenticate("PLAIN", lambda _: b"\0" + user.encode() + b"\0" + password.encode())
        else:
            self._link.login(user, password)

    def after(self, uid: int) -> list[tuple[int, int]]:
        """UID and size of what came after a UID, ascending."""
        if not self._count:
            return []
        found: list[tuple[int, int]] = []
        for line in self._data("FETCH", f"{uid + 1}:*", "(UID RFC822.SIZE)"):
            told = _SIZES.search(line if isinstance(line, bytes) else line[0])
            if told:
                found.append((int(told[1] or told[4]), int(told[2] or told[3])))
        # ``N:*`` names the last mail even where its UID is below N.
        return sorted(one for one in found if one[0] > uid)

    def fetch(self, uid: int, size: int, largest: int) -> Arrival | None:
        """The mail; its head of one that is too large; None of one that is gone."""
        whole = size <= largest
        for item in self._data("FETCH", str(uid), "(UID BODY.PEEK[])" if whole else "(UID BODY.PEEK[HEADER])"):
            if isinstance(item, tuple) and b"BODY[" in item[0].upper():
                raw = item[1] if whole else item[1][: 1 << 20]
                return Arrival(raw, self._source, size=None if whole else size)
        return None

    def close(self) -> None:
        """Say good-bye if it listens."""
        with contextlib.suppress(imaplib.IMAP4.error, OSError, EOFError, ValueError):
            self._link.logout()

    def _data(self, command: str, *arguments: str) -> list[Any]:
        answer, data = self._link.uid(command, *arguments)
        if answer != "OK":
            raise imaplib.IMAP4.error(f"{command} {arguments[0]}: {_shown(data)}")
        return [item for item in data if item]


def _quoted(folder: str) -> str:
    """A folder's name in IMAP's own UTF-7 (RFC 3501, 5.1.3), quoted."""
    parts: list[str] = []
    for run in re.findall(r"[ -~]+|[^ -~]+", folder):
        if run.isascii() and run.isprintable():
            parts.append(run.replace("&", "&-"))
        else:
            coded = base64.b64encode(run.encode("utf-16-be")).decode("ascii").rstrip("=").replace("/", ",")
            parts.append(f"&{coded}-")
    return '"' + "".join(parts).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _shown(data: Any) -> str:
    first = data[0] if isinstance(data, list) and data else data
    return first.decode("utf-8", "replace")[:300] if isinstance(first, bytes) else str(first)[:300]
