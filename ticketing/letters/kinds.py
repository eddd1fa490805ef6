"""The kinds of letters: who gets them unless the policy says otherwise, and which limits hold for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

Word: TypeAlias = Literal["reporter", "contact", "contract-address", "owner", "team", "manager", "watchers"]

REPORTER: tuple[Word, ...] = ("reporter",)
BOTH: tuple[Word, ...] = ("reporter", "contact")


class Kind(NamedTuple):
    """Of one kind of letter.

    `to`: who gets it where the policy has no `[[letter]]` for it. `buttons`: what its page offers. `calm`: an automatic
    one waits for the end of its recipient's quiet hours. `budgeted`: an automatic one of a ticket counts against its
    address's storm budget. `trigger`: of the policy file's `[[letter]]` that speaks of it.
    """

    to: tuple[Word, ...]
    trigger: str = ""
    buttons: tuple[str, ...] = ()
    calm: bool = True
    budgeted: bool = True


CONSENT_BUTTONS = ("fixed", "not_fixed", "in_workshop")
SURVEY_BUTTONS = ("5", "4", "3", "2", "1")

KINDS: Mapping[str, Kind] = {
    "ack": Kind(REPORTER, "ticket-opened"),
    "work_started": Kind(REPORTER, "work-started"),
    "question": Kind(REPORTER, "clarification-needed", budgeted=False),
    "reminder": Kind(REPORTER, "clarification-needed"),
    "incomplete": Kind(REPORTER, "clarification-needed"),
    "reply": Kind(BOTH, "update-due", budgeted=False),
    "eta": Kind(BOTH, "eta-known"),
    "delay": Kind(BOTH, "eta-passed"),
    "progress": Kind(BOTH, "update-due"),
    "deferral": Kind(BOTH, "deferred"),
    "recovered": Kind(BOTH, "recovered", CONSENT_BUTTONS, budgeted=False),
    "closed": Kind(BOTH, "closed"),
    "survey": Kind(REPORTER, "", SURVEY_BUTTONS),
    "follow_up": Kind(REPORTER, ""),
    "outage": Kind((), "service-unavailable", calm=False, budgeted=False),
    "outage_update": Kind((), "service-unavailable", calm=False, budgeted=False),
    "outage_end": Kind((), "service-restored", calm=False, budgeted=False),
    "advisory": Kind((), "", budgeted=False),
    "official": Kind(("reporter", "contract-address"), "official-answer", calm=False, budgeted=False),
    "digest": Kind((), "", budgeted=False),
}
# Who reported it is told that it works again, and that it is closed, whatever the policy says (S3-20).
ALWAYS_REPORTER = frozenset({"recovered", "closed"})


def words(kind: str, by_trigger: Mapping[str, Sequence[Word]]) -> tuple[Word, ...]:
    """Who gets a kind.

    Parameters
    ----------
    kind : of `KINDS`.
    by_trigger : `to` of the policy's `[[letter]]`s, by trigger or by kind; the kind's own wins.
    """
    own = KINDS[kind]
    to = by_trigger.get(kind) or (by_trigger.get(own.trigger) if own.trigger else None) or own.to
    return (*REPORTER, *to) if kind in ALWAYS_REPORTER and "reporter" not in to else tuple(to)
