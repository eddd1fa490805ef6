"""A letter of ours that came back: whether its address is dead, and which letter it was."""

from __future__ import annotations

import re
from typing import NamedTuple

from ticketing.mail.facts import Known, Letter
from ticketing.mail.message import Mail, Recipient

# Permanent by code, yet about the letter or the system and not about the address (RFC 3463): full mailbox 2.2, too
# large 3.4 and 2.3, congestion 4.x, security and policy 7.x. The next letter may arrive.
_PASSING = re.compile(r"5\.(?:2\.[23]|3\.[1-9]|4\.[0-9]+|7\.[0-9]+|6\.[0-9]+)")
_GONE = re.compile(
    r"no such user|user unknown|unknown user|does not exist|doesn't exist|no mailbox|mailbox (?:not found"
    r"|unavailable)"
    r"|recipient (?:rejected|not found|address rejected: user)|invalid (?:recipient|mailbox)"
    r"|account.{0,20}(?:disabled|inactive)"
    r"|host (?:or domain name )?not found|unrouteable|нет такого|не существует|не найден"
    r"|用户不存在|不存在|收件人地址错误",
    re.IGNORECASE,
)


class Bounce(NamedTuple):
    """What a delivery report says of one address: `hard`: it is dead. `letter` is the one that came back."""

    address: str
    hard: bool
    why: str
    letter: Letter


def bounces(mail: Mail, known: Known) -> tuple[Bounce, ...]:
    """Of each address that did not get our letter.

    The letter is the one that the bounce address names, or the one quoted, or the last one that went to that address
    lately. Addresses that we wrote nothing to do not count: a forged report must not silence others.
    """
    report = mail.report
    if report is None or report.kind != "delivery":
        return ()
    quoted = (*report.returned, *mail.in_reply_to, *mail.references)
    letter = known.verp or next((known.returned[one] for one in quoted if one in known.returned), None)
    found = [one for one in report.recipients if one.action in ("failed", "delayed", "")]
    if letter is not None:
        # If another address is told, then a forwarding behind ours failed.
        about = [one for one in found if one.address == letter.address] or found
        worst = max(about, key=_hard, default=None)
        if worst is None:
            return () if report.recipients else (Bounce(letter.address, False, "", letter),)
        return (Bounce(letter.address, _hard(worst), _why(worst), letter),)
    return tuple(
        Bounce(one.address, _hard(one), _why(one), known.sent_to[one.address])
        for one in found
        if one.address in known.sent_to
    )


def _why(recipient: Recipient) -> str:
    return (recipient.why or recipient.status or recipient.action)[:300]


def _hard(recipient: Recipient) -> bool:
    if recipient.action == "delayed" or recipient.status.startswith("4"):
        return False
    if _GONE.search(recipient.why):
        return True
    return recipient.status.startswith("5.") and not _PASSING.fullmatch(recipient.status)
