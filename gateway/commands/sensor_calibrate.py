"""`dozor sensor calibrate`: a tank is filled in steps, and at each the code is kept once the level has settled.

    litres → wait until the level is settled → does it rise? → kept at once, in the file and in the store → next step
                                             → no: refused, by name; filling goes on

The file is the session: begun again with it, calibrating goes on behind its last point. The store has the table as a
version of its own from the second point on; each point supersedes the version before.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from gateway.commands.calibration_csv import HEADING, written
from gateway.commands.common import with_pool
from gateway.configuration.settings import Settings
from gateway.errors import CalibrationError, GatewayError
from gateway.files import place_of
from gateway.receive.lines.bus import Bus
from gateway.store import calibrations
from gateway.store.backup import sync_folder
from gateway.store.calibrations import Point
from protocols.lines import Sensor, Status
from protocols.records import identity_of

SETTLE = 10.0  # s in which a level that is settled does not move
TOLERANCE = 2.0  # raw, by which it may all the same: a sensor's own noise
SAMPLES = 3  # at least, in that time
_PATIENCE = 30.0  # s without a good reading after which that is said
_LARGEST = 1 << 16  # bytes of a file: 200 points are some 4 KiB
_AWAY = (psycopg.Error, OSError, TimeoutError, GatewayError)


def _positive(text: str) -> float:
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        found = 0.0
    if not 0 < found < calibrations.BOUND:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return found


def _sensor(text: str) -> int:
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 1 <= found <= calibrations.SENSORS:
        raise argparse.ArgumentTypeError(f"{text!r} is no sensor: give 1 to {calibrations.SENSORS}")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    parser.add_argument("--terminal", required=True, metavar="T", help="whose sensor it is")
    parser.add_argument("--sensor", required=True, type=_sensor, metavar="N", help="its number in the records")
    parser.add_argument("--step", required=True, type=_positive, metavar="LITRES", help="filled in each time")
    parser.add_argument("--file", type=Path, metavar="CSV", help="code,litres (default: calibration-T-N.csv)")
    parser.add_argument(
        "--settle", type=_positive, default=SETTLE, metavar="S", help="seconds a settled level rests (default 10)"
    )


def run(args: argparse.Namespace, settings: Settings, bus: Bus, sensor: Sensor) -> int:
    """0 with at least one point; 1 with none."""
    terminal = identity_of(args.terminal)
    if not terminal:
        raise CalibrationError(f"--terminal {args.terminal!r}: an identity has 1 to 64 printable characters")
    safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in terminal)
    file = args.file or Path(f"calibration-{safe}-{args.sensor}.csv")
    return _Session(args, settings, terminal, file, bus, sensor).run()


def read_points(file: Path) -> list[Point]:
    """The points of a file.

    Raises
    ------
    CalibrationError
        If it is none of ours; the wrong line is named.
    """
    try:
        with file.open("rb") as source:
            data = source.read(_LARGEST + 1)
    except OSError as error:
        raise CalibrationError(f"{file}: {error.strerror or error}") from error
    if len(data) > _LARGEST:
        raise CalibrationError(f"{file} is larger than {_LARGEST >> 10} KiB: this is no table")
    points: list[Point] = []
    for number, row in enumerate(csv.reader(io.StringIO(data.decode("utf-8-sig", "replace"))), 1):
        if not row or (number == 1 and tuple(cell.strip() for cell in row) == HEADING):
            continue
        try:
            code, litres = (float(cell) for cell in row)
        except ValueError:
            raise CalibrationError(f"{file}:{number}: {','.join(row)[:60]!r} is not code,litres") from None
        points.append(Point(code, litres))
    if wrong := _wrong(points):
        raise CalibrationError(f"{file}: {wrong}")
    return points


def write_points(file: Path, points: list[Point]) -> None:
    """All of them, whole or not at all; on disk when it returns."""
    place = place_of(file)
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with fresh.open("w", encoding="utf-8", newline="") as out:
            out.write(written(points))
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(place.parent)


def _wrong(points: list[Point]) -> str:
    """What is wrong with these points, that has nothing to do with their number."""
    return "; ".join(f"point {place + 1}: {what}" for place, what in calibrations.problems(points) if place is not None)


class _Session:
    def __init__(
        self, args: argparse.Namespace, settings: Settings, terminal: str, file: Path, bus: Bus, sensor: Sensor
    ) -> None:
        self._args = args
        self._terminal = terminal
        self._number: int = args.sensor
        self._file = file
        self._bus = bus
        self._sensor = sensor
        self._settings = settings
        self._points: list[Point] = []
        self._since = datetime.now(UTC)
        self._version: int | None = None
        self._saved = 0  # points in the store
        self._refused = 0

    def run(self) -> int:
        self._say(f"calibrating sensor {self._number} of {self._terminal}, kept in {self._file}")
        bus, sensor = self._bus, self._sensor
        if bus.read(sensor).status is not Status.NO_ANSWER:
            bus.learn(sensor)
        if self._file.exists():
            self._points = read_points(self._file)
        found = self._ask_store()
        if self._points:
            last = self._points[-1]
            self._say(f"resumes behind point {len(self._points)}: {last.litres:g} l at code {last.code:g}")
            self._resume(found)
        with contextlib.suppress(KeyboardInterrupt):  # what is kept is kept
            self._fill()
        if self._saved < len(self._points):
            self._save()
        self._end()
        return 0 if self._points else 1

    def _fill(self) -> None:
        """Step by step, until it is said that this is all."""
        step: float = self._args.step
        if not self._points:
            rest = self._number_from("litres that cannot be drained, left in the tank [0], then Enter: ", 0.0)
            if rest is None:
                return
            self._measure(rest)
            total = rest
        else:
            total = self._points[-1].litres
        while len(self._points) < calibrations.MOST:
            following = total + step
            asked = self._number_from(
                f"fill in {step:g} l ({following:g} l in all), then Enter; or type the litres in the tank; q ends: ",
                following,
            )
            if asked is None:
                return
            total = asked
            self._measure(total)

    def _measure(self, litres: float) -> None:
        code = self._settled()
        point = Point(code, litres)
        place = len(self._points) + 1
        wrong = [what for at, what in calibrations.problems([*self._points, point]) if at == place - 1]
        if wrong:
            self._refused += 1
            after = f" (point {place - 1})" if self._points else ""
            self._say(f"point {place} refused: at {litres:g} l code {code:g}: {'; '.join(wrong)}{after}")
            return
        self._points.append(point)
        try:
            write_points(self._file, self._points)
        except OSError as error:  # a full disk, say: the tank is filled already, and the next point writes all of them
            self._say(f"{self._file} cannot be written: {error.strerror}: make room; point {place} is not in it yet")
        self._save()
        self._say(f"point {place}: {litres:g} l at code {code:g}")

    # -- the level ----------------------------------------------------------------------------------------------

    def _settled(self) -> float:
        """The code once the level rests; waits as long as it takes."""
        rest: float = self._args.settle
        pause = min(1.0, rest / 10)
        window: deque[tuple[float, float]] = deque()
        heard = time.monotonic()
        live = sys.stderr.isatty()
        while True:
            now = time.monotonic()
            reading = self._bus.read(self._sensor, attempts=1)
            level = reading.values.get("level")
            if reading.status is Status.GOOD and level is not None:
                heard = now
                window.append((now, level))
                if live:
                    print(f"\r  level {level:g}   ", end="", file=sys.stderr, flush=True)
                while len(window) > SAMPLES and window[1][0] <= now - rest:
                    window.popleft()
                levels = [value for _, value in window]
                rested = len(window) >= SAMPLES and window[0][0] <= now - rest
                if rested and max(levels) - min(levels) <= TOLERANCE:
                    if live:
                        print("\r", end="", file=sys.stderr)
                    return median(levels)
            elif now - heard > _PATIENCE:
                heard = now
                self._say(f"the sensor tells no level: {reading.status.name.lower().replace('_', ' ')}; still waiting")
            time.sleep(pause)

    # -- the store ----------------------------------------------------------------------------------------------

    def _ask_store(self) -> list[calibrations.Table]:
        """The tables of this sensor there are; what the store has to say is said at the beginning."""

        async def ask(link: Any) -> list[calibrations.Table]:
            known = await (await link.execute("SELECT FROM terminal WHERE identity = %s", (self._terminal,))).fetchone()
            if known is None:
                raise CalibrationError(f"terminal {self._terminal!r} is not registered: dozor terminal add")
            return await calibrations.tables(link, self._terminal, self._number)

        return self._with_store(ask) or []

    def _resume(self, found: list[calibrations.Table]) -> None:
        """The version that this file became, if it did: what is added supersedes it."""
        for table in found:
            its = list(table.points)
            if its == self._points[: len(its)]:
                self._since, self._version, self._saved = table.since, table.version, len(its)

    def _save(self) -> None:
        """Keep all points in the store; the file has them already, so one that is away only has to be told later."""
        if len(self._points) < calibrations.LEAST:
            return

        async def save(link: Any) -> int:
            return await calibrations.save(link, self._terminal, self._number, self._points, self._since)

        version = self._with_store(save)
        if version is not None:
            self._version, self._saved = version, len(self._points)

    def _with_store(self, work: Callable[[Any], Any]) -> Any:
        found: list[Any] = []

        async def run(pool: AsyncConnectionPool) -> int:
            async with pool.connection() as link:
                found.append(await work(link))
            return 0

        try:
            with_pool(self._settings, run)
        except CalibrationError:
            raise
        except _AWAY as error:
            self._say(f"the store does not take it, the file has it: {' '.join(str(error).split())}")
            return None
        return found[0]

    # -- people -------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        kept = self._saved == len(self._points)
        if self._args.json:
            told = {
                "terminal": self._terminal,
                "sensor": self._number,
                "points": [list(point) for point in self._points],
                "refused": self._refused,
                "file": str(self._file),
                "version": self._version if kept else None,
            }
            print(json.dumps(told, ensure_ascii=False), flush=True)
            return
        where = f"version {self._version} in the store" if kept and self._version else "not in the store"
        self._say(f"{len(self._points)} points, {self._refused} refused: {self._file}, {where}")
        if self._points and not kept:
            words = ["dozor", "calibration", "import", self._terminal, str(self._number), str(self._file)]
            self._say(f"  {shlex.join(words)}")

    def _number_from(self, question: str, default: float) -> float | None:
        """Litres as typed; None: this is all."""
        while True:
            out = sys.stderr if self._args.json else sys.stdout
            print(question, end="", file=out, flush=True)
            line = sys.stdin.readline()
            word = line.strip().lower()
            if not line or word in ("q", "quit", "end"):
                print(file=out)
                return None
            if not word:
                return default
            try:
                litres = float(word.replace(",", "."))
            except ValueError:
                litres = -1.0
            if 0 <= litres < calibrations.BOUND:
                return litres
            self._say(f"{word!r} is no number of litres")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr if self._args.json else sys.stdout, flush=True)
