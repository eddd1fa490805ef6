"""`dozor sensor`: fuel-level sensors on a serial line, by hand: who is there, what they say, what their codes mean."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.commands import sensor_calibrate
from gateway.commands.common import load_settings
from gateway.configuration.speaking import Registers, profile
from gateway.configuration.values import Origin, WrongValueError
from gateway.errors import GatewayError
from gateway.receive.lines.bus import Bus
from gateway.receive.lines.port import PARITIES, Port
from protocols.lines import Exchange, LineProtocol, Reading, Sensor, Status
from protocols.lls.exchange import AskSettings
from protocols.registry import LINES, line

_SCAN_LATE = 0.1  # s: an answer says whose it is, so a late one is nobody else's
_WORDS = {
    Status.GOOD: "good",
    Status.NO_ANSWER: "no answer",
    Status.CHECKSUM: "wrong checksum",
    Status.REFUSED: "refused",
    Status.INVALID: "level invalid",
}
_UNITS = {"temperature": "°C", "frequency": "Hz", "flow": "l/h", "used": "l", "water": "mm"}


class SensorError(GatewayError):
    """What was asked cannot be."""


def _addresses(text: str) -> list[int]:
    """`1-20` or `1,5,30-34`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and len(part) < 12):
            raise argparse.ArgumentTypeError(f"{text!r} names no addresses: write 1-20 or 1,5,30-34")
        found += range(int(first), int(last or first) + 1)
        if len(found) > 1000:
            raise argparse.ArgumentTypeError(f"{text!r}: too many addresses")
    return list(dict.fromkeys(found))


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.05 <= found <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.05 to 86400")
    return found


def _count(text: str) -> int:
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="scan|read|watch|calibrate", required=True)
    scan = actions.add_parser("scan", help="who answers on a line")
    read = actions.add_parser("read", help="one reading of a sensor, and what it says of itself")
    watch = actions.add_parser("watch", help="readings of sensors until Ctrl-C")
    calibrate = actions.add_parser("calibrate", help="fill a tank in steps, and keep the code at each")
    for action in (scan, read, watch, calibrate):
        action.add_argument("port", metavar="PORT", help="a device, socket://host:port or rfc2217://host:port")
    scan.add_argument("--addresses", type=_addresses, metavar="A-B", help="which to try (default: all there can be)")
    for action in (read, calibrate):
        action.add_argument("address", type=_count, metavar="ADDRESS", help="on the bus")
    watch.add_argument("addresses", type=_count, nargs="+", metavar="ADDRESS", help="on the bus")
    watch.add_argument("--interval", type=_seconds, default=1.0, metavar="S", help="between readings (default 1)")
    watch.add_argument("--count", type=_count, metavar="N", help="end after so many rounds")
    sensor_calibrate.add_arguments(calibrate)
    for action in (scan, read, watch, calibrate):
        action.add_argument("--protocol", choices=LINES, default="lls", metavar="P", help=f"{', '.join(LINES)}")
        action.add_argument("--baudrate", type=_count, default=19_200, metavar="B", help="default 19200")
        action.add_argument("--parity", choices=PARITIES, default="none", metavar="P", help=", ".join(PARITIES))
        action.add_argument("--profile", default="", metavar="NAME|FILE", help="what registers mean (modbus-fuel)")
        action.add_argument("--json", action="store_true", help="JSON, one object a line")


def run(args: argparse.Namespace) -> int:
    """0; 1 where no sensor answered rightly."""
    settings = load_settings(args)
    protocol, registers = line(args.protocol), _profile(args)
    wanted = [args.address] if hasattr(args, "address") else args.addresses or list(protocol.addresses)
    if bad := [address for address in wanted if address not in protocol.addresses]:
        raise SensorError(
            f"there is no address {bad[0]} in {protocol.name}: take {protocol.addresses[0]} to {protocol.addresses[-1]}"
        )
    alone = args.action != "scan" and len(wanted) == 1
    sensors = [protocol.sensor(address, alone, registers) for address in wanted]
    with _open(args) as port:
        if args.action == "scan":
            return _scan(port, protocol, sensors, as_json=args.json)
        bus = Bus(port, protocol)
        if args.action == "read":
            return _read(bus, protocol, sensors[0], as_json=args.json)
        if args.action == "watch":
            return _watch(bus, sensors, args)
        return sensor_calibrate.run(args, settings, bus, sensors[0])


