"""Letters over SMTP.

Headers follow what other desks learnt: a Message-ID that names the ticket and carries a keyed digest (a reply can
be matched without trusting its subject), the marks of automatic mail (nobody's vacation answer starts a loop), an
own marker, a stable subject tag. An unknown outcome is sent again under the same Message-ID.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiosmtplib

from ticketing.channels import letter as compose
from ticketing.channels.secrets import read_password
from ticketing.core.errors import DeliveryError, UndeliverableError
from ticketing.core.message_ids import MARK, instance_mark, make, named
from ticketing.core.outbox import OPENED, Outgoing

TIMEOUT = 20.0  # s, for connecting and each command


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How letters leave; attributes as the configuration's keys, `sender` being `from`.

    `desk_url` goes into links; times are in `zone`, without one in that of the ticket's first clock.
    """

    host: str
    port: int = 25
    tls: str = "none"  # none | starttls | tls
    user: str = ""
    password_file: Path | None = None
    sender: str = ""
    to: tuple[str, ...] = ()
    desk_url: str = ""
    zone: tzinfo | None = None

    @property
    def writer(self) -> str:
        """Who writes: `sender`, or one made of the machine's name."""
        return self.sender or f"dozor@{socket.getfqdn()}"


class Mail:
    """The mail channel: one letter to all configured addresses, each with an outcome of its own.

    `key` is the instance's secret.
    """

    name = "email"
    target = "mail"
    events = (OPENED,)

    def __init__(self, settings: MailSettings, key: bytes) -> None:
        self._settings = settings
        self._key = key
        self.shown = f"{settings.host}:{settings.port}"
        self._sender = settings.writer

    async def send(self, message: Outgoing) -> str:
        """Send one letter to those who have not taken it yet; see `Channel.send`. Returns its Message-ID."""
        settings = self._settings
        if not settings.to:
            raise UndeliverableError("no addresses: mail.to is empty")
        identity = self.message_id(message)
        try:
            everybody = list(dict.fromkeys(compose.address_of(address) for address in settings.to))
            content = self.letter(message)
        except ValueError as error:
            raise UndeliverableError(str(error)) from error
        wanted = [address for address in everybody if address not in message.settled]
        if not wanted:
            return identity
        password = None if settings.password_file is None else await read_password(settings.password_file)
        try:
            answers, _ = await aiosmtplib.send(
                content,
                sender=compose.address_of(self._sender),
                recipients=wanted,
                hostname=settings.host,
                port=settings.port,
                username=settings.user or None,
                password=password if settings.user else None,
                use_tls=settings.tls == "tls",
                start_tls=settings.tls == "starttls",
                timeout=TIMEOUT,
            )
            refused = {address: (answer.code, answer.message) for address, answer in answers.items()}
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = {one.recipient: (one.code, one.message) for one in error.recipients}
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from error
        if not refused:
            return identity
        # Those who took it must not get it twice; those who never will are not asked again.
        settled = {address: "" for address in wanted if address not in refused}
        settled |= {address: f"{code} {text}" for address, (code, text) in refused.items() if 500 <= code < 600}
        told = "refused: " + ", ".join(f"{address} ({code} {text})" for address, (code, text) in refused.items())
        hopeless = len(settled) == len(wanted)
        raise (UndeliverableError if hopeless else DeliveryError)(told, settled)

    async def close(self) -> None:
        """Nothing is held: each letter has its own connection."""

    def letter(self, message: Outgoing) -> bytes:
        """Compose the letter; the same message gives the same Message-ID.

        Raises
        ------
        ValueError
            If an address cannot be.
        """
        ticket = message.ticket
        if ticket is None:
            subject, text = "Dozor: test letter", "This letter says only that the mail channel works.\n"
        else:
            subject = f"[#{message.number}] {ticket['title']}"
            text = _text(ticket, self._settings.desk_url, self._settings.zone)
        head = [
            compose.mailboxes("From", [self._sender]),
            compose.mailboxes("To", self._settings.to),
            f"Date: {format_datetime(datetime.now(UTC))}\r\n",
            f"Message-ID: {self.message_id(message)}\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "X-Auto-Response-Suppress: All\r\n",
            "Precedence: bulk\r\n",
            f"{MARK}: {instance_mark(self._key)}\r\n",
            compose.unstructured("Subject", subject),
            "MIME-Version: 1.0\r\n",
            'Content-Type: text/plain; charset="utf-8"\r\n',
            "Content-Transfer-Encoding: quoted-printable\r\n",
        ]
        return "".join(head).encode("ascii") + b"\r\n" + compose.body(text)

    def message_id(self, message: Outgoing) -> str:
        """``<t.NUMBER.SEQ.HMAC8@domain>``; the sequence of a ticket's first letter is 1."""
        domain = compose.address_of(self._sender).rpartition("@")[2]
        if message.number:
            return make(self._key, message.number, 1, domain)
        return named(self._key, f"test.{message.id}", domain)


def _text(ticket: dict[str, Any], desk_url: str, zone: tzinfo | None) -> str:
    line = compose.one_line
    zone = zone or _zone(ticket)
    rows = [
        ("Ticket", ticket["number"]),
        ("Terminal", ticket["terminal"] or "many, see the ticket"),
        ("Kind", ticket["kind"]),
        ("Zone", ticket["zone"]),
        ("Priority", ticket["priority"]),
        ("Opened", _when(ticket["opened_at"], zone)),
        ("Reaction due", _when(ticket["due_at"], zone) if ticket["due_at"] else "no clock"),
    ]
    lines = [line(ticket["title"]), ""]
    lines += [f"{name + ':':<14}{line(str(value))}" for name, value in rows]
    lines.append("")
    lines += [
        f"{_when(entry['at'], zone)}  {line(entry['actor'])}: {line(entry['text'])}" for entry in ticket["journal"]
    ]
    if desk_url:
        lines += ["", f"{desk_url.rstrip('/')}/tickets/{ticket['number']}"]
    return "\n".join(lines) + "\n"


def _zone(ticket: dict[str, Any]) -> tzinfo:
    """That of the first clock's due time; without one UTC."""
    for clock in ticket.get("clocks", ()):
        due = clock.get("due")
        if due:
            return datetime.fromisoformat(due).tzinfo or UTC
    return UTC


def _when(instant: str, zone: tzinfo) -> str:
    """An instant for people: local with its zone, and UTC beside it."""
    utc = datetime.fromisoformat(instant).astimezone(UTC)
    local = utc.astimezone(zone)
    shown = f"{local:%Y-%m-%d %H:%M} {local.tzname()}"
    if not local.utcoffset():
        return shown
    return f"{shown} ({utc:%H:%M} UTC)" if local.date() == utc.date() else f"{shown} ({utc:%Y-%m-%d %H:%M} UTC)"
