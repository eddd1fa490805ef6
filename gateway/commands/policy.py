"""`dozor policy list|show|check|replay`: the support rules as data, and past tickets under others."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from gateway.commands.policy_replay import replayed
from ticketing import policies
from ticketing.clocks.words import budget_text
from ticketing.working_time.errors import ClockError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="list|show|check|replay", required=True)
    listing = commands.add_parser("list", help="the shipped policies")
    listing.add_argument("--json", action="store_true", help="one JSON object on one line")
    show = commands.add_parser("show", help="everything one policy says")
    show.add_argument("name", metavar="NAME[@VERSION]")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on one line")
    form.add_argument("--toml", action="store_true", help="the policy file itself: a template for your own")
    check = commands.add_parser("check", help="check a policy file; exit 2 if it is wrong")
    check.add_argument("file", metavar="FILE", type=Path)
    replay = commands.add_parser("replay", help="past tickets under other rules: breaches added and removed")
    replay.add_argument("--policy", required=True, metavar="P", help="NAME, NAME@VERSION or FILE")
    replay.add_argument("--plan", metavar="N", help="that all tickets are given (default: each its own)")
    for name, what in (("--from", "opened on or after this"), ("--to", "and before this")):
        replay.add_argument(
            name, required=True, dest=name[2:], metavar="TIME", help=f"tickets {what}: a day in UTC, or an instant"
        )
    replay.add_argument("--json", action="store_true", help="one JSON object on one line")


def run(args: argparse.Namespace) -> int:
    try:
        if args.action == "list":
            return _list(args.json)
        if args.action == "show":
            if args.toml:
                print(policies.source(args.name), end="")
                return 0
            return _show(policies.get(args.name), args.json)
        if args.action == "replay":
            return replayed(args)
        return _check(args.file)
    except ClockError as error:
        print(f"dozor policy: {error}", file=sys.stderr)
        return 2


def _list(as_json: bool) -> int:
    found = policies.book().list()
    if as_json:
        items = [
            {"name": policy.name, "version": policy.version, "title": policy.file.title, "clocks": list(policy.clocks)}
            for policy in found
        ]
        print(msgspec.json.encode({"policies": items}).decode())
        return 0
    width = max(len(policy.reference) for policy in found)
    for policy in found:
        print(f"{policy.reference:<{width}}  {policy.file.title}: {', '.join(policy.clocks)}")
    return 0


def _show(policy: policies.Policy, as_json: bool) -> int:
    if as_json:
        print(msgspec.json.encode(policy.as_json()).decode())
        return 0
    file, given = policy.file, policy.file.working_time
    print(f"{policy.reference}: {file.title} (regulation {file.source})")
    print(f"Working time: {given.days} {given.hours}, calendar {given.calendar}, {given.time_zone}")
    for day in file.exception:
        state = f"open {day.hours or given.hours}" if day.open else "closed"
        print(f"  {day.date}: {state}, {day.reason}")
    print(f"A new ticket takes: {policy.ticket_clock or 'no clock'}")
    print("Clocks:")
    width = max(len(name) for name in policy.clocks)
    for name, terms in policy.clocks.items():
        ours = "; our default, the regulation is silent" if terms.table.ours else ""
        budget = budget_text(terms.budget.kind, terms.budget.amount)
        starts = terms.table.starts.replace("-", " ")
        print(f"  {name:<{width}}  {budget}, from: {starts} ({', '.join(terms.table.requirements)}{ours})")
    for title, lines in (
        ("Priorities", [f"{entry.level} {entry.name}: {', '.join(entry.clocks)}" for entry in file.priority]),
        ("Plans", [f"{entry.level} {entry.name}: {', '.join(entry.clocks)}" for entry in file.plan]),
        ("Channels", [f"{entry.name}, rank {entry.rank}, proof {entry.proof}" for entry in file.channel]),
        ("Tiers", [f"{entry.level} {entry.name}: {entry.duty}" for entry in file.tier]),
        ("Escalation", [f"{entry.name}: {len(entry.steps)} steps, until {entry.stops_on}" for entry in file.ladder]),
        ("Closing", [f"by {' or '.join(file.consent.accepted)} consent"] if file.consent else []),
        ("Letters", [f"{entry.kind}, to {', '.join(entry.to)}" for entry in file.letter]),
        ("Deferral", [f"{entry.code}: needs {entry.needs}" for entry in file.deferral]),
    ):
        if lines:
            print(f"{title}:")
            for line in lines:
                print(f"  {line}")
    return 0


def _check(file: Path) -> int:
    try:
        complaints = policies.problems(file)
    except OSError as error:
        print(f"dozor policy: cannot read {file} ({error.strerror}). Give a readable file", file=sys.stderr)
        return 2
    if complaints:
        for complaint in complaints:
            print(complaint, file=sys.stderr)
        return 2
    policy = policies.load(file)
    print(f"{file}: good. {policy.reference}, {len(policy.clocks)} clocks")
    return 0
