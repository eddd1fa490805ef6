"""`dozor user`: who may use the desk. Works while the service runs and while it does not."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeAlias

from psycopg_pool import AsyncConnectionPool

from gateway.commands.common import load_settings, with_pool
from gateway.simulator.scenario import ScenarioError, parse_duration
from ticketing.core.moments import utc_now
from ticketing.people.passwords import MAX_PASSWORD_BYTES, PasswordError, check
from ticketing.people.users import ROLES, SCOPES, UserError, Users

MAX_LABEL = 64
SHORT = 8  # characters; below it only a warning: what is too short depends on who can reach the desk

Work: TypeAlias = Callable[[Users], Awaitable[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    password = argparse.ArgumentParser(add_help=False)
    password.add_argument("--password-stdin", action="store_true", help="read the password from standard input")

    add = commands.add_parser("add", parents=[password], help="make an account")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", required=True, choices=ROLES)
    add.add_argument("--email", metavar="ADDRESS", help="where letters to this user go")
    new = commands.add_parser("password", parents=[password], help="set a new password, end the sessions and tokens")
    new.add_argument("name", metavar="NAME")
    new.add_argument(
        "--no-code", action="store_true", help="and ask for no code any more: phone and recovery codes are lost"
    )
    email = commands.add_parser("email", help="say where letters to a user go")
    email.add_argument("name", metavar="NAME")
    email.add_argument("address", metavar="ADDRESS", help='"": nowhere')
    token = commands.add_parser(
        "token",
        help="print a new API token, shown once; or list tokens, or end some",
        usage="dozor user token NAME [--scope SCOPE] [--label TEXT] [--expires 90d]\n"
        "       dozor user token list [NAME]\n       dozor user token revoke ID [ID ...]",
    )
    token.add_argument("name", metavar="NAME | list | revoke", help="for whom; or what to do with those there are")
    token.add_argument("rest", nargs="*", metavar="NAME | ID", help="of list: whose; of revoke: which")
    token.add_argument("--scope", choices=SCOPES, default="full", help="read: may change nothing")
    token.add_argument("--label", type=_label, default="", metavar="TEXT", help="what it is for")
    token.add_argument(
        "--expires", type=_span, metavar="SPAN", help="after this it is none any more, such as 90d; else never"
    )
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
            await users.add(args.name, args.role, password, email=args.email)
        case "email":
            await users.set_email(args.name, args.address)
        case "password":
            await users.set_password(args.name, password, forget_code=args.no_code)
        case "token":
            return await _token(users, args)
        case "remove":
            await users.remove(args.name)
        case _:
            for account in await users.accounts():
                print(
                    f"{account.name}\t{account.role}\t{account.created_at:%Y-%m-%d}"
                    f"\t{account.sessions} sessions\t{account.tokens} tokens"
                )
    return 0


async def _token(users: Users, args: argparse.Namespace) -> int:
    if args.name == "list":
        if len(args.rest) > 1:
            return _refused("token list takes one NAME, or none")
        for token in await users.tokens(args.rest[0] if args.rest else None):
            ends = f"{token.expires_at:%Y-%m-%d}" if token.expires_at else "never"
            used = f"{token.used_at:%Y-%m-%d}" if token.used_at else "never"
            print(
                f"{token.id}\t{token.user}\t{token.scope}\t{token.label}\tmade {token.created_at:%Y-%m-%d}"
                f"\texpires {ends}\tused {used}"
            )
        return 0
    if args.name == "revoke":
        if not args.rest or not all(number.isascii() and number.isdecimal() for number in args.rest):
            return _refused("token revoke takes the IDs that `dozor user token list` tells")
        gone = [await users.revoke(int(number[:18])) for number in args.rest]
        missing = [number for number, done in zip(args.rest, gone, strict=True) if not done]
        return _refused(f"no token {', '.join(missing)}; the others have ended") if missing else 0
    if args.rest:
        return _refused(f"token {args.name} takes nothing more: quote a name with spaces")
    expires_at = utc_now() + args.expires if args.expires is not None else None
    print(await users.token(args.name, args.scope, label=args.label, expires_at=expires_at))
    return 0


def _refused(why: str) -> int:
    print(f"dozor user: {why}", file=sys.stderr)
    return 2


def _label(text: str) -> str:
    if len(text) > MAX_LABEL or not text.isprintable():
        raise argparse.ArgumentTypeError(f"at most {MAX_LABEL} printable characters")
    return text


def _span(text: str) -> timedelta:
    try:
        seconds = parse_duration(text)
    except ScenarioError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 60 <= seconds <= 10 * 366 * 86_400:
        raise argparse.ArgumentTypeError(f"{text!r}: from a minute to ten years")
    return timedelta(seconds=seconds)


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
