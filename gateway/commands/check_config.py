"""`dozor check-config`: is the configuration usable, and if not, what is wrong where."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.configuration.reading import ConfigError, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the file to check instead of the first found")


def run(args: argparse.Namespace) -> int:
    """0 where the configuration is usable; 2 with one line a problem on stderr."""
    try:
        settings = load(args.config, whole=True)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    print(f"{settings.file or 'defaults and environment'}: usable")
    return 0
