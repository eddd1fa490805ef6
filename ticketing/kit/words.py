"""The words of pages in the reader's language: source strings are English, catalogues are gettext's (`locale/*.po`).

    from ticketing.kit.words import _, N_

    title = _("Sign in")                       said in the language of this request
    STATES = {"new": N_("New")}                marked here, said by `_(STATES[state])` where it is shown
    ngettext("%(n)s terminal", "%(n)s terminals", n) % {"n": n}

In templates `_()`, `ngettext()` and `{% trans %}` do the same; what they insert is escaped. `make words` brings the
catalogues up to date with the sources; a test fails where a word is missing, stale or loses a placeholder.
"""

from __future__ import annotations

import gettext as standard
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = ("en", "ru", "zh")
CALLED = {"en": "English", "ru": "Русский", "zh": "中文"}
LOCALE = Path(__file__).parent / "locale"
MAX_HEADER = 1000  # characters of an Accept-Language that are read; browsers send less than 100

_language: ContextVar[str] = ContextVar("language", default="en")
_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9]{1,8})*\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?")


@cache
def catalogue(language: str) -> standard.NullTranslations:
    """The words of a language; English needs none, and what a catalogue lacks is said in English."""
    path = LOCALE / f"{language}.po"
    if language not in LANGUAGES or language == "en":
        return standard.NullTranslations()
    with path.open("rb") as file:
        found = read_po(file, locale=language)
    packed = BytesIO()
    write_mo(packed, found)
    packed.seek(0)
    return standard.GNUTranslations(packed)


def language() -> str:
    """The language of this request."""
    return _language.get()


def speak(chosen: str | None) -> None:
    """From now on, in this request, in that language."""
    _language.set(chosen if chosen in LANGUAGES else "en")


@contextmanager
def speaking(chosen: str) -> Iterator[None]:
    """In that language within the block."""
    token = _language.set(chosen)
    try:
        yield
    finally:
        _language.reset(token)


def gettext(text: str) -> str:
    """`text` in the language of this request."""
    return catalogue(_language.get()).gettext(text) if text else text


def ngettext(one: str, many: str, number: int) -> str:
    """`one` or `many`, as the language has it for that number."""
    return catalogue(_language.get()).ngettext(one, many, number)


_ = gettext


def N_(text: str) -> str:  # noqa: N802 - what everybody calls it
    """Marks a string for the catalogues; it is translated where it is shown."""
    return text


def accepted(header: str) -> str | None:
    """The language that a browser likes best of those there are; None: none of them."""
    best: tuple[float, str] | None = None
    for part in header[:MAX_HEADER].split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        weight, name = float(found[2] or 1), found[1].lower()
        if name in LANGUAGES and weight > 0 and (best is None or weight > best[0]):
            best = (weight, name)
    return best[1] if best else None
