"""What the desk knows when it judges a mail: read from the store beforehand, so that the steps are pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """What the composition root says of mail in.

    Attributes
    ----------
    ours : the desk's own addresses, lower case; the first is From.
    marker : this instance's, as its letters carry it in ``X-Dozor-Instance``.
    sisters : markers of other desks of ours: their letters are dropped too.
    lists : List-Ids of lists of our own.
    window : after closing, in which a reply reopens a ticket whose policy cannot be read; else that says.
    secret : of Message-IDs.
    """

    ours: tuple[str, ...] = ()
    marker: str = ""
    sisters: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    window: timedelta = timedelta(days=7)
    secret: bytes = b""


@dataclass(frozen=True, slots=True)
class Contact:
    """A registered person with this address."""

    id: int
    organisation: int
    name: str
    language: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter of ours that the mail answers."""

    id: int
    kind: str
    ticket: int | None
    address: str
    latest: bool  # of its ticket and kind


@dataclass(frozen=True, slots=True)
class Thread:
    """A ticket a mail may belong to. `participants`: addresses, lower case."""

    id: int
    number: str
    state: str
    organisation: int | None = None
    participants: frozenset[str] = frozenset()
    closed_at: datetime | None = None
    terminal: str = ""
    plates: frozenset[str] = frozenset()  # keys
    flips: int = 0  # of its state by mail within the last hour
    notes: int = 0  # filed quietly within the last day
    reopens_until: datetime | None = None  # of a closed one, by its policy


@dataclass(frozen=True, slots=True)
class Match:
    """Where a mail belongs, and by what: message-id (own), reference (a stored foreign one), tag, marker."""

    thread: Thread
    by: str
    letter: Letter | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A terminal or vehicle that a mail names: kind is imei or plate; ids are None of one nobody knows."""

    kind: str
    value: str
    terminal: str = ""
    plate: str = ""
    vehicle: int | None = None
    organisation: int | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier mail of the same sender."""

    subject_key: bytes
    text_key: bytes
    received_at: datetime
    muted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the steps look at besides the mail."""

    now: datetime
    received_at: datetime
    settings: Settings
    contacts: tuple[Contact, ...] = ()
    match: Match | None = None
    duplicate_of: int | None = None
    earlier: tuple[Earlier, ...] = ()
    named: tuple[Named, ...] = ()
    accepted: bool = False  # a person let it in
    size: int = 0  # bytes as it was sent
    cut: bool = False  # the raw form is not whole
    returned: Mapping[str, Letter] = field(default_factory=dict)  # letters a report is about, by Message-ID
    sent_to: Mapping[str, Letter] = field(default_factory=dict)  # our last letter to an address that a report names
    verp: Letter | None = None  # the letter that the bounce address names
