"""Which ticket a mail belongs to: what it carries, in order of trust.

Our own Message-ID with a valid digest > a stored Message-ID of somebody else > the subject's tag > a marker in the
text. The first kind that leads to a ticket decides; of several of a kind the newest reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ticketing.core.message_ids import verify
from ticketing.core.numbers import parse
from ticketing.mail.facts import Letter, Match, Thread
from ticketing.mail.message import Mail

MOST = 20  # of each kind that are looked up
_TAG = re.compile(r"\[\s{0,2}#\s{0,2}((?:DZ[\-‐‑‒–—]?)?[0-9]{2,18})\s{0,2}\]", re.IGNORECASE)
_LOOKED_AT = 50_000  # characters of a text


@dataclass(frozen=True, slots=True)
class Claims:
    """What a mail says it belongs to; nothing of it looked up yet, the newest first."""

    own: tuple[tuple[str, str], ...] = ()  # Message-ID with a valid digest, and its ticket's number
    foreign: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """All ticket numbers that are claimed."""
        return tuple(dict.fromkeys((*(number for _, number in self.own), *self.tags, *self.markers)))

    @property
    def message_ids(self) -> tuple[str, ...]:
        """All Message-IDs that are claimed."""
        return (*(identity for identity, _ in self.own), *self.foreign)


def claims(mail: Mail, secret: bytes) -> Claims:
    """Collect what a mail claims."""
    told = mail.returned_ids if not mail.in_reply_to else ()
    own: dict[str, str] = {}
    foreign: dict[str, None] = {}
    for identity in (*mail.in_reply_to, *reversed(mail.references), *told):
        verified = verify(secret, identity)
        if verified is not None:
            own.setdefault(identity, verified[0])
        elif identity != mail.message_id:
            foreign.setdefault(identity)
    return Claims(
        tuple(own.items())[:MOST],
        tuple(foreign)[:MOST],
        _numbers(mail.subject),
        _numbers(mail.text[:_LOOKED_AT]),
    )


def choose(
    claimed: Claims, by_number: Mapping[str, Thread], by_id: Mapping[str, Thread], letters: Mapping[str, Letter]
) -> Match | None:
    """The ticket, of those that were found: by number (merged ones lead to the survivor) and by stored Message-ID."""
    for identity, number in claimed.own:
        if (thread := by_number.get(number)) is not None:
            return Match(thread, "message-id", letters.get(identity))
    for identity in claimed.foreign:
        if (thread := by_id.get(identity)) is not None:
            return Match(thread, "reference")
    for by, numbers in (("tag", claimed.tags), ("marker", claimed.markers)):
        if (thread := _first(numbers, by_number)) is not None:
            return Match(thread, by)
    return None


def bare_subject(subject: str) -> str:
    """A subject without tags and without what mail programs put before it, folded."""
    text = _TAG.sub(" ", subject)
    while (found := _PREFIX.match(text)) is not None:
        text = text[found.end() :]
    return " ".join(text.casefold().split())


_PREFIX = re.compile(
    r"\s*(?:re|fwd?|aw|wg|sv|vs|отв|ответ|на|пересл|回复|答复|转发|回覆|轉寄|auto|automatic reply|автоответ|自动回复)"
    r"(?:\[[0-9]{1,3}\])?\s{0,3}[:：]\s*",
    re.IGNORECASE,
)


def _numbers(text: str) -> tuple[str, ...]:
    found = (parse(tag) for tag in _TAG.findall(text))
    return tuple(dict.fromkeys(number for number in found if number is not None))[:MOST]


def _first(numbers: Iterable[str], by_number: Mapping[str, Thread]) -> Thread | None:
    return next((by_number[number] for number in numbers if number in by_number), None)
