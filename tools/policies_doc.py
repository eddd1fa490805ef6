"""Write docs/policies.md from the policy file format: `python -m tools.policies_doc`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

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
under. `requirements`, in every table below, lists clauses of the regulation that a value comes from. Today the clocks
are read; the rest is checked and shown, and kept for the desk, so that a file written now stays valid.
[Clocks](clocks.md) says how they count.

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
    "queue.order": "inside one rank",
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
    "ladder.clock": "the clock whose percentages its steps name",
    "ladder.stops_on": "what ends it",
    "ladder.steps.tell": "whom",
    "ladder.steps.tier": "which tier, for `tell = \"tier\"`",
    "ladder.steps.percent": "of the ladder's clock; or:",
    "ladder.steps.after": "a term since the ladder began",
    "ladder.steps.kind": "of that term",
    "consent.accepted": "how a client may agree to a closing",
    "consent.deemed_after": "when silence is consent; absent: never",
    "consent.reminders": "terms after which the client is asked again",
    "consent.kind": "of these terms",
    "consent.reopen_within": "how long a closed ticket can be opened again",
    "consent.remote_work": "whether work from afar needs consent too",
    "letter.trigger": "what sets it off",
    "letter.to": "who gets it",
    "letter.clock": "the clock that owes it",
    "letter.automatic": "whether it goes by itself",
    "deferral.code": "why work is put off or refused",
    "deferral.needs": "the evidence",
    "deferral.recheck": "whether it is looked at again",
    "deferral.contest": "who decides where the client objects",
}  # fmt: skip


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_tables("", PolicyFile)])


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
    if get_origin(hint) is types.UnionType:
        return _values(next(part for part in get_args(hint) if part is not type(None)))
    return {str: "text", int: "whole number", bool: "`true`, `false`", date: "date"}[hint]


def _default(field: Any) -> str:
    if field.required:
        return "must be given"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return "absent" if value is None else f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
