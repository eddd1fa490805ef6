"""`dozor simulate --serial PORT`: fuel-level sensors on a serial line that is not there."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

from gateway.configuration.speaking import profile
from gateway.configuration.values import Origin, WrongValueError
from gateway.simulator.lines import Line, Sensors, Sent
from protocols.registry import LINES, line


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give 0 to 1")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a line."""
    parser.add_argument(
        "--serial", type=Path, metavar="PORT", help=f"instead: a port of that name with sensors ({', '.join(LINES)})"
    )
    parser.add_argument("--sensors", type=int, metavar="N", help="with --serial: how many, from address 1 (default 1)")
    parser.add_argument("--errors", type=_share, metavar="SHARE", help="with --serial: of the answers (default 0)")
    parser.add_argument("--profile", metavar="NAME|FILE", help="with --serial: registers of modbus-fuel")


def run(args: argparse.Namespace) -> int:
    """Until a signal, or for `--duration`; 0, or 2 for wrong use."""
    name = args.protocol or "lls"
    try:
        if name not in LINES:
            raise ValueError(f"{name} is not spoken on a serial line: take {' or '.join(LINES)}")
        addresses = line(name).addresses
        count = 1 if args.sensors is None else args.sensors
        if not 1 <= count <= len(addresses):
            raise ValueError(f"--sensors {count}: give 1 to {len(addresses)}")
        registers = profile(args.profile or "", Origin(Path.cwd(), text=True)).registers
        if line(name).takes_profile != (registers is not None):
            raise ValueError(f"--profile: {name} {'has none' if registers else 'needs one'}")
        if not _ours(args.serial):
            raise ValueError(f"{args.serial} is there, and no simulated port")
        if args.truth is not None:
            args.truth.open("a", encoding="utf-8").close()  # an hour later it would be too late
    except (ValueError, WrongValueError, OSError) as error:
        print(f"dozor simulate: {error}", file=sys.stderr)
        return 2
    sensors = Sensors(
        name, addresses[:count], seed=1 if args.seed is None else args.seed, errors=args.errors or 0.0,
        profile=registers,
    )  # fmt: skip
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        bus = Line(sensors, args.serial.absolute())
    except OSError as error:
        print(f"dozor simulate: {args.serial} cannot be made: {error.strerror}", file=sys.stderr)
        return 2
    try:
        print(f"{count} sensors answer on {bus.port}", file=sys.stderr, flush=True)
        ended.wait(args.duration)
    finally:
        bus.close()
    _tell(args, bus.port, sensors)
    return 0


def _ours(port: Path) -> bool:
    """Nothing is there, or what an earlier run has left: a link to a pseudo-terminal, or to one that is gone.

    Any other link is somebody's way to a device, such as those in /dev/serial/by-id.
    """
    if port.is_symlink():
        return port.readlink().parent == Path("/dev/pts")
    return not port.exists()


def _tell(args: argparse.Namespace, port: str, sensors: Sensors) -> None:
    if args.truth is not None:
        with args.truth.open("w", encoding="utf-8") as file:
            for sent in sensors.sent:
                file.write(json.dumps(dict(zip(Sent.__slots__, _row(sent), strict=True))) + "\n")
    faults = Counter(sent.fault for sent in sensors.sent if sent.fault)
    summary = {"port": port, "requests": sensors.requests, "answers": len(sensors.sent), "faults": dict(faults)}
    if args.json:
        print(json.dumps(summary, separators=(",", ":")), flush=True)
    else:
        print(f"{summary['requests']} requests, {summary['answers']} answers; faults: {dict(faults) or 'none'}")


def _row(sent: Sent) -> tuple[object, ...]:
    return tuple(getattr(sent, name) for name in Sent.__slots__)
