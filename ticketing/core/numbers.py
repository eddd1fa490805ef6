"""Ticket numbers: one sequence, readable aloud, with a check digit (S1-13).

``DZ-10017``: the sequence value 1001 and its Damm digit, which catches every single wrong digit and every
swap of neighbours, the two mistakes people make on the phone.
"""

from __future__ import annotations

import re

PREFIX = "DZ-"

# The quasigroup of order 10 from H. M. Damm, "Total anti-symmetrische Quasigruppen" (2004).
_DAMM = (
    (0, 3, 1, 7, 5, 9, 8, 6, 4, 2),
    (7, 0, 9, 2, 1, 5, 4, 8, 6, 3),
    (4, 2, 0, 6, 8, 7, 1, 3, 5, 9),
    (1, 7, 5, 0, 9, 8, 3, 4, 2, 6),
    (6, 1, 2, 3, 0, 4, 5, 9, 7, 8),
    (3, 6, 7, 4, 2, 0, 9, 5, 8, 1),
    (5, 8, 6, 9, 7, 2, 0, 1, 3, 4),
    (8, 9, 4, 5, 3, 6, 2, 0, 1, 7),
    (9, 4, 3, 8, 6, 1, 7, 2, 0, 5),
    (2, 5, 8, 1, 4, 3, 6, 7, 9, 0),
)
# As letters tag their subjects, as people say it, and with the dashes that programs make of a hyphen.
_SPOKEN = re.compile(r"\[?[\s#№]*(?:DZ)?[\s\-‐‑‒–—#№]*([0-9]{2,18})\s*\]?", re.IGNORECASE)


def check_digit(digits: str) -> int:
    """Return the Damm digit of a string of decimal digits."""
    interim = 0
    for digit in digits:
        interim = _DAMM[interim][int(digit)]
    return interim


def ticket_number(sequence: int) -> str:
    """Return the ticket number of a sequence value."""
    return f"{PREFIX}{sequence}{check_digit(str(sequence))}"


def parse(text: str) -> str | None:
    """Read a number as people write it (``dz 10017``, ``[#DZ-10017]``); None when the check digit does not agree."""
    found = _SPOKEN.fullmatch(text.strip())
    if found is None or check_digit(found[1]) != 0:
        return None
    return PREFIX + found[1]
