"""`dozor terminal`: the registry behind the login policies."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg_pool import AsyncConnectionPool

from gateway.commands.common import load_settings, with_pool
from gateway.errors import GatewayError
from gateway.receive.terminals import CHANNEL
from protocols.records import is_identity
from protocols.registry import PROTOCOLS, protocol

_FIELDS = ("protocol", "model", "name")


class TerminalError(GatewayError):
    """What was said of a terminal cannot be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="add|set|import|list", required=True)
    for name, text in (("add", "register a terminal"), ("set", "change what is known of one")):
        action = actions.add_parser(name, help=text)
        action.add_argument("identity", metavar="ID", help="IMEI or the number it names itself with")
        action.add_argument("--protocol", metavar="P", help=f"one of {', '.join(PROTOCOLS)}")
        action.add_argument("--model", metavar="M")
        action.add_argument("--name", metavar="N", help="what people call it")
        action.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    action = actions.add_parser("import", help="register many: CSV with a heading terminal[,protocol,model,name]")
    action.add_argument("file", type=Path, metavar="FILE.csv")
    action.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    action = actions.add_parser("list", help="all there are")
    action.add_argument("--json", action="store_true", help="one JSON object a line")
    action.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")


def run(args: argparse.Namespace) -> int:
    """Carry it out; works while the service runs and while it does not."""
    settings = load_settings(args)
    if args.action == "list":
        return with_pool(settings, lambda pool: _list(pool, args.json))
    if args.action == "import":
        rows = _read(args.file)
        return with_pool(settings, lambda pool: _add(pool, rows))
    row = _checked({"terminal": args.identity, **{field: getattr(args, field) for field in _FIELDS}}, "")
    if args.action == "add":
        return with_pool(settings, lambda pool: _add(pool, [row]))
    return with_pool(settings, lambda pool: _set(pool, row))


def _checked(row: dict[str, str | None], place: str) -> dict[str, str | None]:
    identity = (row.get("terminal") or "").strip()
    if not is_identity(identity):
        raise TerminalError(f"{place}terminal {identity!r}: an identity is 1 to 64 printable characters")
    if row.get("protocol"):
        protocol(str(row["protocol"]))
    for field in ("model", "name"):
        value = row.get(field)
        if value and not (len(value) <= 200 and value.isprintable()):
            raise TerminalError(f"{place}{field}: at most 200 printable characters")
    return {"terminal": identity, **{field: (row.get(field) or None) for field in _FIELDS}}


def _read(file: Path) -> list[dict[str, str | None]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            known = {"terminal", *_FIELDS}
            if not reader.fieldnames or "terminal" not in reader.fieldnames or set(reader.fieldnames) - known:
                raise TerminalError(f"{file}:1: the heading must be terminal and any of {', '.join(_FIELDS)}")
            return [_checked(row, f"{file}:{reader.line_num}: ") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TerminalError(f"{file}: cannot be read: {error}") from error


async def _add(pool: AsyncConnectionPool, rows: Sequence[dict[str, str | None]]) -> int:
    async with pool.connection() as link, link.transaction(), link.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO terminal (identity, protocol, model, name) VALUES (%(terminal)s, %(protocol)s, %(model)s, "
            "%(name)s) ON CONFLICT (identity) DO UPDATE SET protocol = coalesce(excluded.protocol, terminal.protocol), "
            "model = coalesce(excluded.model, terminal.model), name = coalesce(excluded.name, terminal.name)",
            rows,
        )
        await _tell(cursor, rows)
    print(f"{len(rows)} registered")
    return 0


async def _set(pool: AsyncConnectionPool, row: dict[str, str | None]) -> int:
    async with pool.connection() as link, link.transaction(), link.cursor() as cursor:
        await cursor.execute(
            "UPDATE terminal SET protocol = coalesce(%(protocol)s, protocol), model = coalesce(%(model)s, model), "
            "name = coalesce(%(name)s, name) WHERE identity = %(terminal)s",
            row,
        )
        if not cursor.rowcount:
            print(f"dozor terminal set: {row['terminal']} is not registered: dozor terminal add", file=sys.stderr)
            return 2
        await _tell(cursor, [row])
    return 0


async def _tell(cursor: Any, rows: Sequence[dict[str, str | None]]) -> None:
    """A running service hears of it when the transaction commits."""
    await cursor.executemany(f"SELECT pg_notify('{CHANNEL}', %(terminal)s)", rows)


async def _list(pool: AsyncConnectionPool, as_json: bool) -> int:
    async with pool.connection() as link:
        cursor = await link.execute(
            "SELECT identity, protocol, coalesce(model_told, model), name, firmware FROM terminal ORDER BY identity"
        )
        while rows := await cursor.fetchmany(1000):
            for identity, spoken, model, name, firmware in rows:
                told = {"terminal": identity, "protocol": spoken, "model": model, "name": name, "firmware": firmware}
                if as_json:
                    print(json.dumps(told, ensure_ascii=False))
                else:
                    print("\t".join(value or "-" for value in told.values()))
    return 0
