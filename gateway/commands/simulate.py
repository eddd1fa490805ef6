"""`dozor simulate`: a fleet of terminals with ground truth, against any gateway."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

import msgspec
import uvloop

from gateway.commands import simulate_line, simulate_month
from gateway.errors import BacktestError
from gateway.mqtt import Broker
from gateway.simulator.run import FleetRun, expected_row
from gateway.simulator.scenario import (
    LEAST_INTERVAL,
    Intervals,
    Scenario,
    ScenarioError,
    load_scenario,
    mixed,
    not_over_udp,
    over_udp,
    parse_duration,
    parse_target,
)
from gateway.simulator.truth import Truth, iso
from protocols.registry import LINES, PROTOCOLS, every, terminals

MIXED = "mixed"
_PROGRESS = 5.0  # seconds between two lines of progress
_SLEEPERS = 10  # with --interval: how much rarer a sleeping vehicle reports


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ScenarioError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _target(text: str) -> str:
    try:
        parse_target(text)
    except ScenarioError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 0 < number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of terminals: give 1 to 1000000")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `dozor simulate`."""
    parser.add_argument(
        "--target",
        type=_target,
        metavar="TARGET",
        help="the gateway's listener, HOST:PORT, or a broker, mqtt://HOST:PORT",
    )
    parser.add_argument(
        "--protocol", choices=(*every(), MIXED), metavar="P",
        help=f"one of {', '.join(every())}, or {MIXED}: a fleet of all that are spoken on sockets",
    )  # fmt: skip
    parser.add_argument("--terminals", type=_count, metavar="N", help="how many terminals")
    parser.add_argument("--duration", type=_duration, metavar="S", help="end after so long; else on a signal")
    parser.add_argument("--seed", type=int, metavar="N", help="same seed, same fleet, same faults (default 1)")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="TOML file: mix, intervals, faults")
    parser.add_argument(
        "--interval", type=_duration, metavar="S", help="seconds between reports, instead of usual ones"
    )
    parser.add_argument("--udp", action="store_true", help=f"over UDP ({over_udp()})")
    parser.add_argument(
        "--truth", type=Path, metavar="FILE",
        help="write every record, one JSON object a line; with --trace the faults, as CSV",
    )  # fmt: skip
    simulate_month.add_arguments(parser)
    simulate_line.add_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="end with one JSON object of what was sent and acknowledged"
    )


def _scenario(args: argparse.Namespace) -> tuple[Scenario, dict[str, str]]:
    """The file, with the options over it; and the targets."""
    scenario = load_scenario(args.scenario) if args.scenario is not None else Scenario()
    changes: dict[str, Any] = {}
    if args.protocol == MIXED:
        changes["mix"] = mixed(name for name in PROTOCOLS if not args.udp or "udp" in terminals(name))
    elif args.protocol is not None:
        changes["mix"] = {args.protocol: 1.0}
    elif args.scenario is None:
        raise ScenarioError("--protocol is missing: name one, or give a --scenario with a mix")
    if args.terminals is not None:
        changes["terminals"] = args.terminals
    elif args.scenario is None:
        raise ScenarioError("--terminals is missing: give a number, or a --scenario that has one")
    for name in ("seed", "duration"):
        if getattr(args, name) is not None:
            changes[name] = getattr(args, name)
    if args.interval is not None:
        if args.interval < LEAST_INTERVAL:
            raise ScenarioError(f"--interval must be {LEAST_INTERVAL:g} s or more")
        every = args.interval
        changes["intervals"] = Intervals(moving=every, idling=every, parked=every, sleeping=every * _SLEEPERS)
    if args.udp:
        changes["transport"] = "udp"
    scenario = msgspec.structs.replace(scenario, **changes)
    used = {name for name, weight in scenario.mix.items() if weight > 0}
    if unable := not_over_udp(scenario):
        raise ScenarioError(f"--udp: {unable} is not simulated over UDP: take --protocol {over_udp()}")
    targets = dict(scenario.targets)
    if args.target is not None:
        if len(used) > 1 and args.protocol != MIXED and not isinstance(parse_target(args.target), Broker):
            raise ScenarioError(
                "one --target cannot serve several protocols: put [targets] into the scenario, or name a listener that "
                f"tells them apart (auto) and take --protocol {MIXED}"
            )
        targets = dict.fromkeys(used, args.target)
    if used - set(targets):
        raise ScenarioError("--target is missing: give HOST:PORT or mqtt://HOST:PORT, or [targets] in the scenario")
    return scenario, targets


