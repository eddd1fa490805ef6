"""A fleet as people have it: CSV from a spreadsheet of any language.

Delimiter and encoding are found out; whatever a spreadsheet did to an identity is refused, since it cannot be undone.
All problems are told at once, each with FILE:LINE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.commands.csv_file import ENCODINGS, ImportFileError, Lines, read_text
from gateway.commands.instants import day_or_instant
from protocols.records import identity_of
from protocols.registry import RECEIVED, every
from protocols.terminals import luhn

TEXTS = ("model", "name", "operator", "customer", "site", "region", "firmware_target")
FIELDS = ("protocol", *TEXTS, "stage", "stage_until")
STAGES = ("in_use", "workshop", "season", "sold")
_HEADING = ("terminal", *FIELDS)
_SIZE_LIMIT = 256 << 20  # bytes: a million terminals and their names
_LONGEST = 200  # characters of a text
# What a spreadsheet makes of fifteen digits: 3.5E+14, 3,50E+14, 350000000000504.0
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?[eE]\+?\d+|\d{6,}[.,]0+")
_BLANK = re.compile(r"[^\S\t-\r\x1c-\x1f\x85\u2028\u2029]")  # of any width, such as spreadsheets put into names


@dataclass(slots=True)
class FleetFile:
    """Rows as `Row` in the order of the file, and what is worth a look though it was taken."""

    rows: list[dict[str, str | None]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


def read_fleet(file: Path, encoding: str = "") -> FleetFile:
    """Read terminals with what is known of them.

    Raises
    ------
    ImportFileError
        If anything in the file is wrong, with all of it.
    """
    text, spoken = read_text(file, encoding, _SIZE_LIMIT)
    found = FleetFile()
    if spoken not in ("utf-8", encoding):
        found.hints.append(f"{file}: read as {spoken}; if names look wrong, say --encoding {'|'.join(ENCODINGS)}")
    problems = list(_read(text, file, found))
    if problems:
        raise ImportFileError(problems)
    return found


def _read(text: str, file: Path, found: FleetFile) -> Iterator[str]:
    lines = Lines(text)
    seen: dict[str, int] = {}
    names: list[str] = []
    for cells in lines:
        line = lines.line
        if not names:
            names = [cell.lower() for cell in cells]
            if names.count("terminal") != 1 or set(names) - set(_HEADING) or len(set(names)) != len(names):
                yield f"{file}:{line}: the heading must be terminal and any of {', '.join(FIELDS)}, each once"
                return
        elif len(cells) > len(names):
            what = f"{len(cells)} cells, and the heading has {len(names)}"
            yield f"{file}:{line}: {what}: put a value with {lines.delimiter!r} in it into quotes"
        elif any(cells):
            row: dict[str, str | None] = dict.fromkeys(_HEADING)
            row |= {
                name: (cell if name == "terminal" else _BLANK.sub(" ", cell)) or None
                for name, cell in zip(names, cells, strict=False)
            }
            row["terminal"] = identity_of(row["terminal"] or "") or row["terminal"]
            wrong = list(problems(row))
            if not wrong:
                row["stage_until"] = moment(row["stage_until"])
            yield from (f"{file}:{line}: {what}" for what in wrong)
            identity = str(row["terminal"])
            if not wrong and identity in seen:
                yield f"{file}:{line}: terminal {identity} stands on line {seen[identity]} already: keep one of them"
            seen.setdefault(identity, line)
            found.rows.append(row)
            if re.fullmatch(r"\d{15}", identity) and luhn(identity[:14]) != identity[14]:
                what = f"as an IMEI it would end in {luhn(identity[:14])}: taken as it stands"
                found.hints.append(f"{file}:{line}: terminal {identity}: {what}")
    if lines.broken:
        yield f"{file}:{lines.line}: {lines.broken}"
    elif not names:
        yield f"{file}:1: is empty: the heading must be terminal and any of {', '.join(FIELDS)}"


def problems(row: dict[str, str | None]) -> Iterator[str]:
    """What is wrong with one terminal's line."""
    identity = row["terminal"] or ""
    if _NUMBER.fullmatch(identity):
        yield f"terminal {identity!r}: a spreadsheet made a number of it: format the column as text, and fill it anew"
    elif not identity_of(identity):
        yield f"terminal {identity[:80]!r}: an identity is 1 to 64 printable characters"
    if row["protocol"] and row["protocol"] not in RECEIVED:
        yield f"protocol {row['protocol'][:80]!r}: known are {', '.join(every())}"
    for name in TEXTS:
        value = row[name]
        if value and not (len(value) <= _LONGEST and value.isprintable()):
            yield f"{name}: at most {_LONGEST} printable characters"
    if row["stage"] and row["stage"] not in STAGES:
        yield f"stage {row['stage'][:80]!r}: one of {', '.join(STAGES)}"
    try:
        until = moment(row["stage_until"])
    except ValueError:
        told = (row["stage_until"] or "")[:80]
        yield f"stage_until {told!r}: a day such as 2026-12-31, or an instant with its offset"
    else:
        if until and (row["stage"] or "in_use") == "in_use":
            yield "stage_until: says when a stage ends: give a stage other than in_use with it"


def moment(text: str | None) -> str | None:
    """An instant as the store spells it, in UTC, where a day begins; None and "" stay.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not text:
        return text
    return f"{day_or_instant(text).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