def _profile(args: argparse.Namespace) -> Any:
    try:
        found: Registers = profile(args.profile, Origin(Path.cwd(), text=True))
    except WrongValueError as wrong:
        raise SensorError(f"--profile: {wrong}") from None
    if line(args.protocol).takes_profile != bool(found.profile):
        remedy = "remove it" if found.profile else "name a shipped one or a file"
        raise SensorError(f"--profile: {args.protocol} {'has none' if found.profile else 'needs one'}: {remedy}")
    return found.registers


@contextlib.contextmanager
def _open(args: argparse.Namespace) -> Iterator[Port]:
    port = Port(args.port, args.baudrate, args.parity)
    try:
        yield port
    finally:
        port.close()


def told(address: int, reading: Reading) -> dict[str, Any]:
    """A reading as `--json` has it."""
    values = {name: int(value) if value == int(value) else value for name, value in reading.values.items()}
    return {"address": address, "status": int(reading.status), **values}


def words(reading: Reading) -> str:
    """A reading for people."""
    parts = [_WORDS[reading.status]]
    parts += [f"{name} {value:g} {_UNITS.get(name, '')}".rstrip() for name, value in reading.values.items()]
    return ", ".join(parts)


def _scan(port: Port, protocol: LineProtocol, sensors: list[Sensor], *, as_json: bool) -> int:
    bus = Bus(port, protocol, late=_SCAN_LATE)
    found: list[dict[str, Any]] = []
    for place, sensor in enumerate(sensors):
        if sys.stderr.isatty():
            print(f"\r{place + 1} of {len(sensors)}: address {sensor.address}  ", end="", file=sys.stderr, flush=True)
        reading = bus.read(sensor, attempts=1)
        if reading.status is Status.NO_ANSWER:
            continue
        found.append({**told(sensor.address, reading), **_identity(bus, protocol, sensor.address)})
        if not as_json:
            named = "  ".join(str(found[-1][name]) for name in ("name", "software") if name in found[-1])
            print(f"{sensor.address:3}  {words(reading)}  {named}".rstrip(), flush=True)
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    if as_json:
        print(json.dumps({"port": port.url, "protocol": protocol.name, "sensors": found}, ensure_ascii=False))
    elif not found:
        print("nobody answers: look at power, A and B, baud rate and parity", file=sys.stderr)
    return 0 if found else 1


def _identity(bus: Bus, protocol: LineProtocol, address: int) -> dict[str, Any]:
    """What a sensor says of itself, if it does."""
    if protocol.name != "lls":
        return {}
    ask: Exchange = AskSettings(address)
    if bus.ask(ask).status is not Status.GOOD or not isinstance(ask, AskSettings):
        return {}
    settings = ask.settings()
    if settings is None:
        return {}
    return {
        "name": settings.name,
        "software": settings.software,
        "lowest": settings.lowest,
        "highest": settings.highest,
        "filter": settings.filter,
    }


def _read(bus: Bus, protocol: LineProtocol, sensor: Sensor, *, as_json: bool) -> int:
    identity: dict[str, Any] = {}
    reading = bus.read(sensor)
    if reading.status is not Status.NO_ANSWER:
        identity = _identity(bus, protocol, sensor.address)
        if bus.learn(sensor):
            reading = bus.read(sensor)
    if as_json:
        print(json.dumps({**told(sensor.address, reading), **identity}, ensure_ascii=False))
    else:
        print(words(reading))
        for name, value in identity.items():
            print(f"  {name} {value}")
    return 0 if reading.status is Status.GOOD else 1


def _watch(bus: Bus, sensors: list[Sensor], args: argparse.Namespace) -> int:
    good = False
    rounds = 0
    due = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        while args.count is None or rounds < args.count:
            rounds += 1
            for sensor in sensors:
                reading = bus.read(sensor, attempts=1)
                good = good or reading.status is Status.GOOD
                now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                if args.json:
                    print(json.dumps({"time": now, **told(sensor.address, reading)}, ensure_ascii=False), flush=True)
                else:
                    print(f"{now}  {sensor.address:3}  {words(reading)}", flush=True)
            due = max(due + args.interval, time.monotonic())
            if args.count is None or rounds < args.count:
                time.sleep(max(0.0, due - time.monotonic()))
    return 0 if good else 1
