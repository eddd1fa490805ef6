"""`dozor calibration`: tables that turn the codes of fuel-level sensors into litres."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from gateway.commands.calibration_csv import read_points, written
from gateway.commands.common import load_settings, with_pool
from gateway.commands.csv_file import ENCODINGS
from gateway.commands.instants import day_or_instant
from gateway.errors import CalibrationError
from gateway.store.calibrations import SENSORS, Point, Table, hints, holding, save, tables
from protocols.records import identity_of

_AHEAD = timedelta(days=400)  # a year mistyped is further away


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="import|export|show", required=True)
    importing = actions.add_parser("import", help="take a table: CSV with a heading code,litres")
    exporting = actions.add_parser("export", help="a table as CSV")
    showing = actions.add_parser("show", help="which tables there are")
    for action in (importing, exporting, showing):
        action.add_argument("terminal", metavar="T", help="its identity")
        optional: dict[str, Any] = {"nargs": "?"} if action is showing else {}
        action.add_argument("sensor", metavar="N", type=_sensor, help="number of the sensor, from 1", **optional)
        action.add_argument("--json", action="store_true", help="one JSON object a line")
    importing.add_argument("file", type=Path, metavar="FILE.csv")
    importing.add_argument(
        "--from", dest="since", metavar="ISO", type=_instant, help="since when it holds; without it: from now on"
    )
    importing.add_argument("--encoding", choices=ENCODINGS, default="", help="instead of finding out")
    exporting.add_argument("--table", type=int, metavar="VERSION", help="this one, not the one that holds now")


def run(args: argparse.Namespace) -> int:
    """Carry it out; works while the service runs and while it does not."""
    settings = load_settings(args)
    terminal = identity_of(args.terminal) or args.terminal
    now = datetime.now(UTC)
    if args.action == "show":
        return with_pool(settings, lambda pool: _show(pool, terminal, args.sensor, now, args.json))
    if args.action == "export":
        return with_pool(settings, lambda pool: _export(pool, terminal, args.sensor, args.table, now, args.json))
    points = read_points(args.file, args.encoding)
    worth_a_look = [*hints(points, settings.watch.fuel.range)]
    since = args.since or now.replace(microsecond=0)  # as `show` tells it: what is given again supersedes it
    if since > now + _AHEAD:
        worth_a_look.append(f"it holds from {_iso(since)} on only")
    for hint in worth_a_look:
        print(f"hint: {args.file}: {hint}", file=sys.stderr)
    return with_pool(settings, lambda pool: _import(pool, terminal, args.sensor, points, since, args.json))


async def _import(
    pool: AsyncConnectionPool, terminal: str, sensor: int, points: Sequence[Point], since: datetime, as_json: bool
) -> int:
    async with pool.connection() as link:
        version = await save(link, terminal, sensor, points, since)
        found = await tables(link, terminal, sensor)
    until = min((table.since for table in found if table.since > since), default=None)
    if as_json:
        told = {"terminal": terminal, "sensor": sensor, "version": version, "from": _iso(since)}
        print(json.dumps(told | {"until": until and _iso(until), "points": len(points)}, ensure_ascii=False))
    else:
        end = f" until {_iso(until)}, when a later one does" if until else ""
        print(f"version {version} of sensor {sensor}, {len(points)} points: holds from {_iso(since)}{end}")
    return 0


async def _export(
    pool: AsyncConnectionPool, terminal: str, sensor: int, version: int | None, now: datetime, as_json: bool
) -> int:
    async with pool.connection() as link:
        found = await _known(link, terminal, sensor)
    if version is None:
        table = holding(found, sensor, now)
    else:
        table = next((table for table in found if table.version == version), None)
    if table is None:
        wanted = "none that holds now" if version is None else f"no version {version}"
        raise CalibrationError(f"sensor {sensor} of terminal {terminal!r} has {wanted}: dozor calibration show")
    sys.stdout.write(f"{_json(table, now, found)}\n" if as_json else written(table.points))
    return 0


async def _show(pool: AsyncConnectionPool, terminal: str, sensor: int | None, now: datetime, as_json: bool) -> int:
    async with pool.connection() as link:
        found = await _known(link, terminal, sensor)
    for table in found:
        print(_json(table, now, found) if as_json else _line(table, now, found))
    return 0


async def _known(link: AsyncConnection[Any], terminal: str, sensor: int | None) -> list[Table]:
    found = await tables(link, terminal, sensor, every=True)
    if not found:
        known = await link.execute("SELECT 1 FROM terminal WHERE identity = %s", (terminal,))
        if await known.fetchone() is None:
            raise CalibrationError(f"terminal {terminal!r} is not registered: dozor terminal add")
    return found


def _state(table: Table, now: datetime, found: Sequence[Table]) -> str:
    if table.superseded:
        return "superseded"
    if table.since > now:
        return "later"
    return "now" if holding(found, table.sensor, now) is table else "earlier"


def _json(table: Table, now: datetime, found: Sequence[Table]) -> str:
    told = {
        "terminal": table.terminal,
        "sensor": table.sensor,
        "version": table.version,
        "from": _iso(table.since),
        "holds": _state(table, now, found),
        "points": [point._asdict() for point in table.points],
    }
    return json.dumps(told, ensure_ascii=False)


def _line(table: Table, now: datetime, found: Sequence[Table]) -> str:
    first, last = table.points[0], table.points[-1]
    return "\t".join(
        (
            f"sensor {table.sensor}",
            f"version {table.version}",
            f"from {_iso(table.since)}",
            _state(table, now, found),
            f"{len(table.points)} points",
            f"codes {first.code:g} to {last.code:g}",
            f"{first.litres:g} to {last.litres:g} l",
        )
    )


def _sensor(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 1 <= number <= SENSORS:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no sensor: sensors are numbered from 1 to {SENSORS}")
    return number


def _instant(text: str) -> datetime:
    try:
        return day_or_instant(text)
    except ValueError:
        what = f"{text[:80]!r} is neither a day such as 2026-12-31 nor an instant with its offset"
        raise argparse.ArgumentTypeError(what) from None


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
