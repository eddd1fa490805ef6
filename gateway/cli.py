"""The command line. Each command is a module of `gateway.commands`, imported only when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module

from gateway.commands.table import COMMANDS, parser_of


def main(argv: list[str] | None = None) -> int:
    """Run a command; errors of ours are one line on stderr and exit code 2."""
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
    except _our_errors() as error:
        print(f"dozor {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


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
