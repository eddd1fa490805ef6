"""How a ticket may be closed: whose word counts, when silence does, when the client is asked again. Pure.

Silence is consent only where the client's contract and the policy both say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ticketing.clocks.terms import ends
from ticketing.policies import Policy
from ticketing.policies.check import MAX_REMINDERS
from ticketing.policies.format import ConsentTable
from ticketing.working_time.budgets import Budget, Kind
from ticketing.working_time.hours import WorkingTime

NONE_SAID = ConsentTable(accepted=["explicit", "phoned"])  # of a policy that says nothing
_WORDS = {"button": "explicit", "mail": "explicit", "phone": "phoned", "phoned": "phoned", "explicit": "explicit"}


def rule_of(policy: Policy) -> ConsentTable:
    """The policy's rule, or the careful one."""
    return policy.file.consent or NONE_SAID


def word_of(means: str) -> str | None:
    """What a consent given by `means` is called; None: no such means."""
    return _WORDS.get(means)


def refusal(policy: Policy, contract: Mapping[str, Any], word: str | None) -> str | None:
    """Why a ticket may not be closed with this consent on record (`explicit`, `phoned`, `deemed`; None: none)."""
    if word is None:
        return "close needs the client's consent on record"
    if word not in rule_of(policy).accepted:
        return f"{policy.name} does not take a consent that is {word}"
    if word == "deemed" and contract.get("consent") != "deemed":
        return "the client's contract does not take silence for consent"
    return None


def deemed_at(
    policy: Policy, contract: Mapping[str, Any], asked_at: datetime, *, work: WorkingTime | None = None
) -> datetime | None:
    """When silence becomes consent, counted from the letter that asked; None: never.

    The contract's own term goes before the policy's. Days are working days, hours the policy's kind of them.
    """
    rule = rule_of(policy)
    if refusal(policy, contract, "deemed") is not None:
        return None
    own = contract.get("deemed_after")
    text = own or rule.deemed_after
    if text is None:
        return None
    return ends(policy, text, _kind(str(text), rule.kind), asked_at, work)


def _kind(text: str, kind: str) -> str:
    if text.strip().endswith("d"):
        return str(Kind.WORKING_DAYS)
    return str(Kind.REAL) if kind == Kind.WORKING_DAYS else kind


def reminders(policy: Policy, asked_at: datetime, *, work: WorkingTime | None = None) -> list[datetime]:
    """When the client is asked again, for an answer or for consent, as long as there is none: at most three times."""
    rule = rule_of(policy)
    found = {ends(policy, text, rule.kind, asked_at, work) for text in rule.reminders[:MAX_REMINDERS]}
    return sorted(found)


def reopen_until(policy: Policy, closed_at: datetime) -> datetime:
    """The last instant at which a closed ticket can be opened again; later it is a new one, linked."""
    window = Budget.parse(rule_of(policy).reopen_within, Kind.REAL)
    return closed_at + timedelta(microseconds=window.amount)


def may_reopen(policy: Policy, closed_at: datetime, now: datetime) -> bool:
    """Whether `now` is inside the window; its last instant is."""
    return now <= reopen_until(policy, closed_at)
