"""`make words`: the catalogues of pages (`ticketing/kit/locale/*.po`) brought up to date with the sources.

New words come in untranslated, words that are said no longer go; what was translated stays. The tests fail while a word
is untranslated, so that a page is never half in one language.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "ticketing"
LOCALE = SOURCES / "kit" / "locale"
TRANSLATED = ("ru", "zh")
KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
PLURALS = {
    "ru": "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2)",
    "zh": "nplurals=1; plural=0",
}

Words = dict[str | tuple[str, ...], None]


def said() -> Words:
    """All words of the sources, in a stable order; those with a plural as pairs."""
    options = {"**/templates/**.html": {"silent": "false", "trimmed": "true"}}
    found = extract_from_dir(SOURCES, METHODS, options, keywords=KEYWORDS)
    words = {message for _file, _line, message, _comments, _context in found if message and message != ""}
    return dict.fromkeys(sorted(words, key=lambda word: (word if isinstance(word, str) else word[0], str(word))))


def read(language: str) -> Catalog:
    """The catalogue as it stands; an empty one where there is none."""
    path = LOCALE / f"{language}.po"
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def updated(language: str, words: Words) -> bytes:
    """The catalogue with exactly these words."""
    before = read(language)
    catalogue = Catalog(locale=language, project="Dozor", charset="utf-8")
    for word in words:
        known = before.get(word if isinstance(word, str) else word[0])
        string = known.string if known is not None and known.pluralizable == isinstance(word, tuple) else ""
        catalogue.add(word, string)
    packed = BytesIO()
    write_po(packed, catalogue, omit_header=True, no_location=True, width=120)
    header = (
        f'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Language: {language}\\n"\n'
        f'"Plural-Forms: {PLURALS[language]};\\n"\n\n'
    )
    return header.encode() + packed.getvalue().strip() + b"\n"


def main() -> int:
    """Write the catalogues, and say what is missing in them."""
    words = said()
    LOCALE.mkdir(exist_ok=True)
    for language in TRANSLATED:
        (LOCALE / f"{language}.po").write_bytes(updated(language, words))
        missing = [message.id for message in read(language) if message.id and not _complete(message.string)]
        print(f"{language}: {len(words)} words, {len(missing)} to be translated")
        for word in missing:
            print(f"  {word!r}")
    return 0


def _complete(string: str | tuple[str, ...] | list[str]) -> bool:
    return bool(string) if isinstance(string, str) else bool(string) and all(string)


if __name__ == "__main__":
    sys.exit(main())
