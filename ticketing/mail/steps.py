"""The ordered questions that judge a mail. Each sees the mail and what is known, and gives a verdict or passes on.

Pure, and in one place: the order is the rule (support rules, mail). The insert into the inbox comes before all of them
and stops what was seen already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from ticketing.mail import bounces, limits, machine, words
from ticketing.mail.facts import Known, Match, Named
from ticketing.mail.message import Mail
from ticketing.mail.secrets import secrets_in
from ticketing.mail.verdicts import CHANGES, Kind, Reason, Verdict
from ticketing.mail.words import Meaning

Step: TypeAlias = Callable[[Mail, Known], Verdict | None]
MARK = "x-dozor-instance"
MOST_HOPS = 50  # Received lines; ordinary mail has some ten


class Judged(NamedTuple):
    """A verdict and the step that spoke."""

    verdict: Verdict
    step: str


def judge(mail: Mail, known: Known) -> Judged:
    """Ask the steps in their order; the last one always answers."""
    for step in STEPS:
        verdict = step(mail, known)
        if verdict is not None:
            return Judged(_limited(verdict, mail, known), step.__name__)
    raise AssertionError("the last step answers every mail")


def own(mail: Mail, known: Known) -> Verdict | None:
    """Our own mail that came back: a marker of ours, an own address, a list of ours, or it goes round."""
    settings = known.settings
    markers = set(mail.headers.get(MARK, ()))
    if markers & {settings.marker, *settings.sisters} - {""}:
        return Verdict(Kind.DROPPED, Reason.OWN)
    if mail.sender.address in settings.ours:
        return Verdict(Kind.DROPPED, Reason.OWN)
    if any(one.lower() in mail.header("list-id").lower() for one in settings.lists if one):
        return Verdict(Kind.DROPPED, Reason.OWN)
    looped = {value.strip("<> ").lower() for value in mail.headers.get("x-loop", ())}
    if looped & set(settings.ours) or len(mail.headers.get("received", ())) > MOST_HOPS:
        return Verdict(Kind.DROPPED, Reason.OWN)
    return None


def duplicate(mail: Mail, known: Known) -> Verdict | None:
    """The same mail by another way: two desk addresses in To and Cc are one ticket."""
    return None if known.duplicate_of is None else Verdict(Kind.DROPPED, Reason.DUPLICATE, {"of": known.duplicate_of})


def bounced(mail: Mail, known: Known) -> Verdict | None:
    """A delivery report: which address, and whether for good."""
    found = bounces.bounces(mail, known)
    if not found:
        return None
    hard = any(one.hard for one in found)
    told = [{"address": one.address, "hard": one.hard, "why": one.why} for one in found]
    data = {"machine": "bounce", "recipients": told, "letters": [one.letter.id for one in found]}
    return Verdict(Kind.BOUNCED, Reason.HARD if hard else Reason.SOFT, data)


def program(mail: Mail, known: Known) -> Verdict | None:
    """Written by a program: never opens, reopens, acknowledges or restarts anything; filed quietly where it belongs."""
    kind = machine.machine(mail)
    if kind is None:
        return None
    filed = known.match is not None and known.match.thread.notes < limits.NOTES
    return Verdict(Kind.NOTED if filed else Kind.DROPPED, Reason.MACHINE, {"machine": kind})


def loop(mail: Mail, known: Known) -> Verdict | None:
    """The same from the same, again and again."""
    if known.accepted or not limits.looping(mail, known):
        return None
    return Verdict(Kind.DROPPED, Reason.MUTED, {"alarm": limits.begins(mail, known)})


def unreadable(mail: Mail, known: Known) -> Verdict | None:
    """What a program cannot read, a person looks at."""
    if known.accepted:
        return None
    if known.cut:
        return Verdict(Kind.HELD, Reason.TOO_LARGE, {"size": known.size})
    if not mail.readable or not mail.sender.address:
        return Verdict(Kind.HELD, Reason.UNREADABLE, {"defects": list(mail.defects)})
    return None


def stranger(mail: Mail, known: Known) -> Verdict | None:
    """Somebody who has no part in the ticket that they quote: a person must accept it."""
    if known.match is None or known.accepted or _takes_part(mail, known, known.match):
        return None
    return Verdict(Kind.HELD, Reason.STRANGER)


def spam(mail: Mail, known: Known) -> Verdict | None:
    """What our own mail server calls spam, of somebody we do not know."""
    flagged = mail.header("x-spam-flag").strip().lower() == "yes" or mail.header("x-spam").strip().lower() == "yes"
    if not flagged or known.accepted or known.contacts or known.match is not None:
        return None
    return Verdict(Kind.HELD, Reason.SPAM)


def question(mail: Mail, known: Known) -> Verdict | None:
    """The answer to what we asked. Thanks alone answer nothing."""
    match = known.match
    if match is None or match.thread.state != "waiting_client":
        return None
    if match.letter is not None and match.letter.kind in ("recovered", "closed", "survey"):
        return None
    if not mail.files and words.meaning(mail.said) is Meaning.THANKS:
        return None
    return Verdict(Kind.ANSWERED, Reason.ANSWER)


def consent(mail: Mail, known: Known) -> Verdict | None:
    """Yes or no to "does it work again?".

    Yes counts in reply to the last `recovered` letter, or where no letter can be told; no counts in any reply.
    """
    match = known.match
    if match is None or match.thread.state != "awaiting_consent":
        return None
    letter = match.letter
    asked = letter is None or letter.kind in ("recovered", "reminder")
    meaning = words.meaning(mail.said, asked=asked)
    if meaning is Meaning.NOT_FIXED:
        return Verdict(Kind.DISPUTED, Reason.NOT_FIXED)
    if meaning is Meaning.FIXED and asked and (letter is None or letter.latest):
        return Verdict(Kind.CONSENTED, Reason.FIXED)
    return None


def closed(mail: Mail, known: Known) -> Verdict | None:
    """A person's reply to a closed ticket: within the window it comes back unless all is well, then a new one."""
    match = known.match
    if match is None or match.thread.state != "closed":
        return None
    meaning = words.meaning(mail.said, asked=match.letter is not None and match.letter.kind in ("recovered", "closed"))
    if not mail.files:
        if meaning is Meaning.THANKS:
            return Verdict(Kind.APPENDED, Reason.THANKS)
        if meaning is Meaning.FIXED:
            return Verdict(Kind.APPENDED, Reason.FIXED)
    ended = match.thread.closed_at
    until = match.thread.reopens_until or (None if ended is None else ended + known.settings.window)
    if until is not None and known.received_at > until:
        return Verdict(Kind.FOLLOWED_UP, Reason.LATE)
    return Verdict(Kind.REOPENED, Reason.NOT_FIXED if meaning is Meaning.NOT_FIXED else Reason.UNCLEAR)


