"""Terminals and vehicles that a text names: IMEIs by their check digit, plates by their shape."""

from __future__ import annotations

import re

MOST = 30
_LOOKED_AT = 50_000
_IMEI = re.compile(r"(?<![0-9])[0-9]{15}(?![0-9])")
_LETTER = "A-ZАВЕКМНОРСТУХ"
_DASH = r"[ \-·•.]{0,2}"
# Russia A001AA 77 and 0001 AA 77, Belarus 1234 AB-7, Kazakhstan 123 ABC 02, China 京A12345 and 京AD12345.
_PLATES = re.compile(
    rf"(?<![\w])(?:[{_LETTER}]{_DASH}[0-9]{{3}}{_DASH}[{_LETTER}]{{2}}(?:{_DASH}[0-9]{{2,3}})?"
    rf"|[{_LETTER}]{{2}}{_DASH}[0-9]{{3,4}}(?:{_DASH}[0-9]{{2,3}})?"
    rf"|[0-9]{{4}}{_DASH}[{_LETTER}]{{2}}(?:{_DASH}[0-9]{{1,3}})?"
    rf"|[0-9]{{3}}{_DASH}[{_LETTER}]{{2,3}}(?:{_DASH}[0-9]{{2}})?"
    rf"|[\u4e00-\u9fa5]{_DASH}[A-Z]{_DASH}[A-Z0-9]{{5,6}})(?![\w])",
    re.IGNORECASE,
)
_SAME = str.maketrans("АВЕКМНОРСТУХ", "ABEKMHOPCTYX")


def plate_key(plate: str) -> str:
    """A plate as it is searched: upper case, no blanks and dashes, Cyrillic look-alikes as Latin."""
    return "".join(c for c in plate.upper() if c.isalnum()).translate(_SAME)


def imeis(text: str) -> tuple[str, ...]:
    """Fifteen digits whose last is their Luhn digit, in order, each once."""
    found = (one for one in _IMEI.findall(text[:_LOOKED_AT]) if luhn(one))
    return tuple(dict.fromkeys(found))[:MOST]


def plates(text: str) -> tuple[str, ...]:
    """Keys of what looks like a plate, in order, each once."""
    found = (plate_key(one) for one in _PLATES.findall(text[:_LOOKED_AT]))
    return tuple(dict.fromkeys(found))[:MOST]


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0
