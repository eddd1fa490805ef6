"""The firmware catalogue: a TOML file, read into `detectors.firmware.Catalogue`.

grace_days = 30
[[release]]
model = "FMB920"
version = "03.27.07"
released = 2025-06-01
mark = "critical"        # or "broken"; left out: neither
[[target]]
model = "FMB920"
version = "03.28.01"
since = 2026-01-15
customer = "North"       # left out: of all who have none of their own
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeAlias

from detectors.firmware import Catalogue, Mark, Release, Target
from gateway.errors import GatewayError
from ticketing.core.toml_source import NotTomlError, NotUtf8Error, TomlSource, Where

GRACE_DAYS = 30
_SIZE_LIMIT = 16 << 20  # bytes: some hundred thousand releases
_ENDLESS = 1e300  # days of grace; an integer may be larger than any float
_SHOWN = 20  # problems in the message; one mistake often stands in every entry
_KEYS = {"model", "version", "released", "mark"}
_TARGET_KEYS = {"model", "version", "since", "customer"}
_Complaint: TypeAlias = tuple[Where, str]


class CatalogueError(GatewayError):
    """The catalogue cannot be used; `problems` are all that is wrong, each with FILE:LINE and remedy."""

    def __init__(self, problems: list[str]) -> None:
        more = [f"and {len(problems) - _SHOWN} more like these"] if len(problems) > _SHOWN else []
        super().__init__("\n".join(problems[:_SHOWN] + more))
        self.problems = problems


def read_catalogue(path: Path) -> Catalogue:
    """Read the catalogue.

    Raises
    ------
    CatalogueError
        If the file cannot be read or says something else than the format above.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise CatalogueError([f"{path}: {error.strerror}: name a readable file, or none"]) from error
    if len(data) > _SIZE_LIMIT:
        raise CatalogueError([f"{path}: larger than {_SIZE_LIMIT >> 20} MiB: this is no catalogue"])
    try:
        source = TomlSource(data)
    except NotUtf8Error as error:
        raise CatalogueError([f"{path}:{error.line}: {error.detail}: save the file as UTF-8"]) from error
    except NotTomlError as error:
        raise CatalogueError([f"{path}:{error.line}: not TOML: {error.detail}: mend that line"]) from error
    models: dict[str, list[Release]] = {}
    targets: list[Target] = []
    wrong = [f"{path}:{source.line(where)}: {what}" for where, what in _read(source.content, models, targets)]
    if wrong:
        raise CatalogueError(wrong)
    return Catalogue(float(source.content.get("grace_days", GRACE_DAYS)), models, targets)


def _read(content: dict[str, Any], models: dict[str, list[Release]], targets: list[Target]) -> Iterator[_Complaint]:
    """Put releases into `models` and what is wanted into `targets`; what is wrong is told with its place."""

    def add_release(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
        mark = table.get("mark")
        release = Release(table["version"], table["released"], None if mark is None else Mark(mark))
        releases = models.setdefault(table["model"], [])
        if any(other.version == release.version for other in releases):
            yield "version", f"version {release.version} of {table['model']} stands here twice: keep one of them"
        releases.append(release)

    def add_target(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
        target = Target(table["model"], table["version"], table["since"], table.get("customer"))
        if any((other.model, other.customer) == (target.model, target.customer) for other in targets):
            what = f"there is a target of {target.model} for {target.customer or 'all customers'} already"
            yield "model", f"{what}: keep one of them"
        targets.append(target)

    for key in (key for key in content if key not in ("grace_days", "release", "target")):
        yield (key,), f"{key}: unknown key: there are grace_days, [[release]] and [[target]]"
    grace = content.get("grace_days", GRACE_DAYS)
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace < _ENDLESS:
        told = repr(grace) if not isinstance(grace, int) or abs(grace) < 1 << 64 else "so many"
        yield ("grace_days",), f"grace_days: must be a number of days, not {told}"
    yield from _tables(content, "release", _wrong_release, add_release)
    yield from _tables(content, "target", _wrong_target, add_target)


def _tables(
    content: dict[str, Any],
    kind: str,
    wrong_in: Callable[[object], Iterator[tuple[str, str]]],
    add: Callable[[dict[str, Any]], Iterator[tuple[str, str]]],
) -> Iterator[_Complaint]:
    """Check each table of a kind and add those that are right; either gives keys with complaints."""
    tables = content.get(kind, [])
    if not isinstance(tables, list):
        yield (kind,), f"{kind}: must be a list of tables: write [[{kind}]]"
        return
    for place, table in enumerate(tables):
        for key, what in list(wrong_in(table)) or add(table):
            yield (kind, place, key), f"{kind} {place + 1}: {what}"


def _wrong_target(table: object) -> Iterator[tuple[str, str]]:
    """Key and complaint."""
    if not isinstance(table, dict):
        yield "", "must be a table: write [[target]]"
        return
    for key in (key for key in table if key not in _TARGET_KEYS):
        yield key, f"{key}: unknown key: there are model, version, since, customer"
    for key in ("model", "version", *(("customer",) if "customer" in table else ())):
        if not isinstance(table.get(key), str) or not table[key]:
            yield key, f'{key}: must be a text in quotes, such as "03.28.01"'
    since = table.get("since")
    if not isinstance(since, date) or isinstance(since, datetime):
        yield "since", "since: must be a date without quotes, such as 2026-01-15"


def _wrong_release(table: object) -> Iterator[tuple[str, str]]:
    """Key and complaint."""
    if not isinstance(table, dict):
        yield "", "must be a table: write [[release]]"
        return
    for key in (key for key in table if key not in _KEYS):
        yield key, f"{key}: unknown key: there are model, version, released, mark"
    for key in ("model", "version"):
        if not isinstance(table.get(key), str) or not table[key]:
            yield key, f'{key}: must be a text in quotes, such as "03.27.07"'
    released = table.get("released")
    if not isinstance(released, date) or isinstance(released, datetime):
        yield "released", "released: must be a date without quotes, such as 2026-01-31"
    if table.get("mark") is not None and table["mark"] not in list(Mark):
        yield "mark", 'mark: must be "critical" or "broken", or left out'
