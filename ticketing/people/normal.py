"""Names and numbers of people and vehicles in the one form they are stored and searched in.

Each function gives the normal form, or None for what is none.
"""

from __future__ import annotations

import re
import unicodedata

MAX_EMAIL = 254  # RFC 5321, 4.5.3.1.3: a path is 256 octets with its angle brackets
MAX_LOCAL = 64  # RFC 5321, 4.5.3.1.1

_LOCAL = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x20\x7f]+")
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")
_PHONE = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)  # E.164: at most 15 digits
_PHONE_MARKS = re.compile(r"[\s().\-/\u00a0\u2010-\u2015]+")
_QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
# Letters of number plates that look alike in Latin and Cyrillic (GOST R 50577 takes only these).
_ALIKE = str.maketrans("АВЕЁКМНОРСТУХІЅЈԚԜ", "ABEEKMHOPCTYXISJQW")


def email(text: str) -> str | None:
    """An address in lower case: desks that tell `Anna@` from `anna@` lose letters."""
    found = unicodedata.normalize("NFC", text).strip().lower()
    local, at, domain = found.rpartition("@")
    if not at or len(found.encode()) > MAX_EMAIL or len(local.encode()) > MAX_LOCAL:
        return None
    if not _LOCAL.fullmatch(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        return None
    labels = domain.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return found if found.isprintable() else None


def phone(text: str) -> str | None:
    """`+` and digits, E.164; 00 before the country is a +, as is 8 before ten digits in Russia and Kazakhstan."""
    bare = _PHONE_MARKS.sub("", unicodedata.normalize("NFKC", text))
    if bare.startswith("00"):
        bare = "+" + bare[2:]
    elif len(bare) == 11 and bare.startswith("8") and bare[1] in "3479":
        bare = "+7" + bare[1:]
    return bare if _PHONE.fullmatch(bare) else None


def plate_key(text: str) -> str:
    """A number plate as it is searched: upper case, letters and digits alone, look-alikes of two scripts as one."""
    whole = unicodedata.normalize("NFKC", text).upper().translate(_ALIKE)
    return "".join(c for c in whole if c.isalnum())


def quiet_hours(text: str) -> str | None:
    """Hours of the day in which nobody is disturbed, `22:00-07:00`; they may go over midnight."""
    bare = re.sub(r"\s+", "", text).replace("\u2013", "-")
    found = _QUIET.fullmatch(bare)
    return bare if found and found.groups()[:2] != found.groups()[2:] else None


def line(text: str) -> str | None:
    """A name of one line: no control characters, no spaces around, blanks within as one."""
    found = " ".join(unicodedata.normalize("NFC", text).split())
    return found if found and found.isprintable() else None
