"""What a ticket is, as lists and the API show it. States and actions stand in `ticketing.model.states`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ticketing.core.errors import Problem, WrongInputError
from ticketing.model.states import MOVES, PEOPLE, Action, State

# A page of text is far below this; the limit keeps a hostile form from filling the journal.
TEXT_LIMIT = 10_000


class JournalEntry(msgspec.Struct, frozen=True):
    """One line of a ticket's journal; `actor` is a user's name, a contact's or `watch`.

    `text` is what somebody typed, else the entry in words; `data` what it was made of.
    """

    at: datetime
    actor: str
    action: str
    text: str
    data: dict[str, Any] = {}


class TicketSummary(msgspec.Struct, kw_only=True):
    """A ticket as a list shows it.

    `terminal` is the identity, None of a ticket about many; `priority` 1 (first) to 4; instants are UTC. `verdict` is
    its strictest clock's: `running`, `paused`, `met`, `breached`, `unknown` where there is no due time, None where
    there is no clock. In lists it is that of the engine's last look, some seconds ago. `organisation` is its id,
    `vehicle` its plate or name, `said_at` and `said_by` the last public word,
    `queue_key` sorts what is to be worked on, None of what waits or is closed.
    """

    number: str
    kind: str
    state: State
    title: str
    zone: str
    priority: int
    terminal: str | None
    opened_at: datetime
    due_at: datetime | None
    verdict: str | None
    owner: str | None = None
    organisation: int | None = None
    client: str | None = None
    vehicle: str | None = None
    channel: str = "monitoring"
    topic: str = "technical"
    due_clock: str | None = None
    said_at: datetime | None = None
    said_by: str | None = None
    queue_key: str | None = None


class TicketMessage(msgspec.Struct, kw_only=True):
    """One of a ticket's messages; a note is not public. `sender` is `from` in the API; `delivery` one per letter."""

    id: int
    at: datetime
    direction: str
    public: bool
    sender: str = msgspec.field(name="from")
    to: list[str] = []
    subject: str = ""
    text: str = ""
    attachments: list[dict[str, Any]] = []
    channel: str = ""
    delivery: list[dict[str, Any]] = []
    machine: bool = False


class Task(msgspec.Struct, kw_only=True):
    """Something that somebody has to do for a ticket, once."""

    id: int
    kind: str
    due_at: datetime | None
    done_at: datetime | None
    outcome: str | None
    data: dict[str, Any] = {}


class Check(msgspec.Struct, kw_only=True):
    """A pre-check: `result` green, red, unknown or waived."""

    name: str
    result: str
    at: datetime
    waived_by: str | None = None
    data: dict[str, Any] = {}


class Link(msgspec.Struct, kw_only=True):
    """Another ticket, and what it is to this one."""

    kind: str
    number: str


class Eta(msgspec.Struct, kw_only=True):
    """When it will be right, and how that is known: `basis` history, vendor or plan."""

    at: datetime
    basis: str | None
    version: int


class Consent(msgspec.Struct, kw_only=True):
    """Who agreed to close, by which means, when."""

    by: str
    means: str | None
    at: datetime


class Permission(msgspec.Struct, kw_only=True):
    """The client's word that work from afar is allowed: whose, how it came, for what, until when.

    `means` is button, mail, phone or portal; an empty `scope` is whatever the ticket needs. `live`: it counts now.
    """

    id: int
    by: str
    means: str
    scope: str
    at: datetime
    until: datetime
    live: bool


class Sent(msgspec.Struct, kw_only=True):
    """A command sent from the ticket; `permission` is the id of the one that it was sent under."""

    id: int
    text: str
    state: str
    by: str
    at: datetime
    result: str | None
    permission: int | None


class Suggestion(msgspec.Struct, kw_only=True):
    """A known error suggested for a ticket, or found by search (`suggested_at` None), and whom it helped."""

    known_error: int
    symptom: str
    cause: str
    workaround: str
    link: str | None
    suggested_at: datetime | None
    read_at: datetime | None
    read_by: str | None
    helped_at: datetime | None
    helped_by: str | None


class Secret(msgspec.Struct, kw_only=True):
    """Access data that the client entrusted, without the data; `erased`: they are gone."""

    id: int
    label: str
    by: str
    at: datetime
    until: datetime
    erased: bool


class Ticket(TicketSummary, kw_only=True):
    """A ticket whole: with the evidence frozen at its opening, its journal, oldest first, and its clocks.

    A clock is the object of `dozor clock --json --at`, with its cycle, verdict and breaches, and the same in words.
    """

    evidence: dict[str, Any]
    journal: list[JournalEntry]
    clocks: list[dict[str, Any]] = []
    reporter: int | None = None
    reporter_name: str | None = None
    vehicle_id: int | None = None
    class_: str | None = msgspec.field(name="class", default=None)
    component: str | None = None
    client_priority: int | None = None
    priority_reason: str | None = None
    tier: int = 1
    team: str | None = None
    plan: str | None = None
    policy: str = ""
    verified: bool = True
    qualified: bool = False
    details: dict[str, Any] = {}
    missing: list[str] = []
    eta: Eta | None = None
    deferral: dict[str, Any] | None = None
    vendor: dict[str, Any] | None = None
    messages: list[TicketMessage] = []
    tasks: list[Task] = []
    checks: list[Check] = []
    suggestions: list[Suggestion] = []
    incidents: list[int] = []
    links: list[Link] = []
    consent: Consent | None = None
    permissions: list[Permission] = []
    commands: list[Sent] = []
    secrets: list[Secret] = []
    ended: str | None = None
    cycle: int = 1
    price: dict[str, Any] | None = None
    row_version: int = 1

    @property
    def consented(self) -> bool:
        """Whether the client's consent is on record for the next closing."""
        return self.consent is not None and self.state != State.CLOSED

    @property
    def actions(self) -> tuple[Action, ...]:
        """What a person may do now, in the table's order."""
        return tuple(
            action
            for action in PEOPLE
            if self.state in MOVES[action].leads and (action != Action.CLOSE or self.consented)
        )


def checked_text(action: Action, text: str | None) -> str:
    """Return the text of a person's action, stripped.

    Raises
    ------
    WrongInputError
        If it is required and missing, longer than `TEXT_LIMIT` characters, or holds a NUL or a lone surrogate.
    """
    text = (text or "").strip()
    if not text and MOVES[action].text:
        raise WrongInputError(Problem("text", f"{action} needs a text", "say it"))
    if len(text) > TEXT_LIMIT:
        raise WrongInputError(Problem("text", f"the text is longer than {TEXT_LIMIT} characters", "say it in less"))
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise WrongInputError(Problem("text", "the text holds characters that cannot be stored", "leave them out"))
    return text
