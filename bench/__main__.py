"""`make bench`: what Dozor does on this machine, as ratios in one run.

    python -m bench [--quick] [--json] [--only decode,ingest,latency,mqtt,workers,memory,scale,desk] [--protocols all]

Tables go to stderr, with ``--json`` the contract's object is the last line of stdout; results and plots lie under
``bench/results/``, with machine and commit.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench import decode, desk, detect, ingest, memory, mqtt, processes, report
from bench.ingest import LOADS, Load, Spoken
from bench.machine import commit_text, machine
from bench.processes import Gateway
from protocols.registry import PROTOCOLS, served

PARTS = ("decode", "ingest", "latency", "mqtt", "workers", "memory", "scale", "desk")
RESULTS = Path(__file__).resolve().parent / "results"
RATE = 5000.0  # frames a second at which latency is told
_SWEEP = (1, 5, 20, 50)  # without --quick: records in a frame, over 200 terminals with four in flight
_SPOKEN_ROUNDS, _SPOKEN_SECONDS = 3, 3.0  # of each protocol's row, at most: its frames are made beforehand
_QUICK_CONNECTIONS = 10_000
# With --quick, s after the begin: a further round of a row begins only before its time, the start at scale likewise.
_DECODED_BY, _ROW, _LAST_START = 10.0, 12.0, 125.0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Dozor on this machine.")
    parser.add_argument("--quick", action="store_true", help="under three minutes: fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="the last line of stdout is one JSON object")
    parser.add_argument("--only", default="", metavar="PART", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="rounds of each row; their medians stand")
    parser.add_argument("--seconds", type=float, help="seconds of each measurement")
    parser.add_argument("--protocols", type=_protocols, default=(), metavar="P,…", help="decode, ingest: these, or all")
    parser.add_argument("--terminals", type=int, help="ingest: one row of your own with so many terminals")
    parser.add_argument("--window", type=int, default=1, help="with --terminals: frames in flight")
    parser.add_argument("--records", type=int, default=1, help="with --terminals: records in a frame")
    parser.add_argument("--rate", type=float, default=RATE, help="latency: frames a second")
    parser.add_argument("--connections", type=int, help="memory: default what the descriptor limit gives one process")
    parser.add_argument("--reconnect", type=float, help="memory: seconds in which the whole fleet comes back")
    parser.add_argument("--fleet", type=int, default=1_000_000, help="scale: terminals")
    parser.add_argument("--no-public", action="store_true", help="decode: without public decoders, nothing is fetched")
    parser.add_argument("--readme", action="store_true", help="put the figures into README.md")
    parser.add_argument("--from", dest="taken", type=Path, metavar="FILE", help="with --readme: figures of that result")
    return parser


def _protocols(text: str) -> tuple[str, ...]:
    names = tuple(PROTOCOLS) if text == "all" else tuple(text.split(","))
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise argparse.ArgumentTypeError(f"unknown protocol {unknown[0]!r}: known are {', '.join(PROTOCOLS)}, and all")
    return names


def main() -> int:
    """Measure, tell, keep."""
    parser = _arguments()
    args = parser.parse_args()
    parts = [part for part in args.only.split(",") if part] or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    if args.taken:
        report.write_readme(json.loads(args.taken.read_text()))
        return 0
    signal.signal(signal.SIGTERM, _end)
    processes.sweep()
    result = measure(args, parts)
    _say("\n" + report.text(result))
    _keep(result)
    if args.readme:
        report.write_readme(result)
    if args.json:
        print(json.dumps(result, ensure_ascii=False), flush=True)
    return 0


def measure(args: argparse.Namespace, parts: list[str]) -> dict[str, Any]:
    """The contract's object, of the parts that are asked for."""
    begun = time.perf_counter()
    seconds = args.seconds or (1.2 if args.quick else 4.0)
    rounds = args.rounds or (2 if args.quick else 5)
    result: dict[str, Any] = {"machine": machine(), "commit": commit_text()}

    def part(name: str) -> bool:
        if name in parts:
            _say(f"[{time.perf_counter() - begun:5.1f} s] {name}")
        return name in parts

    if part("decode"):
        result["decode"] = {
            name: decode.measure(name, seconds=min(0.3 * seconds, 1.0), with_public=not args.no_public)
            for name in args.protocols or (served() if args.quick else decode.names())
        }
    if {"ingest", "latency"} & set(parts):
        with processes.gateway(Gateway) as service:
            if part("ingest"):
                result["ingest"] = []
                for number, load in enumerate(_loads(args), 1):
                    until = begun + (_DECODED_BY + number * _ROW if args.quick else 3600.0)
                    _say(f"  {load.terminals} terminals, {load.window} in flight, {load.records} records a frame")
                    result["ingest"].append(
                        ingest.measure(service, load, rounds=rounds, seconds=seconds, until=until, say=_say)
                    )
            if part("latency"):
                result["latency"] = ingest.latency(
                    service, args.rate, terminals=1000, rounds=1 if args.quick else rounds, seconds=2.5 * seconds
                )
    if args.protocols and "ingest" in parts:
        _say("  each protocol, one frame in flight")
        with processes.gateway(Spoken) as spoken:
            result["ingest"] += ingest.every(
                spoken,
                args.protocols,
                terminals=args.terminals or LOADS[0].terminals,
                rounds=min(rounds, _SPOKEN_ROUNDS),
                seconds=min(seconds, _SPOKEN_SECONDS),
                say=_say,
            )
    if part("mqtt"):
        told = mqtt.measure(rounds=rounds if not args.quick else 1, messages=6000 if args.quick else 30_000, say=_say)
        if told is not None:
            result["mqtt"] = told
    if (not args.quick or args.only) and part("workers"):
        with processes.gateway(Gateway) as one, processes.gateway(Gateway, workers=2) as two:
            result["workers"] = ingest.compare(one, two, LOADS[0], rounds=rounds, seconds=seconds, say=_say)
    if part("memory"):
        reconnect = args.reconnect or (10.0 if args.quick else 60.0)
        most = min(memory.limit(), _QUICK_CONNECTIONS) if args.quick else memory.limit()
        with processes.gateway(Gateway) as service:
            result["memory"] = memory.measure(service, args.connections or most, reconnect=reconnect)
        if not args.quick and not args.connections:
            _say("  two workers, and as many terminals as they hold")
            with processes.gateway(Gateway, workers=2) as service:
                result["memory"]["two_workers"] = memory.measure(service, memory.limit(2), reconnect=reconnect)
    if part("scale"):
        result["scale"] = detect.tick(args.fleet)
        if args.quick and time.perf_counter() - begun > _LAST_START:
            _say("  no start with the whole fleet registered: the machine is slow or busy")
            return _finished(result, begun)
        with processes.gateway(Gateway) as service:
            result["scale"] |= detect.startup(service, args.fleet)
    if (not args.quick or args.only) and part("desk"):
        result["desk"] = desk.measure(seconds=2 * seconds, say=_say)
    return _finished(result, begun)


def _finished(result: dict[str, Any], begun: float) -> dict[str, Any]:
    result["taken_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    result["seconds"] = round(time.perf_counter() - begun, 1)
    return result


def _loads(args: argparse.Namespace) -> list[Load]:
    if args.terminals:
        return [Load(args.terminals, args.window, args.records)]
    more = [] if args.quick else [Load(200, 4, records) for records in _SWEEP]
    return [*LOADS, *(load for load in more if load not in LOADS)]


def _keep(result: dict[str, Any]) -> None:
    name = f"{result['taken_at'].replace(':', '').replace('+0000', 'Z')}-{result['commit'] or 'unknown'}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    for plot, svg in report.plots(result).items():
        (RESULTS / f"{name}-{plot}.svg").write_text(svg)
    _say(f"\nkept in {RESULTS}/{name}*")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
