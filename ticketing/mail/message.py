"""A mail as it was read: plain data, nothing of it trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Address(NamedTuple):
    """A mailbox: its name as shown, and the address in lower case."""

    name: str
    address: str


NOBODY = Address("", "")


class Part(NamedTuple):
    """A file in a mail; `kind` is what the sender called it."""

    name: str
    kind: str
    content: bytes
    inline: bool


class Recipient(NamedTuple):
    """Of a delivery report: whom it is about, what became of it (failed, delayed, delivered …), its status (5.1.1)."""

    address: str
    action: str
    status: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What another mail system or program tells about a letter.

    `kind`: delivery (RFC 3464, or one written in words), disposition (read receipt, RFC 8098), feedback (RFC 5965).
    `returned` holds the Message-IDs of the letters it is about.
    """

    kind: str
    recipients: tuple[Recipient, ...] = ()
    returned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail, decoded. Texts have no control characters but line ends and tabs; lists are bounded.

    `headers`: lower-case name → decoded values in their order, the top ones only. `text` whole; `said` without quotes.
    `defects`: what could not be read or was left out, in words; the raw form has it.
    """

    message_id: str = ""
    subject: str = ""
    sender: Address = NOBODY
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text: str = ""
    said: str = ""
    html: str | None = None
    files: tuple[Part, ...] = ()
    report: Report | None = None
    calendar: str = ""  # the METHOD of an invitation in it, lower case
    null_path: bool = False  # an empty envelope sender
    readable: bool = True
    defects: tuple[str, ...] = ()

    def header(self, name: str) -> str:
        """The first value of a header, empty if it has none."""
        return next(iter(self.headers.get(name, ())), "")

    @property
    def recipients(self) -> tuple[Address, ...]:
        """To and Cc."""
        return (*self.to, *self.cc)

    @property
    def returned_ids(self) -> tuple[str, ...]:
        """Message-IDs of letters that a report in it is about."""
        return () if self.report is None else self.report.returned