async def _simulate(scenario: Scenario, targets: dict[str, str], truth: Truth, *, quiet: bool) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    run = FleetRun(scenario, targets, truth=truth)
    started = time.monotonic()
    run.start()
    while not ended.is_set():
        left = scenario.duration - (time.monotonic() - started) if scenario.duration else _PROGRESS
        if left < 0.01:  # timers may be a millisecond early
            break
        try:
            await asyncio.wait_for(ended.wait(), min(left, _PROGRESS))
        except TimeoutError:
            if not quiet:
                _progress(truth, time.monotonic() - started)
    await run.stop()
    return {
        "terminals": len(run.fleet),
        "seed": scenario.seed,
        "targets": targets,
        "started_at": iso(run.clock.unix),
        "duration_s": round(time.monotonic() - started, 3),
        **truth.summary(),
    }


def _progress(truth: Truth, seconds: float) -> None:
    print(
        f"{seconds:6.0f} s  logins {truth.total('logins')}  records sent {truth.total('records_sent')}, acknowledged "
        f"{truth.total('records_acked')}  p99 {truth.latency_ms(0.99) or 0:.1f} ms  faults {len(truth.faults)}  "
        f"violations {truth.violation_count}",
        file=sys.stderr,
        flush=True,
    )


def _write_truth(file: IO[str], truth: Truth) -> None:
    for record in truth.records:
        row = expected_row(record)
        json.dump({**row, "sends": record.sends, "acked": record.acked}, file, separators=(",", ":"))
        file.write("\n")


def run(args: argparse.Namespace) -> int:
    """0; 1 where nobody could log in or a terminal was told to erase what it had not sent; 2 for wrong use."""
    if args.trace is not None:
        return simulate_month.write(args)
    if args.serial is not None:
        return simulate_line.run(args)
    if args.protocol in LINES:
        print(f"dozor simulate: {args.protocol} is spoken on a serial line: --serial PORT makes one", file=sys.stderr)
        return 2
    if args.days is not None or args.terminals_csv is not None:
        raise BacktestError("--days and --terminals-csv belong to --trace FILE.npz: name it")
    try:
        scenario, targets = _scenario(args)
        truth_file = args.truth.open("w", encoding="utf-8") if args.truth is not None else None
    except (ScenarioError, OSError) as error:
        print(f"dozor simulate: {error}", file=sys.stderr)
        return 2
    truth = Truth(keep_records=truth_file is not None)
    summary = uvloop.run(_simulate(scenario, targets, truth, quiet=False))
    if truth_file is not None:
        with truth_file:
            _write_truth(truth_file, truth)
    if args.json:
        print(json.dumps(summary, separators=(",", ":")), flush=True)
    else:
        for name, value in summary.items():
            if not isinstance(value, (dict, list)):
                print(f"{name:20} {value}")
        for item in (*summary["faults"], *summary["violation_examples"]):
            print("  ".join(str(value) for value in item.values() if value))
    if not truth.total("logins"):
        _explain(summary, truth)
    return 1 if truth.violation_count or not truth.total("logins") else 0


def _explain(summary: dict[str, Any], truth: Truth) -> None:
    """Why nobody logged in, as far as the terminals can tell."""
    where = ", ".join(sorted(set(summary["targets"].values())))
    if not truth.total("connections"):
        why = f"nothing answers at {where}: is the service running, and does it listen there (listen.address)?"
    elif truth.total("logins_refused"):
        why = f"{where} refused all logins: login.policy admits registered terminals alone (dozor terminal add)"
    else:
        why = f"{where} took connections but answered no login: does it speak this protocol there?"
    print(f"dozor simulate: nobody could log in: {why}", file=sys.stderr)
