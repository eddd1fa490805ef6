"""The firmware catalogue: a TOML file, read into `detectors.firmware.Catalogue`.

grace_days = 30
[[release]]
model = "FMB920"
version = "03.27.07"
released = 2025-06-01
mark = "critical"        # or "broken"; left out: neither
"""

from __future__ import annotations

import math
import tomllib
from datetime import date, datetime
from pathlib import Path

from detectors.firmware import Catalogue, Mark, Release
from gateway.errors import GatewayError

GRACE_DAYS = 30
_SIZE_LIMIT = 16 << 20  # bytes: some hundred thousand releases
_KEYS = {"model", "version", "released", "mark"}


class CatalogueError(GatewayError):
    """The catalogue cannot be used; the message names the file, the place and the remedy."""


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
        raise CatalogueError(f"{path}: {error.strerror}: name a readable file, or none") from error
    if len(data) > _SIZE_LIMIT:
        raise CatalogueError(f"{path}: larger than {_SIZE_LIMIT >> 20} MiB: this is no catalogue")
    try:
        content = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: {error}") from error
    unknown = sorted(content.keys() - {"grace_days", "release"})
    if unknown:
        raise CatalogueError(f"{path}: {unknown[0]}: unknown key: there are grace_days and [[release]]")
    grace = content.get("grace_days", GRACE_DAYS)
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace < math.inf:
        raise CatalogueError(f"{path}: grace_days: must be a number of days, not {grace!r}")
    tables = content.get("release", [])
    if not isinstance(tables, list):
        raise CatalogueError(f"{path}: release: must be a list of tables: write [[release]]")
    models: dict[str, list[Release]] = {}
    for number, table in enumerate(tables, 1):
        where = f"{path}: release {number}"
        model, release = _release(table, where)
        releases = models.setdefault(model, [])
        if any(other.version == release.version for other in releases):
            raise CatalogueError(f"{where}: version {release.version} of {model} stands here twice")
        releases.append(release)
    return Catalogue(float(grace), models)


def _release(table: object, where: str) -> tuple[str, Release]:
    if not isinstance(table, dict):
        raise CatalogueError(f"{where}: must be a table: write [[release]]")
    unknown = sorted(table.keys() - _KEYS)
    if unknown:
        raise CatalogueError(f"{where}: {unknown[0]}: unknown key: there are model, version, released, mark")
    for key in ("model", "version"):
        if not isinstance(table.get(key), str) or not table[key]:
            raise CatalogueError(f'{where}: {key}: must be a text in quotes, such as "03.27.07"')
    released = table.get("released")
    if not isinstance(released, date) or isinstance(released, datetime):
        raise CatalogueError(f"{where}: released: must be a date without quotes, such as 2026-01-31")
    mark = table.get("mark")
    if mark is not None and mark not in list(Mark):
        raise CatalogueError(f'{where}: mark: must be "critical" or "broken", or left out')
    return table["model"], Release(table["version"], released, None if mark is None else Mark(mark))
