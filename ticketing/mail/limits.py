"""Bounds on what mail may do by itself: loops are muted, states do not flap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from ticketing.mail.facts import Earlier, Known
from ticketing.mail.match import bare_subject
from ticketing.mail.message import Mail

LOOP_COUNT = 3  # equal subjects of one address …
LOOP_WITHIN = timedelta(minutes=10)  # … within this are a loop
MUTED_FOR = timedelta(hours=1)  # since the last of them
FLIPS = 3  # changes of a ticket's state by mail …
FLIPS_WITHIN = timedelta(hours=1)  # … within this
NOTES = 20  # quiet notes of machines in one ticket …
NOTES_WITHIN = timedelta(days=1)  # … within this; what comes beyond is kept, but not filed


def subject_key(mail: Mail) -> bytes:
    """Of its subject without ``Re:`` and tag: an autoresponder's is the same for each of our numbers."""
    return hashlib.sha256(bare_subject(mail.subject).encode("utf-8", "replace")).digest()[:16]


def text_key(mail: Mail) -> bytes:
    """Of what it says anew."""
    return hashlib.sha256(" ".join(mail.said.casefold().split()).encode("utf-8", "replace")).digest()[:16]


def looping(mail: Mail, known: Known) -> bool:
    """Whether this is the third equal one within ten minutes, or one more of those that are muted.

    Of people we know (contacts, and whoever takes part in the ticket) only mails that also say the same count: three
    replies in ten minutes are a conversation.
    """
    person = bool(known.contacts) or (
        known.match is not None and mail.sender.address in known.match.thread.participants
    )
    subject, text = subject_key(mail), text_key(mail)
    alike = [one for one in known.earlier if one.subject_key == subject and (not person or one.text_key == text)]
    return _muted(alike, known) or len(_recent(alike, known)) >= LOOP_COUNT - 1


def begins(mail: Mail, known: Known) -> bool:
    """Whether the loop is new: the alarm is raised once."""
    subject = subject_key(mail)
    return not _muted([one for one in known.earlier if one.subject_key == subject], known)


def _muted(alike: Iterable[Earlier], known: Known) -> bool:
    return any(one.muted and known.received_at - one.received_at <= MUTED_FOR for one in alike)


def _recent(alike: Iterable[Earlier], known: Known) -> list[Earlier]:
    return [one for one in alike if known.received_at - one.received_at <= LOOP_WITHIN]
