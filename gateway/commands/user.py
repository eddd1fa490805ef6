"""`dozor user`: who may use the desk. Works while the service runs and while it does not."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from psycopg_pool import AsyncConnectionPool

from gateway.commands.common import load_settings, with_pool
from ticketing.people.passwords import MAX_PASSWORD_BYTES, PasswordError, check
from ticketing.people.users import ROLES, SCOPES, UserError, Users

SHORT = 8  # characters; below it only a warning: what is too short depends on who can reach the desk

Work: TypeAlias = Callable[[Users], Awaitable[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    password = argparse.ArgumentParser(add_help=False)
    password.add_argument("--password-stdin", action="store_true", help="read the password from standard input")

    add = commands.add_parser("add", parents=[password], help="make an account")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", required=True, choices=ROLES)
    new = commands.add_parser("password", parents=[password], help="set a new password, end the sessions")
    new.add_argument("name", metavar="NAME")
    token = commands.add_parser("token", help="print a new API token, shown once")
    token.add_argument("name", metavar="NAME")
    token.add_argument("--scope", choices=SCOPES, default="full", help="read: may change nothing")
    remove = commands.add_parser("remove", help="remove an account, its sessions and tokens")
    remove.add_argument("name", metavar="NAME")
    commands.add_parser("list", help="all accounts")


def run(args: argparse.Namespace) -> int:
    """0 where it worked, 2 with the reason on stderr where not."""
    settings = load_settings(args)
    try:
        password = _password(args.password_stdin) if args.action in ("add", "password") else ""
    except PasswordError as error:
        print(f"dozor user: {error}", file=sys.stderr)
        return 2

    async def work(pool: AsyncConnectionPool[Any]) -> int:
        users = Users(pool)
        try:
            return await _act(users, args, password)
        except (UserError, PasswordError) as error:
            print(f"dozor user: {error}", file=sys.stderr)
            return 2
        finally:
            users.close()

    return with_pool(settings, work)


async def _act(users: Users, args: argparse.Namespace, password: str) -> int:
    match args.action:
        case "add":
            await users.add(args.name, args.role, password)
        case "password":
            await users.set_password(args.name, password)
        case "token":
            print(await users.token(args.name, args.scope))
        case "remove":
            await users.remove(args.name)
        case _:
            for account in await users.accounts():
                print(
                    f"{account.name}\t{account.role}\t{account.created_at:%Y-%m-%d}"
                    f"\t{account.sessions} sessions\t{account.tokens} tokens"
                )
    return 0


def _password(from_stdin: bool) -> str:
    """The new password: all of standard input without its last line end, or typed twice.

    Raises
    ------
    PasswordError
        If it is empty, too long, not text, or typed differently.
    """
    if from_stdin:
        data = sys.stdin.buffer.read(MAX_PASSWORD_BYTES + 3)
        try:
            password = data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise PasswordError("the password is not UTF-8") from error
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise PasswordError("the two are not the same")
    else:
        raise PasswordError("no terminal to ask on: use --password-stdin")
    check(password)
    if len(password) < SHORT:
        print(f"dozor user: a password of {len(password)} characters is easily guessed", file=sys.stderr)
    return password
