"""Which commands there are, how each is used, and the parser of that; their modules are imported when asked for."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from gateway.commands.parsing import Parser

# command -> (module, function that runs it, function that adds its arguments or "", one line of help)
COMMANDS: dict[str, tuple[str, str, str, str]] = {
    "serve": ("serve", "run", "add_arguments", "run the service"),
    "demo": ("demo", "run", "add_arguments", "the service with a simulated fleet and faults"),
    "simulate": ("simulate", "run", "add_arguments", "a simulated fleet against a listener, or as a trace"),
    "backtest": ("backtest", "run", "add_arguments", "what would have been ticketed under other settings"),
    "decode": ("decode", "run", "add_arguments", "what is in these bytes"),
    "sensor": ("sensor", "run", "add_arguments", "fuel-level sensors on a serial line"),
    "dsn": ("store", "dsn", "", "how to reach the store"),
    "migrate": ("store", "migrate_store", "", "bring the store's schema up to date"),
    "backup": ("backup", "backup", "add_backup_arguments", "store, spool and secrets into one file"),
    "restore": ("backup", "restore", "add_restore_arguments", "a data directory out of such a file"),
    "check-config": ("check_config", "run", "add_arguments", "is the configuration right"),
    "user": ("user", "run", "add_arguments", "people and tokens of the desk"),
    "terminal": ("terminal", "run", "add_arguments", "the registry of terminals"),
    "calibration": ("calibration", "run", "add_arguments", "litres of fuel-level sensors"),
    "egress": ("egress", "run", "add_arguments", "who is sent committed records, and how far"),
    "clock": ("clock", "run", "add_arguments", "when is it due, and why"),
    "policy": ("policy", "run", "add_arguments", "the support rules"),
    "journal": ("journal", "run", "add_arguments", "what was done to tickets, verified"),
    "rehearse": ("rehearse", "run", "add_arguments", "a policy played before it is signed"),
    "notify": ("notify", "run", "add_arguments", "try the channels"),
    "version": ("version", "run", "add_arguments", "which version this is"),
    "completion": ("completion", "run", "add_arguments", "completion for a shell"),
}


# command -> how it is used; docs and `--help` show the same
EXAMPLES: dict[str, tuple[str, ...]] = {
    "serve": ("dozor serve", "dozor serve --config /etc/dozor/dozor.toml --workers 4"),
    "demo": ("dozor demo", "dozor demo --terminals 500 --duration 60 --json"),
    "simulate": (
        "dozor simulate --target 127.0.0.1:5027 --protocol teltonika --terminals 100 --duration 60",
        "dozor simulate --scenario fleet.toml --truth records.jsonl --json",
        "dozor simulate --trace month.npz --truth truth.csv --days 30 --terminals 600",
    ),
    "backtest": (
        "dozor backtest --trace month.npz --truth truth.csv --compare watch.silence.floor=2h",
        "dozor backtest --from 2026-10-01 --to 2026-11-01 --set watch.silence.after=6 --json",
    ),
    "decode": (
        "dozor decode teltonika 000f333536393338303335363433383039",
        "dozor decode wialon-ips - --json < pieces.hex",
        "dozor decode auto - --tree < capture.txt",
    ),
    "sensor": (
        "dozor sensor scan /dev/ttyUSB0 --addresses 1-20",
        "dozor sensor read socket://192.168.1.7:4001 5 --json",
        "dozor sensor watch /dev/ttyUSB0 1 2 3",
        "dozor sensor calibrate /dev/ttyUSB0 5 --terminal TANK-7 --sensor 1 --step 40",
    ),
    "dsn": ('psql "$(dozor dsn)"',),
    "migrate": ("dozor migrate --config /etc/dozor/dozor.toml",),
    "backup": ("dozor backup dozor.backup",),
    "restore": ("dozor restore dozor.backup",),
    "check-config": ("dozor check-config", "dozor check-config --config new.toml"),
    "user": ("dozor user add anna --role admin", "dozor user token anna --scope read"),
    "terminal": (
        "dozor terminal add 356938035643809 --name 'Truck 12'",
        "dozor terminal import fleet.csv --dry-run",
        "dozor terminal list --json",
        "dozor terminal send 356938035643809 getver --wait",
    ),
    "calibration": (
        "dozor calibration import 356938035643809 1 tank.csv --from 2026-11-01",
        "dozor calibration show 356938035643809",
        "dozor calibration export 356938035643809 1 > tank.csv",
    ),
    "egress": ("dozor egress list", "dozor egress reset region --start beginning"),
    "clock": ("dozor clock --policy integrator-standard --clock reaction-remote --start 2026-11-21T10:00+03:00",),
    "policy": (
        "dozor policy list",
        "dozor policy show dealer-desk",
        "dozor policy check ours.toml",
        "dozor policy replay --policy ours.toml --from 2026-07-01 --to 2026-10-01",
    ),
    "journal": ("dozor journal verify", "dozor journal verify DZ-10019"),
    "rehearse": ("dozor rehearse --policy support-procedure --script week.jsonl --json",),
    "notify": ("dozor notify test",),
    "version": ("dozor version --json",),
    "completion": ("dozor completion bash > /etc/bash_completion.d/dozor", "dozor completion zsh > ~/.zfunc/_dozor"),
}


def parser_of(asked: str | None) -> Parser:
    """The parser; options are known of the command `asked` for, or of every one where it is ""."""
    parser = Parser(prog="dozor", description="A telematics gateway with auto-ticketing.")
    parser.add_argument("--version", action="store_true", help="which version this is")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, (module, _, adder, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, examples=EXAMPLES.get(name, ()))
        if asked in (name, ""):
            if adder:
                getattr(import_module(f"gateway.commands.{module}"), adder)(command)
            for one in command.family():  # after its name: before or behind what it is to do
                if not any(action.dest == "config" for action in one._actions):
                    unsaid = None if one is command else argparse.SUPPRESS
                    one.add_argument("--config", type=Path, metavar="FILE", default=unsaid, help="configuration file")
    help_ = commands.add_parser("help", help="what a command takes", description="what a command takes")
    help_.add_argument("about", nargs="?", metavar="COMMAND", choices=[*COMMANDS])
    return parser
