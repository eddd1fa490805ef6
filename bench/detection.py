"""What detection is worth: false tickets against delay, by kind of vehicle, as one setting is varied.

    python -m bench.detection [--vary KEY=V1,V2,…] [--terminals N] [--days N] [--seed N] [--trace FILE --truth FILE]

A month is made unless a trace is named. The table goes to stdout; figures and a picture lie under ``bench/results/``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.machine import commit_text, machine
from gateway.backtest.scores import Truth, summary
from gateway.backtest.study import Period, Result, study
from gateway.backtest.tables import Fault, beside, read_terminals, read_truth
from gateway.backtest.trace import Trace
from gateway.configuration.reading import load
from gateway.simulator.month.build import write_month
from gateway.simulator.month.facts import DAY, START

RESULTS = Path(__file__).resolve().parent / "results"
ALL = "all"
_WEEK = 7 * DAY  # that rules learn in: not counted
_COLOURS = ("#1f2a37", "#1d6fb8", "#c2571a", "#2e8b57", "#8a4fbf", "#b8860b", "#c23b5a", "#4f8f9f", "#777777")


def by_class(result: Result, known: Mapping[str, Mapping[str, str]], faults: Sequence[Fault]) -> dict[str, Any]:
    """The summary of each kind of vehicle, the first word of a terminal's name; and of all."""
    kinds: dict[str, set[str]] = {ALL: set(result.heard)}
    for name, its in known.items():
        kinds.setdefault(its.get("name", "?").split()[0], set()).add(name)
    begins, ends = result.period.begins, result.period.ends
    told = {}
    for kind, members in sorted(kinds.items()):
        its_faults = [fault for fault in faults if fault.terminal is None or fault.terminal in members]
        intervals = result.truth.intervals if result.truth is not None else {}
        truth = Truth(its_faults, known, intervals, begins, ends)
        events = [event for event in result.events if event.terminal is None or event.terminal in members]
        heard = {name: first for name, first in result.heard.items() if name in members}
        figures = summary(events, heard, begins, ends, truth)
        found = truth.found(events)
        told[kind] = figures | {"faults": len(found), "found": sum(each.at is not None for each in found)}
    return told


def measure(trace: Path, truth: Path, key: str, values: Sequence[str], begins: float) -> list[dict[str, Any]]:
    """One back-test a value: figures by kind of vehicle, and the seconds of CPU time it took."""
    known, faults = read_terminals(beside(trace)), read_truth(truth)
    rows = []
    for value in values:
        settings = load(None, {}, implicit=False, changes={key: value})
        started = time.process_time()
        result = study(Trace(trace), settings, known, faults, Period(begins))
        rows.append({"value": value, "cpu_s": time.process_time() - started, "kinds": by_class(result, known, faults)})
        print(f"{key}={value}: {rows[-1]['cpu_s']:.0f} s", file=sys.stderr)
    return rows


