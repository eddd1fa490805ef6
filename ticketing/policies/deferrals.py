"""What putting a ticket off needs, by the reason's code (S1-31 to S1-34). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ticketing.policies import Policy
from ticketing.policies.check import NEEDS
from ticketing.policies.format import DeferralTable

CODES = tuple(NEEDS)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is: `text` of attempts, rule or clause, `proof` a text or attachment; `asked`: an itemised question
    went to the client before."""

    text: str = ""
    until: datetime | None = None
    proof: str | int | None = None
    asked: bool = False


def table_of(policy: Policy, code: str) -> DeferralTable | None:
    """The policy's table of a code; None: it knows no such reason. A policy without tables knows all four."""
    tables = policy.file.deferral
    if not tables and code in NEEDS:
        return DeferralTable(code=code, needs=NEEDS[code], recheck=code == "not_reproducible")  # type: ignore[arg-type]
    return next((table for table in tables if table.code == code), None)


def refusals(policy: Policy, code: str, evidence: Evidence, now: datetime) -> list[tuple[str, str, str]]:
    """Why a ticket cannot be put off for this reason: field, problem and remedy each; empty: it can."""
    table = table_of(policy, code)
    if table is None:
        known = ", ".join(table.code for table in policy.file.deferral)
        return [("code", f"{policy.name} knows no reason {code!r}", f"one of {known}")]
    found: list[tuple[str, str, str]] = []
    said = bool(evidence.text.strip())
    match table.needs:
        case "attempts" if not said:
            found.append(("text", "is missing", "say what was tried to reproduce it"))
        case "itemised-request" if not evidence.asked:
            found.append(("code", "the client was not asked", "ask for the data item by item first"))
        case "rule-and-proof":
            if not said:
                found.append(("text", "is missing", "name the requirement that was broken"))
            if not evidence.proof:
                found.append(("proof", "is missing", "give the photo or packet that shows it"))
        case "contract-clause" if not said:
            found.append(("text", "is missing", "name the clause, and offer the work at a price"))
    if table.recheck and evidence.until is None:
        found.append(("until", "is missing", "say when it is looked at again"))
    if evidence.until is not None and evidence.until <= now:
        found.append(("until", "is past", "give a later instant"))
    return found


def may_contest(policy: Policy, code: str) -> bool:
    """Whether the client may object, which goes to a manager."""
    table = table_of(policy, code)
    return table is not None and table.contest == "manager"
