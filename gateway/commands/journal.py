"""`dozor journal verify`: whether anybody has rewritten what was done to tickets."""

from __future__ import annotations

import argparse
import sys

from psycopg_pool import AsyncConnectionPool

from gateway.commands.common import load_settings, with_pool
from ticketing.core.journal import verify
from ticketing.core.numbers import parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its subcommand."""
    actions = parser.add_subparsers(dest="action", metavar="verify", required=True)
    action = actions.add_parser("verify", help="check the chain of hashes; exit 1 at the first entry that does not fit")
    action.add_argument("number", metavar="NUMBER", nargs="?", help="of one ticket; without it all of them")


def run(args: argparse.Namespace) -> int:
    """Check; works while the service runs and while it does not."""
    number = None
    if args.number is not None:
        number = parse(args.number)
        if number is None:
            print(f"dozor journal: {args.number!r} is no ticket's number: write it as on its page", file=sys.stderr)
            return 2
    return with_pool(load_settings(args), lambda pool: _verify(pool, number))


async def _verify(pool: AsyncConnectionPool, number: str | None) -> int:
    async with pool.connection() as connection:
        checked, broken = await verify(connection, number)
    if number is not None and not checked:
        print(f"dozor journal: there is no ticket {number}", file=sys.stderr)
        return 2
    for one in broken:
        print(f"{one.number}: entry {one.seq} does not fit the one before: it, or one before it, was changed")
    if not broken:
        print(f"{checked} ticket{'' if checked == 1 else 's'}: every entry fits")
    return 1 if broken else 0
