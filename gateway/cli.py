"""The command line. Each command is a module of `gateway.commands`, imported only when it is asked for."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

# command -> (module, function that runs it, function that adds its arguments or "", one line of help)
COMMANDS: dict[str, tuple[str, str, str, str]] = {
    "serve": ("serve", "run", "add_arguments", "run the service"),
    "demo": ("demo", "run", "add_arguments", "the service with a simulated fleet and faults"),
    "simulate": ("simulate", "run", "add_arguments", "a simulated fleet against a listener"),
    "decode": ("decode", "run", "add_arguments", "what is in these bytes"),
    "dsn": ("store", "dsn", "", "how to reach the store"),
    "migrate": ("store", "migrate_store", "", "bring the store's schema up to date"),
    "check-config": ("check_config", "run", "add_arguments", "is the configuration right"),
    "user": ("user", "run", "add_arguments", "people and tokens of the desk"),
    "terminal": ("terminal", "run", "add_arguments", "the registry of terminals"),
    "clock": ("clock", "run", "add_arguments", "when is it due, and why"),
    "policy": ("policy", "run", "add_arguments", "the support rules"),
    "notify": ("notify", "run", "add_arguments", "try the channels"),
    "version": ("version", "run", "add_arguments", "which version this is"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; errors of ours are one line on stderr and exit code 2."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="dozor", description="A telematics gateway with auto-ticketing.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, _, adder, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == asked:
            if adder:
                getattr(import_module(f"gateway.commands.{module}"), adder)(command)
            if not any(action.dest == "config" for action in command._actions):
                command.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    args = parser.parse_args(arguments)
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
    from gateway.config import ConfigError
    from gateway.errors import GatewayError
    from protocols.errors import ProtocolError

    found: list[type[Exception]] = [GatewayError, ConfigError, ProtocolError]
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None:
        found.append(psycopg.OperationalError)
    return tuple(found)


if __name__ == "__main__":
    sys.exit(main())
