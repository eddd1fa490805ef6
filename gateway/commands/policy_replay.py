"""`dozor policy replay`: what other rules would have made of the tickets that there were."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.commands.instants import day_or_instant
from ticketing import policies
from ticketing.clocks.replay import Changed, Replay, replay

_SHOWN = 200  # lines of each kind; `--json` has all


def replayed(args: argparse.Namespace) -> int:
    """Read the store's journals under the policy; 2 with a message where that cannot be.

    Raises
    ------
    ClockError
        If there is no such policy.
    """
    try:
        policy = policies.resolve(args.policy)
    except OSError as error:
        print(f"dozor policy replay: cannot read {args.policy} ({error.strerror}). Name a policy", file=sys.stderr)
        return 2
    plans = {name for table in policy.file.plan for name in (table.name, str(table.level))}
    if args.plan is not None and args.plan not in plans:
        known = ", ".join(table.name for table in policy.file.plan) or "it has none"
        print(f"dozor policy replay: {policy.reference} has no plan {args.plan!r}: {known}", file=sys.stderr)
        return 2
    try:
        begin, end = (_time(name, getattr(args, name)) for name in ("from", "to"))
    except ValueError as error:
        print(f"dozor policy replay: {error}", file=sys.stderr)
        return 2
    if end <= begin:
        print("dozor policy replay: --to is not after --from. Name a later end", file=sys.stderr)
        return 2
    from gateway.commands.common import load_settings, with_pool  # late: the other actions need no store

    async def work(pool: Any) -> int:
        async with pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found = await replay(connection, policy, begin, end, datetime.now(UTC), plan=args.plan)
        if args.json:
            told = {**found.as_json(), "from": begin.isoformat(), "to": end.isoformat()}
            print(msgspec.json.encode(told).decode())
        else:
            _tell(found)
        return 0

    return with_pool(load_settings(args), work)


def _time(name: str, text: str) -> datetime:
    try:
        return day_or_instant(text)
    except ValueError as error:
        said = "such as 2026-12-31 nor an instant with its offset"
        raise ValueError(f"--{name} {text!r} is neither a day {said}") from error


def _tell(found: Replay) -> None:
    print(f"{found.tickets} tickets under {found.policy}: {found.after} breaches, {found.before} as it was")
    for title, changes in (("Added", found.added), ("Removed", found.removed)):
        print(f"{title}: {len(changes)}")
        for change in changes[:_SHOWN]:
            print(f"  {_line(change)}")
        if len(changes) > _SHOWN:
            print(f"  and {len(changes) - _SHOWN} more: --json has all")
    if found.unknown:
        print(f"Clocks that cannot be told: {', '.join(found.unknown[:_SHOWN])}")
    if found.left_out:
        print(f"Left out, without records of their clocks: {', '.join(found.left_out[:_SHOWN])}")


def _line(change: Changed) -> str:
    cycle = "" if change.cycle == 1 else f", cycle {change.cycle}"
    return f"{change.ticket}  {change.clock}{cycle}, due {change.due.isoformat()}"