def reply(mail: Mail, known: Known) -> Verdict | None:
    """Any other reply of one who takes part."""
    return None if known.match is None else Verdict(Kind.APPENDED, Reason.REPLY)


def new(mail: Mail, known: Known) -> Verdict | None:
    """Everything else is a request. Its sender may be nobody we know: then it is not verified, and nothing is told."""
    data: dict[str, Any] = {}
    if known.contacts:
        owned = [one for one in known.named if one.organisation == known.contacts[0].organisation and one.vehicle]
        if len({one.vehicle for one in owned}) == 1:
            data["vehicle"] = owned[0].vehicle
    return Verdict(Kind.OPENED, Reason.NEW if known.contacts else Reason.UNREGISTERED, data)


STEPS: tuple[Step, ...] = (
    own,
    duplicate,
    bounced,
    program,
    unreadable,
    loop,
    stranger,
    spam,
    question,
    consent,
    closed,
    reply,
    new,
)


def _takes_part(mail: Mail, known: Known, match: Match) -> bool:
    thread = match.thread
    if mail.sender.address in thread.participants:
        return True
    return thread.organisation is not None and any(one.organisation == thread.organisation for one in known.contacts)


def _limited(verdict: Verdict, mail: Mail, known: Known) -> Verdict:
    """With hints for people; a change of state beyond what mail may do becomes a message."""
    if verdict.kind in (Kind.DROPPED, Kind.HELD, Kind.BOUNCED, Kind.NOTED):
        return verdict
    hints: dict[str, Any] = {}
    if known.match is not None and (others := _others(known.named, known.match)):
        hints["split"] = others
    if found := secrets_in(mail.said or mail.text):
        hints["secrets"] = [{"kind": one.kind, "line": one.line} for one in found]
    if mail.defects:
        hints["defects"] = list(mail.defects)
    if verdict.kind in CHANGES and known.match is not None and known.match.thread.flips >= limits.FLIPS:
        hints["instead_of"] = str(verdict.kind)
        return Verdict(Kind.APPENDED, Reason.FLIPS, {**verdict.data, **hints})
    return Verdict(verdict.kind, verdict.reason, {**verdict.data, **hints})


def _others(named: tuple[Named, ...], match: Match) -> list[str]:
    """Terminals and vehicles that the mail names and the ticket is not about; none where it names none itself."""
    thread = match.thread
    if not thread.terminal and not thread.plates:
        return []
    return [
        one.value
        for one in named
        if not (one.terminal and one.terminal == thread.terminal)
        and not any(one.plate and one.plate[:6] == plate[:6] for plate in thread.plates)  # with or without region
    ]
