"""`dozor terminal`: the registry behind the login policies."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg.sql import SQL, Identifier, Placeholder
from psycopg_pool import AsyncConnectionPool

from gateway.commands import terminal_send
from gateway.commands.common import load_settings, with_pool
from gateway.commands.csv_file import ENCODINGS
from gateway.commands.fleet_csv import FIELDS, STAGES, moment, problems, read_fleet
from gateway.errors import GatewayError
from gateway.receive.terminals import CHANNEL
from protocols.records import identity_of
from protocols.registry import every
from ticketing.letters.post import Post
from ticketing.model.states import Action
from ticketing.tickets.acts import act
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import DESK
from ticketing.tickets.office import Office

_HINTS = 20  # shown
_TEXTS = [name for name in FIELDS if name not in ("stage", "stage_until")]
# What is given replaces what was known, "" forgets it; a stage comes with its end or without one.
_GIVEN = SQL(", ").join(
    [
        SQL("{0} = CASE WHEN {1} = '' THEN NULL ELSE coalesce({1}, terminal.{0}) END").format(
            Identifier(name), Placeholder(name)
        )
        for name in _TEXTS
    ]
    + [
        SQL("stage = coalesce(nullif(%(stage)s, ''), CASE WHEN %(stage)s = '' THEN 'in_use' END, terminal.stage)"),
        SQL(
            "stage_until = CASE WHEN %(stage)s::text IS NULL AND %(stage_until)s::text IS NULL"
            " THEN terminal.stage_until ELSE nullif(%(stage_until)s, '')::timestamptz END"
        ),
    ]
)
_REGISTER = SQL(
    "INSERT INTO terminal (identity, {columns}, stage, stage_until) VALUES (%(terminal)s, {texts},"
    " coalesce(nullif(%(stage)s, ''), 'in_use'), nullif(%(stage_until)s, '')::timestamptz)"
    " ON CONFLICT (identity) DO UPDATE SET {given}"
).format(
    columns=SQL(", ").join(map(Identifier, _TEXTS)),
    texts=SQL(", ").join(SQL("nullif({}, '')").format(Placeholder(name)) for name in _TEXTS),
    given=_GIVEN,
)
_SET = SQL("UPDATE terminal SET {} WHERE identity = %(terminal)s").format(_GIVEN)
_UNTIL = SQL("to_char(stage_until AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
_KNOWN = SQL("SELECT identity, {}, stage, {} FROM terminal WHERE identity = ANY(%s)").format(
    SQL(", ").join(map(Identifier, _TEXTS)), _UNTIL
)
_LIST = SQL(
    "SELECT identity, protocol, coalesce(model_told, model), name, firmware, operator, customer, site, region, stage,"
    " {}, firmware_target FROM terminal ORDER BY identity"
).format(_UNTIL)
_LISTED = (
    *("terminal", "protocol", "model", "name", "firmware", "operator", "customer", "site", "region"),
    *("stage", "stage_until", "firmware_target"),
)


class TerminalError(GatewayError):
    """What was said of a terminal cannot be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="add|set|retire|import|list|send", required=True)
    for name, text in (("add", "register a terminal"), ("set", "change what is known of one")):
        action = actions.add_parser(name, help=text)
        action.add_argument("identity", metavar="ID", help="IMEI or the number it names itself with")
        action.add_argument("--protocol", metavar="P", help=f"one of {', '.join(every())}")
        action.add_argument("--model", metavar="M")
        action.add_argument("--name", metavar="N", help="what people call it")
        action.add_argument("--operator", metavar="O", help="of its mobile network")
        action.add_argument("--customer", metavar="C")
        action.add_argument("--site", metavar="S", help="where it belongs: a yard, a quarry")
        action.add_argument("--region", metavar="R")
        action.add_argument("--firmware-target", metavar="V", help="the version it should have")
        action.add_argument("--stage", metavar="STAGE", help=f"one of {', '.join(STAGES)}")
        action.add_argument("--stage-until", metavar="ISO", help="when it is in use again")
        action.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    action = actions.add_parser("retire", help="take one out of service: no ticket for its silence")
    action.add_argument("identity", metavar="ID")
    action.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    action = actions.add_parser("import", help="register many: CSV with a heading terminal[,protocol,model,name…]")
    action.add_argument("file", type=Path, metavar="FILE.csv")
    action.add_argument("--dry-run", action="store_true", help="say what would change, and write nothing")
    action.add_argument("--encoding", choices=ENCODINGS, default="", help="instead of finding out")
    action = actions.add_parser("list", help="all there are")
    action.add_argument("--json", action="store_true", help="one JSON object a line")
    terminal_send.add_arguments(actions)


