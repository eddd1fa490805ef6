"""The policy file format: what a support regulation may say, as typed tables of a TOML file.

Clocks are read today. Priorities, plans, channels, tiers, ladders, consent, letters and deferral codes are checked and
kept for the desk; the format holds all of it so that a file written now stays valid. Requirement identifiers (`S1-23`)
name the published regulation that a value comes from; `ours = true` marks a value that no regulation states.
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
State = Literal["waiting_client", "waiting_vendor", "with_development", "visit_planned", "deferred", "awaiting_consent"]
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
    regrade: Literal["journalled", "reason-shown-to-client"] = "journalled"
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

    name: Literal["web", "mail", "phone", "paper", "api", "monitoring"]
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
    name: str
    steps: list[StepTable]
    clock: str | None = None
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
    """A letter owed: what sets it off and who gets it."""

    name: str
    trigger: Literal[
        "ticket-opened",
        "work-started",
        "clarification-needed",
        "update-due",
        "eta-known",
        "eta-passed",
        "recovered",
        "closed",
        "official-answer",
        "service-unavailable",
        "service-restored",
        "deferred",
    ]
    to: list[Recipient]
    clock: str | None = None
    automatic: bool = True
    requirements: list[str] = []


class DeferralTable(Table, frozen=True):
    """A reason for which work may be put off or refused, and the evidence it needs."""

    code: Literal["not-reproducible", "not-enough-data", "requirements-broken", "out-of-scope"]
    needs: Literal["attempts", "itemised-request", "rule-and-proof", "contract-clause"]
    recheck: bool = False
    contest: Literal["none", "manager"] = "none"
    requirements: list[str] = []


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
    format: Literal[1, 2] = 2

    @property
    def before(self) -> bool:
        """Whether it is of before: one clock a ticket."""
        return self.format == 1
