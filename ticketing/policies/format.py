"""The policy file format: what a support regulation may say, as typed tables of a TOML file.

Requirement identifiers (`S1-23`) name the published regulation that a value comes from; `ours = true` marks a value
that no regulation states. Rules over these tables lie beside this module, one question each.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

Start = Literal[
    "request-received",
    "ticket-opened",
    "visit-needed",
    "official-request-received",
    "service-unavailable",
    "public-message",
    "call-back-asked",
    "hardware-fault-found",
    "diagnosis",
]
Stop = Literal[
    "human-action",  # the first that the client can see; an automatic confirmation is none
    "visit-agreed",
    "letter-sent",
    "service-restored",
    "zone-localised",
    "public-message",
    "call-made",
    "unit-replaced",
    "fault-fixed",
    "loan-unit-given",
    "ticket-closed",
]
State = Literal[
    "waiting_client",
    "waiting_vendor",
    "with_development",  # waiting_vendor with `system` development
    "visit",
    "deferred",
    "recovering",
    "awaiting_consent",
]
Channel = Literal["portal", "web", "mail", "phone", "paper", "api", "monitoring"]
Field = Literal[
    "description",
    "steps",
    "frequency",
    "server",
    "version",
    "criticality",
    "vehicle",  # or the terminal
    "contacts",  # somebody who can be reached
    "attachments",
]
Letter = Literal[
    "ack",
    "work_started",
    "question",
    "reminder",
    "incomplete",
    "reply",
    "eta",
    "delay",
    "progress",
    "deferral",
    "recovered",
    "closed",
    "survey",
    "follow_up",
    "outage",
    "outage_update",
    "outage_end",
    "advisory",
    "official",
    "digest",
]
Recipient = Literal["reporter", "contact", "contract-address", "owner", "team", "manager", "watchers"]
TermKind = Literal["working", "real", "working-days"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all tables: unknown keys are errors, so that a typing mistake is never a silent default."""


class WorkingTimeTable(Table, frozen=True):
    calendar: str
    time_zone: str
    hours: str
    days: str


class ExceptionTable(Table, frozen=True):
    """An own day: closed, or open with the policy's hours or its own."""

    date: date
    open: bool
    reason: str
    hours: str | None = None


class ClockTable(Table, frozen=True):
    """`replaces`: the clock whose place it takes where the warranty had ended when the ticket was opened."""

    name: str
    kind: TermKind
    budget: str
    starts: Start
    stops: list[Stop] = []
    restarts: list[Start] = []
    pauses_in: list[State] = []
    fires: Literal["after", "at"] = "after"
    warn_at: list[int] = msgspec.field(default_factory=lambda: [50, 75, 100])
    replaces: str | None = None
    requirements: list[str] = []
    ours: bool = False


class PriorityTable(Table, frozen=True):
    """`level` 1 is the most urgent. `clocks` start when a ticket has this priority."""

    level: int
    name: str
    clocks: list[str] = []
    requirements: list[str] = []


class PlanTable(Table, frozen=True):
    """A bought support level; 1 is the highest."""

    level: int
    name: str
    clocks: list[str] = []
    requirements: list[str] = []


class PriorityRule(Table, frozen=True):
    """Who sets the priority, and what a re-grading needs."""

    set_by: Literal["desk", "client", "contract"] = "desk"
    regrade: Literal["journalled", "reason-shown-to-client", "manager"] = "journalled"
    requirements: list[str] = []


class QueueTable(Table, frozen=True):
    """Order inside one rank, jumps, and ageing so that nobody starves."""

    order: Literal["arrival", "deadline"] = "arrival"
    override: bool = False
    override_needs: Literal["reason", "reason-and-manager"] = "reason"
    ageing: bool = True
    requirements: list[str] = []


class ChannelTable(Table, frozen=True):
    """`rank` 0 is the ordinary; a higher one goes first among equals."""

    name: Channel
    rank: int = 0
    proof: Literal["none", "account", "code-word", "registered-sender"] = "none"
    until_satisfied: bool = False
    requirements: list[str] = []


class TierTable(Table, frozen=True):
    level: int
    name: str
    duty: str
    may_close: bool = True
    handover: Literal["none", "summary"] = "none"
    requirements: list[str] = []


class StepTable(Table, frozen=True):
    """One step: at a share of the ladder's clock, or after its own term since the ladder began."""

    tell: Literal["owner", "team", "tier", "manager", "head"]
    tier: int | None = None
    percent: int | None = None
    after: str | None = None
    kind: Literal["working", "real"] = "real"


