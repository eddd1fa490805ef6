"""`dozor egress`: who is sent committed records, how far they are, and beginning anew."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from psycopg_pool import AsyncConnectionPool

from gateway.commands.common import load_settings, with_pool
from gateway.configuration.carriers import Egress
from gateway.errors import GatewayError
from gateway.store.cursors import BEGINNING, NOW, Consumer, consumers, ensure, forget, reset


class EgressError(GatewayError):
    """What was asked of a consumer cannot be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="list|reset", required=True)
    action = actions.add_parser("list", help="all consumers that have a cursor, or are configured")
    action.add_argument("--json", action="store_true", help="one JSON object a line")
    action = actions.add_parser(
        "reset", help="begin anew as the configuration says; one that is not configured any more is forgotten"
    )
    action.add_argument("name", metavar="NAME")
    action.add_argument("--start", choices=(NOW, BEGINNING), help="in place of what the configuration says")
    action.add_argument(
        "--json", action="store_true", help="the consumer as `list` shows it, null where it is forgotten"
    )


def run(args: argparse.Namespace) -> int:
    """Carry it out; works while the service runs and while it does not."""
    settings = load_settings(args)
    configured = {entry.name: entry for entry in settings.egress}
    if args.action == "list":
        return with_pool(settings, lambda pool: _list(pool, configured, args.json))
    return with_pool(settings, lambda pool: _reset(pool, configured, args.name, args.start, args.json))


async def _list(pool: AsyncConnectionPool[Any], configured: dict[str, Egress], as_json: bool) -> int:
    async with pool.connection() as link:
        found = await consumers(link)
    shown = [_object(consumer, configured) for consumer in found]
    known = {consumer.name for consumer in found}
    shown += [_object(None, configured, name) for name in sorted(configured.keys() - known)]
    if as_json:
        for told in shown:
            print(json.dumps(told, separators=(",", ":")))
        return 0
    for told in shown:
        print(f"{told['name']}  {_words(told)}")
    if not shown:
        print("no egress is configured", file=sys.stderr)
    return 0


async def _reset(
    pool: AsyncConnectionPool[Any], configured: dict[str, Egress], name: str, start: str | None, as_json: bool
) -> int:
    entry = configured.get(name)
    async with pool.connection() as link:
        if entry is None:
            if start is not None:
                raise EgressError(f"no egress {name!r} is configured, so it cannot begin anew")
            if not await forget(link, name):
                raise EgressError(f"there is no egress {name!r}: `dozor egress list` shows those there are")
        elif not await reset(link, name, start or entry.start):
            await ensure(link, [(name, start or entry.start)])
        found = [consumer for consumer in await consumers(link) if consumer.name == name]
    if as_json:
        print(json.dumps(_object(found[0], configured) if found else None, separators=(",", ":")))
    else:
        print(f"{name}: begins anew ({start or entry.start})" if entry is not None else f"{name}: forgotten")
    return 0


def _object(consumer: Consumer | None, configured: dict[str, Egress], name: str = "") -> dict[str, Any]:
    """The same for people and programs; URLs are shown without who we are there."""
    entry = configured.get(consumer.name if consumer is not None else name)
    told: dict[str, Any] = {
        "name": consumer.name if consumer is not None else name,
        "consumer": f"{entry.url.scheme}://{entry.url}" if entry is not None else None,
        "state": _state(consumer, entry),
        "lag_seconds": None,
        "waiting": None,
        "sent": None,
        "aside": None,
        "lost": None,
        "created_at": None,
    }
    if consumer is not None:
        lag = max(0.0, time.time() - consumer.oldest.timestamp()) if consumer.oldest is not None else 0.0
        told |= {
            "lag_seconds": round(lag, 3),
            "waiting": None if consumer.history else consumer.waiting,
            "sent": consumer.sent,
            "aside": consumer.aside,
            "lost": consumer.lost,
            "created_at": f"{consumer.created_at:%Y-%m-%dT%H:%M:%SZ}",
        }
    return told


def _state(consumer: Consumer | None, entry: Egress | None) -> str:
    if consumer is None:
        return "new"
    if entry is None and not consumer.held:
        return "not configured"
    if not consumer.held:
        return "stopped"
    return "history" if consumer.history else "following"


def _words(told: dict[str, Any]) -> str:
    parts = [told["state"], told["consumer"] or "–"]
    if told["sent"] is not None:
        waiting = "history" if told["waiting"] is None else f"{told['waiting']} records"
        parts += [f"waiting: {waiting}, {told['lag_seconds']:.0f} s", f"sent: {told['sent']}"]
        parts += [f"{name}: {told[name]}" for name in ("aside", "lost") if told[name]]
    return "  ".join(parts)
