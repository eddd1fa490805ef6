"""What a journal entry says, made of its code and data when it is shown; `say` is the reader's language.

Entries of version 1 carry their sentence as text: it is shown as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ticketing.model.states import Action


def _(text: str) -> str:
    """Marks a text for the catalogues."""
    return text


SENTENCES: dict[str, str] = {
    Action.OPENED: _("{reason}"),
    Action.RECOVERED: _("{reason}"),
    Action.RELAPSED: _("relapse: {reason}"),
    Action.CHANGED: _("changed: {reason}"),
    Action.DETACHED: _("{terminal} still fails ({kind}): {number}"),
    Action.WARNED: _("{clock}: {percent} % of {budget} used at {reached}, due {due}"),
    Action.BREACHED: _("{clock}: broken, due was {due}"),
    Action.STOPPED: _("{clock}: {verdict}"),
    Action.ASSIGN: _("to {whom}"),
    Action.ESCALATE: _("to tier {tier}"),
    Action.QUALIFY: _("{what}"),
    Action.ETA: _("expected to be right by {eta}"),
    Action.ETA_PASSED: _("the promised time {eta} has passed"),
    Action.VENDOR: _("handed to {system}, case {case}"),
    Action.DEFER: _("{code}, until {until}"),
    Action.RECHECK: _("the day to look again has come"),
    Action.WAIVE: _("{what} waived: {reason}"),
    Action.TASK_DONE: _("{kind}: {outcome}"),
    Action.TASK: _("to do: {kind}"),
    Action.CONSENT: _("{by} agrees to close ({means})"),
    Action.DEEMED: _("no answer until {due}: taken for consent, as the contract says"),
    Action.CLOSE: _("{cause}"),
    Action.REOPEN: _("cycle {cycle}"),
    Action.WITHDRAW: _("{reason}"),
    Action.MERGE: _("merged into {into}"),
    Action.SPLIT: _("{number} split off"),
    Action.LINK: _("{kind}: {number}"),
    Action.LETTER: _("letter {kind} to {to}: {result}, {reason}"),
    Action.REMINDED: _("reminder {n} of {most}"),
    Action.ESCALATED: _("{ladder}, step {step}: {tell}"),
    Action.CHECKED: _("{name}: {result}"),
    Action.RECOVERING: _("it reports again; the proof runs"),
    Action.MESSAGE: _("{channel}: {sender}"),
    Action.PERMIT: _("{by} allows work from afar until {until} ({means})"),
    Action.ENTRUST: _("{label}, kept until {until}"),
    Action.SECRET_SEEN: _("{label}"),
    Action.SECRET_GONE: _("{label}"),
    Action.READ: _("{symptom}"),
    Action.HELPED: _("{symptom}"),
    Action.LEARN: _("{symptom}"),
    Action.RELOAD_ASKED: _("{terminal}, from {since} to {until}"),
    Action.RELOAD_BEGUN: _("{terminal}: {command}"),
    Action.RELOAD_PUT_OFF: _("until {until}: {reason}"),
    Action.RELOAD_ENDED: _("{state}, {records} new records: {reason}"),
    Action.RECORDED: _("call of {called}, kept until {until}"),
    Action.HEARD: _("call of {called}"),
    Action.UNRECORDED: _("call of {called}"),
}


class _Known(dict[str, Any]):
    """What an entry does not tell is left out of its sentence."""

    def __missing__(self, key: str) -> str:
        return "–"


def sentence(action: str, data: Mapping[str, Any], say: Callable[[str], str] = str) -> str:
    """The entry in words; empty where its code alone says it all, or has no data."""
    form = SENTENCES.get(action)
    if form is None or not any(f"{{{name}}}" in form for name in data):
        return ""
    told = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in data.items()}
    return say(form).format_map(_Known(told))


def told(action: str, text: str, data: Mapping[str, Any], say: Callable[[str], str] = str) -> str:
    """What is shown of an entry: what somebody typed, else the entry in words; of a closing both."""
    words = sentence(action, data, say) if not text or action == Action.CLOSE else ""
    return f"{words}: {text}" if words and text else words or text
