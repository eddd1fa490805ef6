"""What marks our own mail: Message-IDs that name a ticket, bounce addresses that name a letter, the instance's mark.

Each carries a keyed digest, so that a reply or a bounce is matched without trusting what a stranger wrote:
``<t.DZ-10017.3.1f0a9c2e@desk.example>``, ``support+b42.9c2e1f0a@desk.example``.
"""

from __future__ import annotations

import hashlib
import hmac
import re

MARK = "X-Dozor-Instance"
_OURS = re.compile(r"<?([A-Za-z0-9.-]{1,80})\.([0-9a-f]{8})@[^\s<>@]{1,255}>?", re.ASCII)
_BOUNCE = re.compile(r"[^\s<>@]{1,64}\+b(\d{1,18})\.([0-9a-f]{8})@[^\s<>@]{1,255}", re.ASCII | re.IGNORECASE)
_TICKET = re.compile(r"t\.([A-Za-z0-9-]{1,40})\.(\d{1,9})", re.ASCII)


def message_id(secret: bytes, name: str, domain: str) -> str:
    """``<NAME.HMAC8@DOMAIN>``; at most 60 characters with a domain of up to 30."""
    return f"<{name}.{_digest(secret, name)}@{domain}>"


def ticket_name(number: str, sequence: int) -> str:
    """The name of a ticket's letter; 1 is the note to the staff, letters to people follow."""
    return f"t.{number}.{sequence}"


def name_of(secret: bytes, text: str) -> str | None:
    """The name in a Message-ID of this instance, whatever its domain is by now; None if it is none of ours."""
    found = _OURS.fullmatch(text.strip())
    if found is None or not hmac.compare_digest(found[2], _digest(secret, found[1])):
        return None
    return found[1]


def ticket_of(secret: bytes, text: str) -> str | None:
    """The number of the ticket that one of our Message-IDs names; None if it names none or is not ours."""
    found = _TICKET.fullmatch(name_of(secret, text) or "")
    return found[1] if found else None


def bounce_address(secret: bytes, address: str, letter: int) -> str:
    """The envelope's sender: `address` with the letter in it, so that what comes back says which one it was."""
    local, _, domain = address.rpartition("@")
    tag = f"b{letter}"
    return f"{local}+{tag}.{_digest(secret, tag)}@{domain}"


def bounced_letter(secret: bytes, address: str) -> int | None:
    """The letter that a bounce address names; None if it is none of ours."""
    found = _BOUNCE.fullmatch(address.strip().strip("<>"))
    if found is None or not hmac.compare_digest(found[2].lower(), _digest(secret, f"b{found[1]}")):
        return None
    return int(found[1])


def instance_mark(secret: bytes) -> str:
    """The value of the header `MARK`: the same on all mail of this instance, and of no other."""
    return hashlib.sha256(secret).hexdigest()[:16]


def _digest(secret: bytes, name: str) -> str:
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:8]
