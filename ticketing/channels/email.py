"""Letters over SMTP.

Headers follow what other desks learnt: a Message-ID that names the ticket and carries a keyed digest (a reply can
be matched without trusting its subject), the marks of automatic mail (nobody's vacation answer starts a loop), an
own marker, a stable subject tag. An unknown outcome is sent again under the same Message-ID.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any

import aiosmtplib

from ticketing.channels.secrets import read_secret
from ticketing.errors import DeliveryError, UndeliverableError
from ticketing.outbox import Outgoing

TIMEOUT = 20.0  # s, for connecting and each command
# With lines of 78 a long Message-ID in a header is written as an encoded word and threads break
# (python/cpython#100991); 998 is the limit of RFC 5322.
LETTER = SMTP.clone(max_line_length=998)


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How letters leave; attributes as the configuration's keys, `sender` being `from`. `desk_url` goes into links."""

    host: str
    port: int = 25
    tls: str = "none"  # none | starttls | tls
    user: str = ""
    password_file: Path | None = None
    sender: str = ""
    to: tuple[str, ...] = ()
    desk_url: str = ""


class Mail:
    """The mail channel: one letter to all configured addresses. `key` is the instance's secret."""

    name = "email"
    target = "mail"

    def __init__(self, settings: MailSettings, key: bytes) -> None:
        self._settings = settings
        self._key = key
        self.shown = f"{settings.host}:{settings.port}"
        self._sender = settings.sender or f"dozor@{socket.getfqdn()}"

    async def send(self, message: Outgoing) -> str:
        """Send one letter; see `Channel.send`. Returns its Message-ID."""
        settings = self._settings
        if not settings.to:
            raise UndeliverableError("no addresses: mail.to is empty")
        letter = self.letter(message)
        password = None if settings.password_file is None else (await read_secret(settings.password_file)).decode()
        try:
            refused, _ = await aiosmtplib.send(
                letter.as_bytes(policy=LETTER),
                sender=parseaddr(self._sender)[1],
                recipients=[parseaddr(address)[1] for address in settings.to],
                hostname=settings.host,
                port=settings.port,
                username=settings.user or None,
                password=password if settings.user else None,
                use_tls=settings.tls == "tls",
                start_tls=settings.tls == "starttls",
                timeout=TIMEOUT,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            permanent = all(500 <= one.code < 600 for one in error.recipients)
            raise (UndeliverableError if permanent else DeliveryError)(f"all addresses refused: {error}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from error
        identity = str(letter["Message-ID"])
        # Those who took it must not get it twice: what was refused is recorded, not repeated.
        return f"{identity} refused by {', '.join(sorted(refused))}" if refused else identity

    async def close(self) -> None:
        """Nothing is held: each letter has its own connection."""

    def letter(self, message: Outgoing) -> EmailMessage:
        """Compose the letter; the same message gives the same Message-ID."""
        letter = EmailMessage(policy=LETTER)
        ticket = message.ticket
        letter["From"] = self._sender
        letter["To"] = ", ".join(self._settings.to)
        letter["Date"] = format_datetime(datetime.now(UTC))
        letter["Message-ID"] = self.message_id(message)
        letter["Auto-Submitted"] = "auto-generated"
        letter["X-Auto-Response-Suppress"] = "All"
        letter["Precedence"] = "bulk"
        letter["X-Dozor-Instance"] = hashlib.sha256(self._key).hexdigest()[:16]
        if ticket is None:
            letter["Subject"] = "Dozor: test letter"
            letter.set_content("This letter says only that the mail channel works.\n", cte="quoted-printable")
        else:
            letter["Subject"] = f"[#{message.number}] {_line(ticket['title'])}"
            letter.set_content(_text(ticket, self._settings.desk_url), cte="quoted-printable")
        return letter

    def message_id(self, message: Outgoing) -> str:
        """``<t.NUMBER.SEQ.HMAC8@domain>``; the sequence of a ticket's first letter is 1."""
        name = f"t.{message.number}.1" if message.number else f"test.{message.id}"
        digest = hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:8]
        domain = parseaddr(self._sender)[1].rpartition("@")[2] or socket.getfqdn()
        return f"<{name}.{digest}@{domain}>"


def _line(text: str) -> str:
    """One line, no control characters: a name from a form must not write headers."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _text(ticket: dict[str, Any], desk_url: str) -> str:
    rows = [
        ("Ticket", ticket["number"]),
        ("Terminal", ticket["terminal"]),
        ("Kind", ticket["kind"]),
        ("Zone", ticket["zone"]),
        ("Priority", ticket["priority"]),
        ("Opened", ticket["opened_at"]),
        ("Reaction due", ticket["due_at"] or "no clock"),
    ]
    lines = [_line(ticket["title"]), ""]
    lines += [f"{name + ':':<14}{_line(str(value))}" for name, value in rows]
    lines += ["", *(f"{entry['at']}  {entry['actor']}: {_line(entry['text'])}" for entry in ticket["journal"])]
    if desk_url:
        lines += ["", f"{desk_url.rstrip('/')}/tickets/{ticket['number']}"]
    return "\n".join(lines) + "\n"