def run(args: argparse.Namespace) -> int:
    """Carry it out; works while the service runs and while it does not."""
    settings = load_settings(args)
    if args.action == "send":
        return terminal_send.run(settings, args)
    if args.action == "list":
        return with_pool(settings, lambda pool: _list(pool, args.json))
    if args.action == "import":
        fleet = read_fleet(args.file, args.encoding)
        for hint in fleet.hints[:_HINTS]:
            print(f"hint: {hint}", file=sys.stderr)
        if len(fleet.hints) > _HINTS:
            print(f"hint: and {len(fleet.hints) - _HINTS} more like these", file=sys.stderr)
        return with_pool(settings, lambda pool: _import(pool, fleet.rows, dry_run=args.dry_run))
    retired = {"stage": "sold"} if args.action == "retire" else {}
    row = _checked({"terminal": args.identity, **{field: getattr(args, field, None) for field in FIELDS}, **retired})
    if args.action == "add":
        return with_pool(settings, lambda pool: _add(pool, row))
    if args.action == "retire":
        office = Office(policy=settings.desk.policy, post=Post() if settings.mail.host else None)
        return with_pool(settings, lambda pool: _retire(pool, row, office))
    return with_pool(settings, lambda pool: _set(pool, row))


async def _retire(pool: AsyncConnectionPool, row: dict[str, str | None], office: Office) -> int:
    """Out of service: its open tickets end without consent, counted apart."""
    code = await _set(pool, row)
    if code:
        return code
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT t.id, t.number FROM ticket t JOIN terminal e ON e.id = t.terminal"
            " WHERE e.identity = %s AND t.state <> 'closed' ORDER BY t.id",
            (row["terminal"],),
        )
        found = await rows.fetchall()
    for ticket, number in found:
        async with pool.connection() as connection, connection.transaction():
            body = Body(reason="scrapped")
            await act(connection, office, Action.WITHDRAW, ticket, DESK, body, datetime.now(UTC))
        print(f"ticket {number} withdrawn")
    return 0


def _checked(row: dict[str, str | None]) -> dict[str, str | None]:
    told = row["terminal"] or ""
    row = {**row, "terminal": identity_of(told) or told}
    for what in problems(row):
        raise TerminalError(what)
    return {**row, "stage_until": moment(row["stage_until"])}


async def _import(pool: AsyncConnectionPool, rows: Sequence[dict[str, str | None]], *, dry_run: bool) -> int:
    """All or nothing, and only what is new or changes."""
    async with pool.connection() as link, link.transaction(force_rollback=dry_run), link.cursor() as cursor:
        await cursor.execute(
            _KNOWN,
            ([row["terminal"] for row in rows],),
        )
        known = {identity: told for identity, *told in await cursor.fetchall()}
        new = [row for row in rows if row["terminal"] not in known]
        changed = [
            row
            for row in rows
            if row["terminal"] in known and _changes(row, dict(zip(FIELDS, known[row["terminal"]], strict=True)))
        ]
        await _register(cursor, [*new, *changed])
    told = f"{len(new)} new, {len(changed)} changed, {len(rows) - len(new) - len(changed)} as before"
    print(f"{told}: nothing was written" if dry_run else told)
    return 0


def _changes(row: dict[str, str | None], known: dict[str, str | None]) -> bool:
    """Whether `_GIVEN` would make another row of it."""
    told: dict[str, str | None] = {name: value for name, value in row.items() if name in FIELDS and value is not None}
    if "stage" in told:  # an end that is not given any more is none
        told.setdefault("stage_until", None)
    return any(value != known[name] for name, value in told.items())


async def _add(pool: AsyncConnectionPool, row: dict[str, str | None]) -> int:
    async with pool.connection() as link, link.transaction(), link.cursor() as cursor:
        await _register(cursor, [row])
    print("1 registered")
    return 0


async def _register(cursor: Any, rows: Sequence[dict[str, str | None]]) -> None:
    await cursor.executemany(_REGISTER, rows)
    await _tell(cursor, rows)


async def _set(pool: AsyncConnectionPool, row: dict[str, str | None]) -> int:
    async with pool.connection() as link, link.transaction(), link.cursor() as cursor:
        await cursor.execute(_SET, row)
        if not cursor.rowcount:
            print(f"dozor terminal: {row['terminal']} is not registered: dozor terminal add", file=sys.stderr)
            return 2
        await _tell(cursor, [row])
    return 0


async def _tell(cursor: Any, rows: Sequence[dict[str, str | None]]) -> None:
    """A running service hears of it when the transaction commits."""
    await cursor.executemany(f"SELECT pg_notify('{CHANNEL}', %(terminal)s)", rows)


async def _list(pool: AsyncConnectionPool, as_json: bool) -> int:
    async with pool.connection() as link:
        cursor = await link.execute(_LIST)
        while rows := await cursor.fetchmany(1000):
            for row in rows:
                told = dict(zip(_LISTED, row, strict=True))
                if as_json:
                    print(json.dumps(told, ensure_ascii=False))
                else:
                    print("\t".join(value or "-" for value in told.values()))
    return 0
