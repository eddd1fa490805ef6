"""What marks our own mail: Message-IDs, ``<t.NUMBER.SEQ.HMAC8@desk-domain>``, bounce addresses, the instance's mark.

A reply that quotes one is matched without trusting its subject: nobody outside can make one up. The digest covers
number and sequence, not the domain, which may change while letters are on their way. A letter without a ticket is
``<l.ROW.HMAC8@desk-domain>``. Bounces come to ``support+b42.9c2e1f0a@desk.example``, which names the letter.
"""

from __future__ import annotations

import hashlib
import hmac
import re

LONGEST = 60  # characters: some programs break or encode longer ones, and lose the thread
MARK = "X-Dozor-Instance"
_ANY = re.compile(r"<?([A-Za-z0-9.-]{1,80})\.([0-9a-f]{8})@[^\s<>@]{1,255}>?", re.ASCII)
_BOUNCE = re.compile(r"<?[^\s<>@]{1,64}\+b([0-9]{1,18})\.([0-9a-f]{8})@[^\s<>@]{1,255}>?", re.ASCII | re.IGNORECASE)
_OURS = re.compile(r"<?t\.([A-Z]{1,8}-[0-9]{2,18})\.([0-9]{1,9})\.([0-9a-f]{8})@[^\s<>@]{1,255}>?", re.ASCII)


def make(secret: bytes, number: str, seq: int, domain: str) -> str:
    """The Message-ID of the `seq`-th letter of a ticket, in angle brackets."""
    return named(secret, f"t.{number}.{seq}", domain)


def named(secret: bytes, name: str, domain: str) -> str:
    """The Message-ID of mail that is no ticket's letter, in angle brackets; `name` may have letters, digits, dots."""
    return f"<{name}.{_keyed(secret, name)}@{domain}>"


def verify(secret: bytes, message_id: str) -> tuple[str, int] | None:
    """The ticket's number and the letter's sequence; None of a Message-ID that we did not make."""
    found = _OURS.fullmatch(message_id.strip())
    if found is None:
        return None
    number, seq = found[1], int(found[2])
    # A sequence with leading zeros would be another spelling of the same letter.
    if str(seq) != found[2] or not hmac.compare_digest(_digest(secret, number, seq), found[3]):
        return None
    return number, seq


def name_of(secret: bytes, message_id: str) -> str | None:
    """What any Message-ID of ours names, such as ``t.DZ-10017.3`` or ``l.42``; None if it is not ours."""
    found = _ANY.fullmatch(message_id.strip())
    if found is None or not hmac.compare_digest(found[2], _keyed(secret, found[1])):
        return None
    return found[1]


def bounce_address(secret: bytes, address: str, letter: int) -> str:
    """The envelope's sender: `address` with the letter's row in it, so that what comes back says which one it was."""
    local, _, domain = address.rpartition("@")
    return f"{local}+b{letter}.{_keyed(secret, f'b{letter}')}@{domain}"


def bounced_letter(secret: bytes, address: str) -> int | None:
    """The letter that a bounce address names (``support+b42.9c2e1f0a@desk.example``); None if it is none of ours."""
    found = _BOUNCE.fullmatch(address.strip())
    if found is None or not hmac.compare_digest(_keyed(secret, f"b{found[1]}"), found[2].lower()):
        return None
    return int(found[1])


def instance_mark(secret: bytes) -> str:
    """The value of the header `MARK`: the same on all mail of this instance, and of no other."""
    return hashlib.sha256(secret).hexdigest()[:16]


def _digest(secret: bytes, number: str, seq: int) -> str:
    return _keyed(secret, f"t.{number}.{seq}")


def _keyed(secret: bytes, name: str) -> str:
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:8]
