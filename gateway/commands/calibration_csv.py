"""A sensor's calibration table as CSV, columns `code` and `litres`. All problems are told at once, with FILE:LINE."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from gateway.commands.csv_file import ImportFileError, Lines, read_text
from gateway.store.calibrations import Point, problems

HEADING = ("code", "litres")
_SIZE_LIMIT = 1 << 20  # bytes: two hundred lines, whatever stands around the numbers
# Not what `float` takes besides: nan, inf, 1_000, digits of other scripts.
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:[.,][0-9]{1,60})?")  # so many behind the point has a register's float


def read_points(file: Path, encoding: str = "") -> list[Point]:
    """Read a table.

    Raises
    ------
    ImportFileError
        If anything in the file is wrong, with all of it.
    """
    text, _ = read_text(file, encoding, _SIZE_LIMIT)
    points: list[tuple[int, Point]] = []
    wrong = list(_read(text, file, points))
    for place, what in () if wrong else problems([point for _, point in points]):
        wrong.append(f"{file}:{points[place][0]}: {what}" if place is not None else f"{file}: {what}")
    if wrong:
        raise ImportFileError(wrong)
    return [point for _, point in points]


def written(points: Sequence[Point]) -> str:
    """The table as `read_points` takes it, exact."""
    return "".join(f"{line}\n" for line in (",".join(HEADING), *(f"{_told(c)},{_told(v)}" for c, v in points)))


def _told(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{Decimal(repr(value)):f}"


def _read(text: str, file: Path, points: list[tuple[int, Point]]) -> Iterator[str]:
    lines = Lines(text)
    names: list[str] = []
    for cells in lines:
        if not any(cells):
            continue
        if not names:
            names = [cell.lower() for cell in cells]
            if sorted(names) != sorted(HEADING):
                yield f"{file}:{lines.line}: the heading must be code and litres, each once"
                return
        elif len(cells) != len(names):
            what = f"{len(cells)} cell{'s' * (len(cells) != 1)}, and the heading has {len(names)}"
            remedy = (
                "write decimals with a point, or part the columns with ;" if lines.delimiter == "," else "give both"
            )
            yield f"{file}:{lines.line}: {what}: {remedy}"
        else:
            told = dict(zip(names, cells, strict=True))
            bad = [name for name in HEADING if not _NUMBER.fullmatch(told[name])]
            yield from (f"{file}:{lines.line}: {name} {told[name][:80]!r}: is no number" for name in bad)
            if not bad:
                code, litres = (float(told[name].replace(",", ".")) for name in HEADING)
                points.append((lines.line, Point(code, litres)))
    if lines.broken:
        yield f"{file}:{lines.line}: {lines.broken}"
    elif not names:
        yield f"{file}:1: is empty: the heading must be code and litres"
