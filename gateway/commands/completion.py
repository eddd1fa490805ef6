"""`dozor completion`: what a shell needs to complete our commands and options."""

from __future__ import annotations

import argparse

import shtab

from gateway.commands.table import parser_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its argument."""
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="whose")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    print(shtab.complete(parser_of(""), args.shell))
    return 0
