"""`dozor terminal send`: a command to a terminal, and its answer if that is waited for."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from psycopg_pool import AsyncConnectionPool

from gateway.commands.common import with_pool
from gateway.configuration.settings import Settings
from gateway.service.remote_work import commands_of
from protocols.records import identity_of
from protocols.registry import command_problem
from ticketing import policies
from ticketing.commands import OPEN, Command, Wanted, checked, visible
from ticketing.core.errors import InvalidTextError, TicketingError

_LOOK = 0.3  # s between looks at its state
_LATE = 5.0  # s after its time was over, by when a running service has said so


def add_arguments(actions: Any) -> None:
    """Declare it beside the other actions of `dozor terminal`."""
    action = actions.add_parser("send", help="send a command, now or when it next logs in")
    action.add_argument("identity", metavar="ID")
    action.add_argument("text", metavar="TEXT", help="as the terminal takes it, such as getver")
    action.add_argument(
        "--expires", metavar="DURATION", default="10m", help="not sent after this: 90s, 10m (default), 24h"
    )
    action.add_argument("--key", metavar="K", help="the same one again is the same command")
    action.add_argument("--repeat", action="store_true", help="send again on a later connection while not answered")
    action.add_argument("--wait", action="store_true", help="until it is answered or over; exit 1 unless it is done")
    action.add_argument("--json", action="store_true", help="the command as one JSON object on one line")
    action.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Queue it; 2 with a message where it cannot be."""
    wanted = Wanted(args.text, args.expires, args.key, args.repeat)
    terminal = identity_of(args.identity)
    try:
        checked(wanted)
        if problem := command_problem(None, wanted.text):
            raise InvalidTextError(problem)
    except InvalidTextError as error:
        return _refuse(error)
    policy = policies.resolve(settings.desk.policy)

    async def send(pool: AsyncConnectionPool) -> int:
        commands = commands_of(pool, policy)
        try:
            command, _ = await commands.send(terminal, f"{_somebody()} (command line)", wanted)
        except TicketingError as error:
            return _refuse(error)
        if args.wait:
            print(f"queued as {command.id}, waiting for the answer", file=sys.stderr)
        while args.wait and command.state in OPEN:
            await asyncio.sleep(_LOOK)
            command = await commands.get(terminal, command.id) or command
            if command.state in OPEN and (datetime.now(UTC) - command.expires_at).total_seconds() > _LATE:
                print("dozor terminal send: its time is over, and no service says what became of it", file=sys.stderr)
                break
        print(msgspec.json.encode(command).decode() if args.json else _told(command))
        return 0 if not args.wait or command.state == "done" else 1

    return with_pool(settings, send)


def _somebody() -> str:
    """Who sits at the command line, as far as the machine says; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user {os.getuid()}"


def _refuse(why: object) -> int:
    print(f"dozor terminal send: {why}", file=sys.stderr)
    return 2


def _told(command: Command) -> str:
    """In a line; what the terminal said moves no cursor."""
    words = [f"{command.id}", command.state, *(visible(text) for text in (command.result, command.reason) if text)]
    return "\t".join(words)
