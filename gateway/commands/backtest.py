"""`dozor backtest`: what would have been ticketed, by this version and under these settings."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.backtest.events import Event
from gateway.backtest.scores import zones_named, zones_right_by_confidence
from gateway.backtest.stored import Stored
from gateway.backtest.study import Period, Result, Source, doubts, study
from gateway.backtest.tables import Fault, beside, instant, read_terminals, read_truth
from gateway.backtest.trace import Trace
from gateway.commands.common import with_dsn
from gateway.configuration import reading
from gateway.configuration.settings import Settings
from gateway.errors import BacktestError

LEARNING = 28 * 86_400.0  # s before --from that are read of the store, to learn from
_PART = "watch."  # of the keys: nothing else decides what is ticketed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `dozor backtest`."""
    parser.add_argument("--trace", type=Path, metavar="FILE.npz", help="over this trace; else over what is stored")
    parser.add_argument("--terminals", type=Path, metavar="FILE.csv", help="operator, customer, site of each terminal")
    parser.add_argument("--truth", type=Path, metavar="FILE.csv", help="the true faults: score against them")
    parser.add_argument("--from", dest="begins", type=_instant, metavar="ISO", help="tickets count from here on")
    parser.add_argument("--to", dest="ends", type=_instant, metavar="ISO", help="end here")
    parser.add_argument("--set", type=_change, action="append", default=[], metavar="KEY=VALUE", help="another setting")
    parser.add_argument(
        "--compare", type=_change, action="append", default=[], metavar="KEY=VALUE", help="and once more with this one"
    )
    parser.add_argument("--json", action="store_true", help="one event a line, the summary last")


def _instant(text: str) -> float:
    try:
        return instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _change(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE: write for example watch.silence.floor=10m")
    return key.strip(), value.strip()


def run(args: argparse.Namespace) -> int:
    """0; 2 for wrong use, an unknown key, a bad file, or nothing in the period."""
    if args.begins is not None and args.ends is not None and args.ends <= args.begins:
        raise BacktestError("--to is not after --from: swap them")
    changes = [dict(args.set), *([{**dict(args.set), **dict(args.compare)}] if args.compare else [])]
    settings = [_settings(args.config, each) for each in changes]
    faults = read_truth(args.truth) if args.truth is not None else None
    known = read_terminals(args.terminals) if args.terminals is not None else None
    period = Period(*(bound if bound is not None else side for bound, side in zip(
        (args.begins, args.ends), (float("-inf"), float("inf")), strict=True)))  # fmt: skip
    if args.trace is not None:
        table = beside(args.trace)
        if known is None:
            known = read_terminals(table) if table.exists() else {}
        _study_all(Trace(args.trace), known, faults, period, settings, args)
        return 0

    def stored(dsn: str) -> None:
        source = Stored(dsn, period.begins - LEARNING, period.ends)
        merged = {name: {**its, **(known or {}).get(name, {})} for name, its in source.attributes.items()}
        _study_all(source, merged, faults, period, settings, args)

    with_dsn(settings[0], stored)
    return 0


def _settings(file: Path | None, changes: Mapping[str, str]) -> Settings:
    for key in changes:
        if key in reading.KEYS and not key.startswith(_PART):
            raise BacktestError(f"{key} decides nothing here: give keys of {_PART}*")
    return reading.load(file, changes=changes)


def _study_all(
    source: Source,
    known: Mapping[str, Mapping[str, str]],
    faults: Sequence[Fault] | None,
    period: Period,
    settings: Sequence[Settings],
    args: argparse.Namespace,
) -> None:
    if faults is not None:
        faults, odd = doubts(source.names, known, faults)
        for what in odd:
            print(f"dozor backtest: {what}", file=sys.stderr)
    # The second run is told by its summary alone.
    told = [_print_event if args.json else None, None]
    results = [study(source, each, known, faults, period, tell) for each, tell in zip(settings, told, strict=False)]
    if args.json:
        for number, result in enumerate(results):
            line: dict[str, Any] = {"summary": result.summary}
            if number:
                line["compare"] = dict(args.compare)
            print(json.dumps(line, separators=(",", ":")), flush=True)
    else:
        titles = ["as set", ", ".join("=".join(change) for change in args.compare)]
        _print_table(results, titles[: len(results)])


def _print_event(event: Event) -> None:
    print(event.as_json())


def _print_table(results: Sequence[Result], titles: Sequence[str]) -> None:
    rows: dict[str, list[str]] = {}

    def put(name: str, number: int, value: object) -> None:
        rows.setdefault(name, ["-"] * len(results))[number] = "-" if value is None else str(value)

    for number, result in enumerate(results):
        told = result.summary
        put("terminal-days", number, told["terminal_days"])
        for kind, count in told["tickets"].items():
            put(f"tickets: {kind}", number, count)
        events = Counter((event.event, event.kind) for event in result.events)
        for (event, kind), count in sorted(events.items()):
            if event not in ("opened", "platform"):
                put(f"{event}: {kind}", number, count)
        put("tickets per 1 000 terminal-days", number, told["tickets_per_1000_terminal_days"])
        if result.truth is None:
            continue
        put("false per 1 000 terminal-days", number, told["false_per_1000_terminal_days"])
        found = result.truth.found(result.events)
        put("faults found", number, f"{sum(each.at is not None for each in found)} of {len(found)}")
        put("delay, h (p50 / p95)", number, _pair(told["detect_s"], 3600))
        put("delay, own intervals (p50 / p95)", number, _pair(told["detect_intervals"], 1))
        mass = told["mass"]
        put("faults of groups with one ticket", number, f"{mass['one_ticket']} of {mass['injected']}")
        put("purity of their members", number, mass["members_purity"])
        put("zones right", number, told["zones_right"])
        for zone, named in zones_named(found).items():
            put(f"zone {zone}, named", number, ", ".join(f"{name} {count}" for name, count in named.items()))
        for (low, high), (right, count) in zones_right_by_confidence(found).items():
            put(f"zones right at confidence {low:g} to {high:g}", number, f"{right} of {count}")
    width = max(map(len, rows))
    if len(titles) > 1:
        print(" " * width, *(f"{title:>24}" for title in titles))
    for name, values in rows.items():
        print(f"{name:{width}}", *(f"{value:>24}" for value in values))


def _pair(quantiles: Mapping[str, float | None], unit: float) -> str | None:
    low, high = quantiles["p50"], quantiles["p95"]
    return None if low is None or high is None else f"{low / unit:.2f} / {high / unit:.2f}"
