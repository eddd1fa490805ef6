"""What is known of a trace's terminals, and the truth about them: CSV, as people and other generators write it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import BacktestError
from protocols.records import identity_of

ATTRIBUTES = (  # those that the registry knows; a table may have any others, and groups may be made of them
    "name", "protocol", "model", "firmware", "firmware_target", "operator", "customer", "site", "region", "stage",
    "stage_until",
)  # fmt: skip
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_COLUMNS_MOST = 64
TRUTH = ("terminal", "group_by", "group_value", "kind", "zone", "from", "to")
GATEWAY = "gateway"  # the group of a fault that is our own: no terminal is in it
_ROWS_MOST = 4_000_000
_LONGEST = 200  # characters of a cell
_SHOWN = 20  # problems


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the truth: of a terminal, or of a group by its attribute; `begins`, `ends` are Unix seconds."""

    kind: str
    zone: str
    begins: float
    ends: float
    terminal: str | None = None
    group_by: str | None = None
    group_value: str | None = None


def beside(trace: Path) -> Path:
    """Where a trace's table of terminals lies unless somebody says otherwise."""
    return trace.with_name(trace.name.removesuffix(".npz") + ".terminals.csv")


def read_terminals(file: Path) -> dict[str, dict[str, str]]:
    """Attributes by terminal; those that are empty are left out.

    Raises
    ------
    BacktestError
        If anything in the file is wrong, with each FILE:LINE.
    """
    found: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for line, cells in _rows(file, ("terminal",)):
        terminal = cells.pop("terminal")
        if not terminal or identity_of(terminal) != terminal:
            problems.append(f"{file}:{line}: terminal {terminal!r}: an identity is 1 to 64 printable characters")
        elif terminal in found:
            problems.append(f"{file}:{line}: terminal {terminal} is there twice: keep one")
        found[terminal] = {name: cell for name, cell in cells.items() if cell}
    _refuse(problems)
    return found


def write_terminals(file: Path, terminals: Mapping[str, Mapping[str, str]]) -> None:
    """What `read_terminals` reads; columns that nobody has are left out."""
    held = {name for its in terminals.values() for name in its}
    used = [*(name for name in ATTRIBUTES if name in held), *sorted(held - set(ATTRIBUTES))]
    _write(file, ("terminal", *used), ([name, *(its.get(a, "") for a in used)] for name, its in terminals.items()))


def read_truth(file: Path) -> list[Fault]:
    """The faults, in the order of the file. An empty `to`: until the end; neither terminal nor group: the gateway's.

    Raises
    ------
    BacktestError
        If anything in the file is wrong, with each FILE:LINE.
    """
    faults: list[Fault] = []
    problems: list[str] = []
    for line, cells in _rows(file, TRUTH):
        try:
            faults.append(_fault(cells))
        except ValueError as error:
            problems.append(f"{file}:{line}: {error}")
    _refuse(problems)
    return faults


def write_truth(file: Path, faults: Iterable[Fault]) -> None:
    """What `read_truth` reads."""
    rows = (
        [f.terminal or "", f.group_by or "", f.group_value or "", f.kind, f.zone, iso(f.begins), iso(f.ends)]
        for f in faults
    )
    _write(file, TRUTH, rows)


def iso(seconds: float) -> str:
    """Unix seconds as the tables and the events have them; empty for never."""
    if seconds == float("inf"):
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def instant(text: str) -> float:
    """Unix seconds of an ISO date or time; without a zone it is UTC.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date or time: write for example 2026-11-02 or 2026-11-02T06:00Z") from None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _fault(cells: Mapping[str, str]) -> Fault:
    terminal, by, value = (cells[name] or None for name in ("terminal", "group_by", "group_value"))
    if terminal is None and by is None:
        by = GATEWAY
    if terminal is not None and (by is not None or value is not None):
        raise ValueError("fill either terminal or group_by and group_value")
    if by is not None and by != GATEWAY and (not _ATTRIBUTE.fullmatch(by) or value is None):
        raise ValueError(f"group_by {by!r}: a group is an attribute such as operator and its value, or {GATEWAY}")
    if not cells["kind"]:
        raise ValueError("kind is empty: name the incident's, such as silence")
    begins = instant(cells["from"])
    ends = instant(cells["to"]) if cells["to"] else float("inf")
    if ends < begins:
        raise ValueError(f"to {cells['to']} is before from {cells['from']}")
    return Fault(cells["kind"], cells["zone"], begins, ends, terminal, by, value)


def _rows(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            heading = [cell.strip() for cell in next(reader, [])]
            odd = [name for name in heading if not _ATTRIBUTE.fullmatch(name)]
            if odd or set(needed) - set(heading) or not len(set(heading)) == len(heading) <= _COLUMNS_MOST:
                raise BacktestError(
                    f"{file}:1: the heading must have {','.join(needed)}, each once, and may have others, of "
                    f"small letters, digits and _{f', not {odd[0][:80]!r}' if odd else ''}"
                )
            for count, cells in enumerate(reader):
                line = reader.line_num
                if not any(cells):
                    continue
                if len(cells) != len(heading) or count >= _ROWS_MOST or any(len(cell) > _LONGEST for cell in cells):
                    raise BacktestError(
                        f"{file}:{line}: {len(cells)} cells: as many as the heading has ({len(heading)}), each of at "
                        f"most {_LONGEST} characters, in at most {_ROWS_MOST} lines"
                    )
                yield line, {name: cell.strip() for name, cell in zip(heading, cells, strict=True)}
    except OSError as error:
        raise BacktestError(f"{file}: cannot be read: {error.strerror}: correct its path or rights") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BacktestError(f"{file}: is not CSV in UTF-8: {error}: save it anew") from error


def _write(file: Path, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    try:
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(heading)
            writer.writerows(rows)
    except OSError as error:
        raise BacktestError(f"{file}: cannot be written: {error.strerror}: correct its path or rights") from error


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise BacktestError("\n".join([*problems[:_SHOWN], *more]))
