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
    address's storm budget.
    """

    to: tuple[Word, ...]
    buttons: tuple[str, ...] = ()
    calm: bool = True
    budgeted: bool = True


CONSENT_BUTTONS = ("fixed", "not_fixed", "in_workshop")
SURVEY_BUTTONS = ("5", "4", "3", "2", "1")

KINDS: Mapping[str, Kind] = {
    "ack": Kind(REPORTER),
    "work_started": Kind(REPORTER),
    "question": Kind(REPORTER, budgeted=False),
    "reminder": Kind(REPORTER),
    "incomplete": Kind(REPORTER),
    "reply": Kind(BOTH, budgeted=False),
    "eta": Kind(BOTH),
    "delay": Kind(BOTH),
    "progress": Kind(BOTH),
    "deferral": Kind(BOTH),
    "recovered": Kind(BOTH, CONSENT_BUTTONS, budgeted=False),
    "closed": Kind(BOTH),
    "survey": Kind(REPORTER, SURVEY_BUTTONS),
    "follow_up": Kind(REPORTER),
    "outage": Kind((), calm=False, budgeted=False),
    "outage_update": Kind((), calm=False, budgeted=False),
    "outage_end": Kind((), calm=False, budgeted=False),
    "advisory": Kind((), budgeted=False),
    "official": Kind(("reporter", "contract-address"), calm=False, budgeted=False),
    "digest": Kind((), budgeted=False),
}
# Who reported it is told that it works again, and that it is closed, whatever the policy says (S3-20).
ALWAYS_REPORTER = frozenset({"recovered", "closed"})


def words(kind: str, told: Mapping[str, Sequence[Word]]) -> tuple[Word, ...]:
    """Who gets a kind; `told` is what the policy's `[[letter]]` say of each kind."""
    to = told.get(kind) or KINDS[kind].to
    return (*REPORTER, *to) if kind in ALWAYS_REPORTER and "reporter" not in to else tuple(to)
