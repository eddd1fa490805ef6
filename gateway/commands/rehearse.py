"""`dozor rehearse`: a policy played before it is signed, on the desk itself and a clock that jumps."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from psycopg_pool import AsyncConnectionPool

from gateway import log
from gateway.errors import GatewayError
from gateway.store.embedded import EmbeddedServer
from gateway.store.migrate import migrate
from ticketing import policies
from ticketing.rehearsal.doing import ACTIONS, do_line
from ticketing.rehearsal.invent import invent
from ticketing.rehearsal.script import Line, ScriptError, read
from ticketing.rehearsal.world import World
from ticketing.working_time.errors import ClockError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `dozor rehearse`."""
    parser.add_argument("--policy", required=True, metavar="P", help="NAME, NAME@VERSION or FILE")
    parser.add_argument("--plan", metavar="N", help="for organisations that name none (default: the lowest)")
    parser.add_argument(
        "--script", metavar="FILE", help="JSON lines; - reads from stdin; without it a month is made up"
    )
    parser.add_argument("--days", type=_count, default=30, metavar="D", help="of a made-up month (default 30)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the same gives the same month (default 1)")
    parser.add_argument("--vehicles", type=_count, default=50, metavar="N", help="of the clients (default 50)")
    parser.add_argument("--engineers", type=_count, default=4, metavar="N", help="at the desk (default 4)")
    parser.add_argument("--until", metavar="ISO", help="the end, inclusive (default: 24 h after the last line)")
    parser.add_argument("--json", action="store_true", help="events as JSON lines, a summary last")


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return number


def run(args: argparse.Namespace) -> int:
    """Play it; 0 whatever the tickets do, 2 for a script or policy that cannot be played."""
    log.configure(quiet=True)
    try:
        policy = policies.resolve(args.policy)
        until = _instant(args.until)
        lines = (
            _lines(args.script)
            if args.script is not None
            else invent(policy, days=args.days, seed=args.seed, vehicles=args.vehicles, engineers=args.engineers)
        )
    except OSError as error:
        print(
            f"dozor rehearse: {error.filename or args.script}: {error.strerror}: name a file that can be read",
            file=sys.stderr,
        )
        return 2
    except (ClockError, ScriptError, ValueError) as error:
        print(f"dozor rehearse: {error}" if not isinstance(error, ScriptError) else str(error), file=sys.stderr)
        return 2
    plans = {table.name for table in policy.file.plan} | {str(table.level) for table in policy.file.plan}
    if args.plan is not None and args.plan not in plans:
        known = ", ".join(table.name for table in policy.file.plan)
        remedy = f"name one of {known}" if known else "it has none: leave --plan out"
        print(f"dozor rehearse: {policy.reference} has no plan {args.plan!r}: {remedy}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="dozor-rehearsal-") as folder:
        server = EmbeddedServer(Path(folder))
        try:
            server.ensure_running()
            migrate(server.dsn)
            for event in uvloop.run(_play(server.dsn, args.policy, args.plan, lines, until)):
                print(msgspec.json.encode(event).decode() if args.json else _said(event))
        except GatewayError as error:
            print(f"dozor rehearse: {error}", file=sys.stderr)
            return 1
        finally:
            server.stop(at_once=True)
    return 0


async def _play(
    dsn: str, policy: str, plan: str | None, lines: list[Line], until: datetime | None
) -> Iterable[dict[str, Any]]:
    pool = AsyncConnectionPool(dsn, min_size=1, max_size=8, open=False)
    await pool.open()
    world = World(pool, policy=policy, do=do_line, plan=plan)
    try:
        events = list(await world.play(lines, until))
        return [*events, await world.summary()]
    finally:
        world.close()
        await pool.close()


def _lines(script: str) -> list[Line]:
    if script == "-":
        return read("-", sys.stdin.buffer, ACTIONS)
    with Path(script).open("rb") as file:
        return read(script, file, ACTIONS)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"--until {text!r} has no offset: write 2026-03-02T08:00:00+03:00")
    return found


def _said(event: dict[str, Any]) -> str:
    if "summary" in event:
        told = event["summary"]
        letters = ", ".join(f"{count} {kind}" for kind, count in told["letters"].items()) or "none"
        return f"{told['tickets']} tickets, {told['open']} open, {told['breaches']} breaches; letters: {letters}"
    rest = {name: value for name, value in event.items() if name not in ("at", "event", "ticket")}
    words = "  ".join(f"{name}={value}" for name, value in rest.items() if value not in (None, [], ""))
    return f"{event['at']}  {event['ticket'] or '-':<10} {event['event']:<10} {words}"
