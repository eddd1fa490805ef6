"""Write docs/policies.md from the policy file format: `python -m tools.policies_doc`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from ticketing.policies.format import PolicyFile, Table
from ticketing.working_time.calendars import NAMES

PAGE = Path(__file__).parent.parent / "docs" / "policies.md"

_HEAD = """\
# The policy file

A support regulation as TOML: what is promised, when the clock runs, who is told. `desk.policy` names the one in force.
Begin with a shipped one, change it, and have it checked; a key or a value that is not on this page is refused with its
line and the remedy.

```sh
dozor policy show integrator-standard --toml > /etc/dozor/mine.toml
dozor policy check /etc/dozor/mine.toml
```

A policy that was used is never changed: give the file the next `version`. Tickets keep the one that they were opened
under. `requirements`, in every table below, lists clauses of the regulation that a value comes from; `ours` marks what
no regulation states. [Clocks](clocks.md) says how they count. The words of the tables are explained
[at the end](#words).

This page is generated: `python -m tools.policies_doc`.
"""

# By table and key; `*` is every table's.
MEANINGS: dict[str, str] = {
    "*.requirements": "clauses of the regulation",
    "*.name": "its name, by which other tables mean it",
    "*.clocks": "clocks that start when a ticket has it",
    "*.title": "for people",
    "top.name": "small letters, digits and hyphens; with the version it is what a contract names, `NAME@VERSION`",
    "top.version": "1 and up",
    "top.source": "the regulation it was written from",
    "top.format": "of the file: leave it out. Stored policies of earlier releases have 1: one clock a ticket",
    "top.ticket_clock": "the clock that a new ticket takes at once; absent: none",
    "working_time.calendar": "public holidays and moved days: " + ", ".join(f"`{name}`" for name in NAMES),
    "working_time.time_zone": "such as `Europe/Moscow`",
    "working_time.hours": "such as `09:00-18:00`, or several, `09:00-13:00,14:00-18:00`",
    "working_time.days": "such as `Mon-Fri`",
    "exception.date": "an own day",
    "exception.open": "worked or not",
    "exception.reason": "said wherever it counts",
    "exception.hours": "own hours of a day that is worked",
    "clock.kind": "`working` time, `real` time, or whole `working-days`",
    "clock.budget": "`90m`, `8h`; for working days `3d`",
    "clock.starts": "what starts it",
    "clock.stops": "what stops it; empty: nothing but the end",
    "clock.restarts": "what gives the promise anew",
    "clock.pauses_in": "states that hold it",
    "clock.fires": "broken `after` its due instant, or `at` it",
    "clock.warn_at": "percent of the budget at which the journal is told",
    "clock.replaces": "the clock whose place it takes where the warranty had ended when the ticket was opened",
    "clock.ours": "the regulation does not state the value",
    "priority.level": "1 is the most urgent",
    "plan.level": "1 is the highest",
    "priority_rule.set_by": "whose word counts",
    "priority_rule.regrade": "what another priority needs",
    "queue.order": "inside one rank: by nearest running deadline, or by arrival",
    "queue.override": "whether a ticket may jump the queue",
    "queue.override_needs": "what a jump needs",
    "queue.ageing": "whether waiting raises a ticket, so that none starves",
    "channel.name": "where a request comes in",
    "channel.rank": "higher goes first among equals",
    "channel.proof": "how the sender is known",
    "channel.until_satisfied": "whether the channel is kept to the end",
    "tier.level": "of support, 1 first",
    "tier.duty": "what it does",
    "tier.may_close": "whether it may close tickets",
    "tier.handover": "what passing a ticket on needs",
    "ladder.steps": "who is told when; `[[ladder.steps]]`",
    "ladder.clock": "the clock whose percentages its steps name; each of its cycles begins the ladder",
    "ladder.starts": "the event that begins one without a clock",
    "ladder.stops_on": "what ends it: a person has taken note, acted so that the client sees it, or mended it",
    "ladder.steps.tell": "whom",
    "ladder.steps.tier": "which tier, for `tell = \"tier\"`",
    "ladder.steps.percent": "of the ladder's clock; or:",
    "ladder.steps.after": "a term since the ladder began",
    "ladder.steps.kind": "of that term",
    "consent.accepted": "how a client may agree to a closing",
    "consent.deemed_after": "when silence is consent; absent: never",
    "consent.reminders": "at most three terms after which the client is asked again: for an answer, or for consent",
    "consent.kind": "of these terms",
    "consent.reopen_within": "how long a closed ticket can be opened again",
    "consent.remote_work": "whether a command to a terminal needs the client's permission, recorded on a ticket",
    "letter.kind": "every kind is sent under every policy; a table changes who gets it",
    "letter.to": "who gets it",
    "form.version": "another form is another version; tickets keep theirs",
    "form.all": "what every request says; the portal refuses one without it, elsewhere it is asked for",
    "form.network": "besides, of a network fault",
    "form.hardware": "besides, of hardware",
    "form.software": "besides, of software",
    "form.consulting": "besides, of a question",
    "form.ours": "the regulation does not state it",
    "eta.mandatory_within": "a term from the ticket's being in work, by which a repair time is promised",
    "eta.kind": "of that term",
    "eta.basis": "what a repair time may rest on",
    "eta.ours": "the regulation does not state it",
    "price.warranty_years": "from the day after acceptance",
    "price.visit": "in warranty",
    "price.parts": "in warranty",
    "price.visit_after": "after it",
    "price.parts_after": "after it",
    "price.visit_in_city": "inside the service city, in any year; absent: as elsewhere",
    "price.city_days": "days on which that holds",
    "price.ours": "the regulation does not state it",
    "review.percent": "of the messages that a person wrote in tickets closed in a month, rounded up; no table: none",
    "review.least": "at least so many, where there are as many",
    "review.ours": "the regulation does not state it",
    "reloads.window": "when archives may be asked of terminals again, every day, by the wall clock of the"
    " policy's zone; the desk's own policy counts for all",
    "reloads.at_once": "how many at a time",
    "reloads.ours": "the regulation does not state it",
    "recordings.days": "for how many days after the call a recording is kept",
    "recordings.ours": "the regulation does not state it",
    "deferral.code": "why work is put off or refused",
    "deferral.needs": "the evidence",
    "deferral.recheck": "whether it is looked at again",
    "deferral.contest": "who decides where the client objects",
    "deferral.ours": "the regulation does not state it",
}  # fmt: skip

# Closed lists whose values need a word, by their key; a value that stands in several is explained once.
WORDS: dict[str, dict[str, str]] = {
    "Events that start, stop and restart clocks": {
        "request-received": "the request came: at the opening, or earlier where paper or a fax came in",
        "ticket-opened": "it got its number",
        "visit-needed": "somebody decided that the vehicle must be visited",
        "visit-agreed": "the client confirmed a visit's slot",
        "official-request-received": "an official letter asks for an official answer",
        "letter-sent": "the official answer went out",
        "service-unavailable": "the service failed",
        "service-restored": "it works again",
        "public-message": "the client was written to: by the confirmation, then by people only",
        "call-back-asked": "the client asked to be called",
        "call-made": "and was",
        "hardware-fault-found": "the fault lies in the hardware",
        "diagnosis": "so it was diagnosed, by a person or by a terminal's zone",
        "human-action": "the first action of a person that the client sees; an automatic confirmation is none",
        "zone-localised": "it is known where the fault lies",
        "unit-replaced": "the unit was swapped",
        "loan-unit-given": "a loan unit went out",
        "fault-fixed": "mended, or its recovery was proven: the first of them",
        "ticket-closed": "it was closed, which stops every clock",
    },
    "States that pause": {
        "waiting_client": "an itemised question is with the client",
        "waiting_vendor": "a vendor's case is open, the own development's included",
        "with_development": "the own development's alone",
        "visit": "a visit is planned or under way",
        "deferred": "put off for a reason until a day",
        "recovering": "it looks mended and is being proven",
        "awaiting_consent": "the client is asked whether it may be closed",
    },
    "Recipients and who is told": {
        "reporter": "who reported it",
        "contact": "the client's duty contacts",
        "contract-address": "the contacts with the role `contract`, else the duty contacts",
        "watchers": "contacts who asked to be told",
        "owner": "whose ticket it is",
        "team": "the team it belongs to",
        "manager": "the client's project manager, else the managers",
        "tier": "everybody of a tier",
        "head": "the head of the desk: the managers",
    },
    "What a deferral needs": {
        "attempts": "what was tried, and the day on which it is tried again",
        "itemised-request": "a question to the client, item by item, before",
        "rule-and-proof": "the rule that was broken, and a photo or packet that shows it",
        "contract-clause": "the clause that leaves it out, and an offer of paid work",
    },
    "Prices": {
        "free": "nothing",
        "cost": "what it costs us",
        "visit-cost": "the price of the visit alone",
        "quote": "what is agreed beforehand",
    },
    "Proof of the sender": {
        "none": "whoever writes is believed",
        "account": "signed in",
        "code-word": "the client's code word was given",
        "registered-sender": "the address is a contact's",
    },
}


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_tables("", PolicyFile), *_words()])


def _words() -> Iterator[str]:
    yield "## Words\n"
    for title, words in WORDS.items():
        yield f"### {title}\n\n| | |\n|---|---|"
        yield from (f"| `{word}` | {meaning} |" for word, meaning in words.items())
        yield ""


def tables(path: str = "", struct: type[Table] = PolicyFile) -> Iterator[tuple[str, type[Table]]]:
    """Each table by its dotted path, the file's own keys first under ""."""
    yield path, struct
    for name, hint in get_type_hints(struct).items():
        inner = _table_in(hint)
        if inner is not None:
            yield from tables(f"{path}.{name}" if path else name, inner)


def _tables(path: str, struct: type[Table]) -> Iterator[str]:
    for name, table in tables(path, struct):
        repeated = name and "list[" in str(_hint(name))
        yield f"## {f'`[[{name}]]`' if repeated else f'`[{name}]`' if name else 'At the top'}\n"
        yield "| key | values | default | |\n|---|---|---|---|"
        hints = get_type_hints(table)
        for field in msgspec.structs.fields(table):
            if not name and _table_in(hints[field.name]):
                continue  # it has a section of its own
            meaning = MEANINGS.get(f"{name or 'top'}.{field.name}") or MEANINGS[f"*.{field.name}"]
            yield f"| `{field.name}` | {_values(hints[field.name])} | {_default(field)} | {meaning} |"
        yield ""


def _hint(path: str) -> Any:
    struct: Any = PolicyFile
    hint: Any = None
    for name in path.split("."):
        hint = get_type_hints(struct)[name]
        struct = _table_in(hint)
    return hint


def _table_in(hint: Any) -> type[Table] | None:
    """The table that a key holds, one or a list of them."""
    for part in (hint, *get_args(hint)):
        if isinstance(part, type) and not isinstance(part, types.GenericAlias) and issubclass(part, Table):
            return part
    return None


def _values(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is list:
        inner = get_args(hint)[0]
        return "tables" if _table_in(inner) else f"list of {_values(inner)}"
    if get_origin(hint) in (types.UnionType, Union):
        return _values(next(part for part in get_args(hint) if part is not type(None)))
    return {str: "text", int: "whole number", bool: "`true`, `false`", date: "date"}[hint]


def _default(field: Any) -> str:
    if field.required:
        return "must be given"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return "absent" if value is None else f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