def table(key: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """False tickets per 1 000 terminal-days, median delay in hours, found of all, by kind."""
    lines = [f"{key:>28} " + " ".join(f"{row['value']:>22}" for row in rows)]
    for kind in rows[0]["kinds"]:
        cells = []
        for row in rows:
            its = row["kinds"][kind]
            delay = its["detect_s"]["p50"]
            shown = "-" if delay is None else f"{delay / 3600:.2f} h"
            cells.append(f"{its['false_per_1000_terminal_days']:>7} {shown:>7} {its['found']:>3}/{its['faults']:<3}")
        lines.append(f"{kind:>28} " + " ".join(cells))
    return "\n".join(lines)


def picture(key: str, rows: Sequence[Mapping[str, Any]], foot: str) -> str:
    """An SVG: one line a kind of vehicle, median delay to the right, false tickets upwards, both logarithmic."""
    width, height, left, low = 900, 560, 80, 60
    lines = {
        kind: [
            (its["detect_s"]["p50"] / 3600, max(its["false_per_1000_terminal_days"], 0.1), row["value"])
            for row in rows
            if (its := row["kinds"][kind])["detect_s"]["p50"] and its["false_per_1000_terminal_days"] is not None
        ]
        for kind in rows[0]["kinds"]
    }
    points = [point for line in lines.values() for point in line] or [(1.0, 1.0, "")]
    (x0, x1), (y0, y1) = (
        (math.floor(np.log10(min(p[axis] for p in points))), math.ceil(np.log10(max(p[axis] for p in points)) + 1e-9))
        for axis in (0, 1)
    )

    def place(delay: float, false: float) -> tuple[float, float]:
        x = left + (np.log10(delay) - x0) / max(x1 - x0, 1) * (width - left - 190)
        y = height - low - (np.log10(false) - y0) / max(y1 - y0, 1) * (height - low - 60)
        return round(float(x), 1), round(float(y), 1)

    body = [f'<text x="16" y="28" font-size="17" font-weight="600">{escape(key)}: false tickets against delay</text>']
    for power in range(x0, x1 + 1):
        x, y = place(10.0**power, 10.0**y0)
        body.append(f'<path d="M{x} {y}V60" stroke="#e2e6ea"/><text x="{x - 10}" y="{y + 18}">{10.0**power:g}</text>')
    for power in range(y0, y1 + 1):
        x, y = place(10.0**x0, 10.0**power)
        body.append(
            f'<path d="M{x} {y}H{width - 190}" stroke="#e2e6ea"/><text x="16" y="{y + 4}">{10.0**power:g}</text>'
        )
    for number, (kind, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        spots = [place(delay, false) for delay, false, _ in line]
        track = " ".join(f"{x},{y}" for x, y in spots)
        body.append(
            f'<polyline points="{track}" fill="none" stroke="{colour}" stroke-width="{3 if kind == ALL else 1.5}"/>'
        )
        for (x, y), (_, _, value) in zip(spots, line, strict=True):
            body.append(
                f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"><title>{escape(f"{kind} {value}")}</title></circle>'
            )
        body.append(f'<text x="{width - 170}" y="{80 + 22 * number}" fill="{colour}">{escape(kind)}</text>')
    body.append(
        f'<text x="{left}" y="{height - 20}">median delay, hours; upwards: false per 1 000 terminal-days</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 24}" font-family="sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="white"/>{"".join(body)}'
        f'<text x="16" y="{height + 10}" font-size="11" fill="#66727f">{escape(foot)}</text></svg>\n'
    )


def main() -> int:
    """Make or take a month, vary, tell, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description="False tickets against delay.")
    parser.add_argument("--vary", default="watch.silence.false_alarms=30,10,5,2.5", metavar="KEY=V1,V2")
    parser.add_argument("--terminals", type=int, default=600)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", type=Path, metavar="FILE.npz")
    parser.add_argument("--truth", type=Path, metavar="FILE.csv")
    args = parser.parse_args()
    key, _, values = args.vary.partition("=")
    with TemporaryDirectory(prefix="dozor-month-") as folder:
        trace, truth = args.trace, args.truth
        begins = -math.inf
        if trace is None:
            trace, truth = Path(folder) / "month.npz", Path(folder) / "truth.csv"
            write_month(args.days, args.terminals, args.seed, trace=trace, truth=truth, table=beside(trace))
            begins = START + min(_WEEK, args.days * DAY / 2)
        rows = measure(trace, truth, key, values.split(","), begins)
    print(table(key, rows))
    told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "commit": commit_text()}
    RESULTS.mkdir(exist_ok=True)
    name = RESULTS / f"detection-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    content = {**told, "key": key, "seed": args.seed, "terminals": args.terminals, "days": args.days, "rows": rows}
    name.with_suffix(".json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    foot = f"{args.terminals} terminals, {args.days} days, seed {args.seed}, commit {told['commit']}"
    name.with_suffix(".svg").write_text(picture(key, rows, foot if args.trace is None else str(args.trace)), "utf-8")
    print(name.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