class LadderTable(Table, frozen=True):
    """Who is told when nobody acts. With `clock` it begins with each of its cycles, else at the event `starts`."""

    name: str
    steps: list[StepTable]
    clock: str | None = None
    starts: Start = "ticket-opened"
    stops_on: Literal["acknowledge", "human-action", "fault-fixed"] = "acknowledge"
    requirements: list[str] = []


class ConsentTable(Table, frozen=True):
    """How a ticket may be closed. Without `deemed_after`, silence never closes one."""

    accepted: list[Literal["explicit", "phoned", "deemed"]]
    deemed_after: str | None = None
    reminders: list[str] = []
    kind: TermKind = "working-days"
    reopen_within: str = "168h"
    remote_work: bool = False
    requirements: list[str] = []


class LetterTable(Table, frozen=True):
    """Who gets a kind of letter. Every kind is sent under every policy; one without a table goes to the usual."""

    kind: Letter
    to: list[Recipient]
    requirements: list[str] = []


class DeferralTable(Table, frozen=True):
    """A reason for which work may be put off or refused, and the evidence it needs."""

    code: Literal["not_reproducible", "no_data", "misuse", "out_of_scope"]
    needs: Literal["attempts", "itemised-request", "rule-and-proof", "contract-clause"]
    recheck: bool = False
    contest: Literal["none", "manager"] = "none"
    requirements: list[str] = []
    ours: bool = False


class FormTable(Table, frozen=True):
    """What a request must say: of every class, and of each. Another form is another `version`."""

    version: int = 1
    all: list[Field] = msgspec.field(default_factory=lambda: ["description"])
    network: list[Field] = []
    hardware: list[Field] = []
    software: list[Field] = []
    consulting: list[Field] = []
    requirements: list[str] = []
    ours: bool = False


class EtaTable(Table, frozen=True):
    """A repair time must be named within a term of the ticket's being in work; absent: never."""

    mandatory_within: str
    kind: Literal["working", "real"] = "working"
    basis: list[Literal["history", "vendor", "plan"]] = msgspec.field(
        default_factory=lambda: ["history", "vendor", "plan"]
    )
    requirements: list[str] = []
    ours: bool = False


Price = Literal["free", "cost", "visit-cost", "quote"]


class PriceTable(Table, frozen=True):
    """What a client pays: in warranty and after it, and for a visit inside the service city, in any year.

    `cost` is what it costs us, `visit-cost` the price of the visit alone, `quote` what is agreed beforehand.
    """

    warranty_years: int = 1
    visit: Price = "free"
    parts: Price = "free"
    visit_after: Price = "quote"
    parts_after: Price = "cost"
    visit_in_city: Price | None = None
    city_days: str = "Mon-Fri"
    requirements: list[str] = []
    ours: bool = False


class ReviewTable(Table, frozen=True):
    """How much of what each person wrote to clients is looked at: a share of a month's closed tickets' messages."""

    percent: int
    least: int = 1
    requirements: list[str] = []
    ours: bool = False


class ReloadsTable(Table, frozen=True):
    """When archives may be asked of terminals again, by the wall clock of the policy's zone, and how many at a time."""

    window: str = "20:00-06:00"
    at_once: int = 1
    requirements: list[str] = []
    ours: bool = False


class RecordingsTable(Table, frozen=True):
    """For how many days after the call a recording is kept."""

    days: int = 180
    requirements: list[str] = []
    ours: bool = False


class PolicyFile(Table, frozen=True):
    """One version of a policy. `format` 1: a stored one of before, whose tickets have its `ticket_clock` alone."""

    name: str
    version: int
    title: str
    source: str
    working_time: WorkingTimeTable
    clock: list[ClockTable]
    ticket_clock: str | None = None
    exception: list[ExceptionTable] = []
    priority: list[PriorityTable] = []
    priority_rule: PriorityRule = PriorityRule()
    plan: list[PlanTable] = []
    queue: QueueTable = QueueTable()
    channel: list[ChannelTable] = []
    tier: list[TierTable] = []
    ladder: list[LadderTable] = []
    consent: ConsentTable | None = None
    letter: list[LetterTable] = []
    deferral: list[DeferralTable] = []
    form: FormTable = FormTable()
    eta: EtaTable | None = None
    price: PriceTable = PriceTable()
    review: ReviewTable | None = None
    reloads: ReloadsTable = ReloadsTable()
    recordings: RecordingsTable = RecordingsTable()
    format: Literal[1, 2] = 2

    @property
    def before(self) -> bool:
        """Whether it is of before: one clock a ticket."""
        return self.format == 1
