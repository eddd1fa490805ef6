"""The command line. Each command is a module of `gateway.commands`, imported only when it is asked for."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from importlib import import_module

from gateway.commands.table import COMMANDS, parser_of

_CUT = 141  # as a shell tells of a program that SIGPIPE ended


def main(argv: list[str] | None = None) -> int:
    """Run a command; errors of ours are one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names and texts of terminals may have letters that it cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if argv is None else argv
    words = [word for word in arguments if not word.startswith("-")]
    asked = words[0] if words else None
    if asked == "help" and words[1:]:
        arguments, asked = (["help", words[1]], None) if words[1] not in COMMANDS else ([words[1], "--help"], words[1])
    parser = parser_of(asked)
    args, left = parser.parse_known_args(arguments)
    if left:
        parser.command(args.command).unknown(left)
    if args.version:
        args = parser_of("version").parse_args(["version"])
    if args.command in (None, "help"):
        parser.print_help(sys.stdout if args.command else sys.stderr)
        return 0 if args.command else 2
    module, runner, _, _ = COMMANDS[args.command]
    try:
        code: int = getattr(import_module(f"gateway.commands.{module}"), runner)(args)
        sys.stdout.flush()
    except _our_errors() as error:
        print(f"dozor {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except UnicodeEncodeError as error:
        if str(error.object) not in arguments:
            raise
        print(f"dozor {args.command}: {error.object!r} is no text in UTF-8: write it anew", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno == errno.EPIPE and _gone():  # whoever read it has seen enough
            _write_no_more()
            return _CUT
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _write_no_more()
        print(f"dozor {args.command}: {error.strerror}: make room", file=sys.stderr)
        return 2
    return code


def _gone() -> bool:
    """Whether nobody reads standard output any more."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _write_no_more() -> None:
    """What is left in standard output's buffer is lost; else the interpreter would try again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _our_errors() -> tuple[type[Exception], ...]:
    """Imported late: `dozor decode` needs no store."""
    from gateway.configuration.reading import ConfigError
    from gateway.errors import GatewayError
    from protocols.errors import ProtocolError

    found: list[type[Exception]] = [GatewayError, ConfigError, ProtocolError]
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None:
        found.append(psycopg.OperationalError)
    return tuple(found)


if __name__ == "__main__":
    sys.exit(main())
