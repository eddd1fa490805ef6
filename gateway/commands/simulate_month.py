"""`dozor simulate --trace`: a labelled month of a mixed fleet as files, without sockets."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from gateway.backtest.tables import beside
from gateway.errors import BacktestError
from gateway.simulator.month.build import write_month

_TERMINALS = 600
_DAYS_MOST = 400  # a year of holidays and vacations
_LIVE_ONLY = ("target", "protocol", "duration", "scenario", "interval", "udp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `dozor simulate` has for it."""
    parser.add_argument(
        "--trace", type=Path, metavar="FILE.npz", help="no sockets: write a mixed fleet's days as a trace"
    )
    parser.add_argument("--days", type=_days, metavar="N", help="how many days; with --trace")
    parser.add_argument(
        "--terminals-csv",
        type=Path,
        metavar="FILE",
        help="operator, customer, site of each; default FILE.terminals.csv",
    )


def _days(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 0 < number <= _DAYS_MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days: give 1 to {_DAYS_MOST}")
    return number


def write(args: argparse.Namespace) -> int:
    """Write trace, truth and terminals.

    Raises
    ------
    BacktestError
        If options contradict one another, or a file cannot be written.
    """
    for name in _LIVE_ONLY:
        if getattr(args, name):
            raise BacktestError(f"--{name} has no meaning with --trace: leave it out")
    if args.truth is None or args.days is None:
        missing = "--truth" if args.truth is None else "--days"
        raise BacktestError(f"{missing} is missing: --trace FILE.npz --truth FILE.csv --days N belong together")
    table = args.terminals_csv or beside(args.trace)
    seed = 1 if args.seed is None else args.seed
    if seed < 0:
        raise BacktestError(f"--seed {seed}: give 0 or more")
    month = write_month(args.days, args.terminals or _TERMINALS, seed, trace=args.trace, truth=args.truth, table=table)
    told = {name: value for name, value in asdict(month).items() if name != "told"}
    told |= {"trace": str(args.trace), "truth": str(args.truth), "terminals_csv": str(table)}
    if args.json:
        print(json.dumps(told, separators=(",", ":")), flush=True)
    else:
        for name, value in told.items():
            print(f"{name:20} {value}")
    return 0
