"""The demo: an ordinary service, a simulated fleet in a child process, and what came of each fault.

Every figure comes from where the thing happened: faults and acknowledged frames from the fleet, records and tickets
from the store, damaged frames from the gateway's own counters.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from psycopg_pool import AsyncConnectionPool

from gateway.configuration import reading
from gateway.configuration.carriers import Serial
from gateway.configuration.settings import Settings
from gateway.errors import GatewayError
from gateway.receive.reception import Reception
from gateway.simulator import mosquitto
from gateway.simulator.faults import catalogue
from gateway.simulator.lines import Line, Sensors
from gateway.simulator.scenario import Archive, FaultPlan, Intervals, NoFix, Profiles, Scenario, mixed
from protocols.registry import PROTOCOLS, served

SEED = 2026


def listened(protocols: Iterable[str]) -> str:
    """Free ports of this machine's own, as a setting."""
    return ",".join(f"{name}=127.0.0.1:0" for name in protocols)


# The demo's own defaults. Vehicles report every 1 to 2.5 s, sleepers every 15 s. The floor lets a busy machine stall
# for 8 s without a false ticket, the hold for 3 s more; until a sleeper's interval is learned the ceiling holds.
FLOOR, HOLD = 8.0, 3.0
DEFAULTS: dict[str, object] = {
    "listen": listened(served()),
    "desk.address": "127.0.0.1:0",
    "metrics.address": "127.0.0.1:0",
    "limits.registrations_per_minute_per_address": 0,  # its whole fleet is at one address
    "watch.silence.expected": False,  # minutes hold no weeks to learn from
    "watch.silence.floor": FLOOR,
    "watch.silence.ceiling": "5m",
    "watch.silence.learn": 5,
    "watch.incidents.hold": HOLD,
    "watch.incidents.recovery": "15s",
    "watch.incidents.tickets_per_minute": 0,  # each fault shows its ticket
}
INTERVALS = Intervals(moving=1.5, idling=2.0, parked=3.0, sleeping=15.0, spread=0.2)
LINE_TERMINAL, LINE_SENSORS, LINE_ERRORS = "DEMO-TANK", (1, 2), 0.03  # beside the fleet: a tank on a serial line
_WARM_UP = (
    20.0  # s until the intervals of those that will fall silent are learned: 5 gaps of at most 2.4 s, and the ramp
)
_NOTICE = 25.0  # s before the end in which no terminal falls silent any more: floor + hold + ticks, and as much again
_SILENT_SHARE, _STALE_SHARE, _MQTT_SHARE = 0.05, 0.04, 0.03
_RETURN_AFTER = 90.0  # s; in an open-ended demo some come back, so that recovery can be seen
_LINE = 1 << 24  # the fleet's last word names every fault


@dataclass(frozen=True, slots=True)
class DemoBroker:
    """A broker of the demo's own: the program, and the port it is to take."""

    program: Path
    port: int

    @classmethod
    def find(cls) -> DemoBroker | None:
        """None: this machine has none."""
        program = mosquitto.find()
        return None if program is None else cls(program, mosquitto.free_port())

    def running(self, folder: Path) -> AbstractContextManager[None]:
        """It runs, with its settings in `folder`; should we be killed, it ends with us."""
        return mosquitto.running(self.program, self.port, folder)


async def subscribed(reception: Reception, within: float = 10.0) -> None:
    """Wait until messages come from all brokers: what is published before goes nowhere."""
    until = asyncio.get_running_loop().time() + within
    while not all(state.connected for state in reception.brokers().values()):
        if asyncio.get_running_loop().time() > until:
            return
        await asyncio.sleep(0.05)


def demo_settings(
    path: Path | None, folder: Path, broker: DemoBroker | None = None, protocols: Iterable[str] = ()
) -> Settings:
    """The user's own settings over the demo's defaults; `folder` takes the catalogue and, unless set, the data.

    `protocols` are listened for in place of the usual ones, where the settings do not say.

    Neither a configured DSN nor a configured broker is ever used: a demo must not fill somebody's store, nor take
    messages that are meant for somebody's gateway.
    """
    releases = folder / "catalogue.toml"
    releases.write_text(catalogue(datetime.now(UTC).date()), encoding="utf-8")
    defaults = {
        **DEFAULTS,
        "data_dir": str(folder / "data"),
        "watch.firmware.catalogue": str(releases),
    }
    if protocols:
        defaults["listen"] = listened(protocols)
    settings = reading.load(path, implicit=False, defaults=defaults)
    mqtt = []
    if broker is not None:
        mqtt = reading.load(None, {"DOZOR_MQTT__URL": f"mqtt://127.0.0.1:{broker.port}"}, implicit=False).mqtt
    return msgspec.structs.replace(settings, store=msgspec.structs.replace(settings.store, dsn=""), mqtt=mqtt)


def demo_line(settings: Settings, folder: Path) -> tuple[Settings, Line | None]:
    """A tank with two sensors on a line beside the fleet, and its simulated bus; None where lines are configured."""
    if settings.serial:
        return settings, None
    bus = Line(Sensors("lls", LINE_SENSORS, seed=SEED, errors=LINE_ERRORS), folder / "bus")
    line = Serial(
        port=bus.port, protocol="lls", baudrate=19_200, parity="none", terminal=LINE_TERMINAL,
        sensors=list(LINE_SENSORS), interval=2.0, profile="",
    )  # fmt: skip
    return msgspec.structs.replace(settings, serial=[line]), bus


def demo_scenario(
    settings: Settings, terminals: int, duration: float | None, broker: DemoBroker | None = None
) -> Scenario:
    """The fleet, its faults fitted into `duration` (None: open-ended, planned as for a minute)."""
    protocols = [
        entry.protocol for entry in settings.listen if entry.transport == "tcp" and entry.protocol in PROTOCOLS
    ]
    faults = []
    if "watch.firmware.catalogue" not in settings.configured:  # another catalogue does not know these releases
        faults.append(FaultPlan(kind="firmware", count=max(1, round(terminals * _STALE_SHARE))))
    length = duration if duration is not None else 60.0
    silent = max(1, round(terminals * _SILENT_SHARE))
    if length >= _WARM_UP * 0.6 + FLOOR + HOLD + 4:
        first = min(_WARM_UP, max(_WARM_UP * 0.6, length - _NOTICE))
        spread = max(0.0, min(15.0, length - _NOTICE - first))
        back = silent // 2 if duration is None else 0
        if back:
            faults.append(_silence(back, first, spread, first + spread + _RETURN_AFTER))
        faults.append(_silence(silent - back, first, spread, 0.0))
    return Scenario(
        seed=SEED,
        terminals=terminals,
        mix=mixed(protocols),
        broker=f"mqtt://127.0.0.1:{broker.port}" if broker is not None else "",
        broker_share=_MQTT_SHARE if broker is not None else 0.0,
        intervals=INTERVALS,
        profiles=Profiles(driving=6, idling=1.5, parked=1.5, sleeping=1),
        archive=Archive(share=0.1, records=40),
        no_fix=NoFix(share=0.15, every=60.0, length=10.0),
        ramp=2.0,
        fault=faults,
    )


def _silence(count: int, at: float, spread: float, until: float) -> FaultPlan:
    # Only those whose interval is surely learned by then; a parked one may need as long again.
    return FaultPlan(kind="silence", count=count, at=at, spread=spread, until=until, profiles=("driving", "idling"))


class FleetProcess:
    """The simulated fleet in a child process, so that it does not share the gateway's loop.

    It dies with us and, should we be killed, removes `folder` with the store in it.
    """

    def __init__(self, on_event: Callable[[dict[str, Any]], None], folder: Path) -> None:
        self._folder = folder
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.summary: dict[str, Any] | None = None

    async def start(self, scenario: Scenario, targets: dict[str, str], exclude: list[str]) -> None:
        """Start it; its events come to `on_event`."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.simulator.child",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE,
        )  # fmt: skip
        order = {
            "scenario": msgspec.to_builtins(scenario),
            "targets": targets,
            "exclude": exclude,
            "folder": str(self._folder),
        }
        await self._say(json.dumps(order).encode() + b"\n")
        self._reading = asyncio.create_task(self._read())

    async def ended(self) -> None:
        """Return when the process has said all it will."""
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def stop(self, timeout: float = 15.0) -> None:
        """Ask for the summary; what does not answer in `timeout` seconds is killed."""
        process = self._process
        if process is None:
            return
        try:
            if process.returncode is None:
                await self._say(b"stop\n")
                if self._reading is not None:
                    await asyncio.wait({self._reading}, timeout=timeout)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            if process.returncode is None:
                try:
                    await asyncio.wait_for(process.wait(), 2.0)
                except TimeoutError:
                    process.kill()
                    await process.wait()
            if self._reading is not None:
                self._reading.cancel()

    async def _say(self, words: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(words)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return  # it has ended; `ended` tells

    async def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        async for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "end":
                self.summary = event
            self._on_event(event)


@dataclass(slots=True)
class Ticket:
    """A row of the store's tickets."""

    number: str
    terminal: str | None
    kind: str
    title: str
    opened_at: datetime
    state: str


@dataclass(slots=True)
class Outcome:
    """What happened so far."""

    faults: list[dict[str, Any]] = field(default_factory=list)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    recovered: set[str] = field(default_factory=set)
    progress: dict[str, Any] = field(default_factory=dict)

    def matched(self) -> tuple[list[dict[str, Any]], int]:
        """The contract's `faults` with the tickets of each, and how many tickets belong to no fault."""
        numbers: dict[tuple[str | None, str], list[str]] = {}
        for ticket in self.tickets.values():
            numbers.setdefault((ticket.terminal, ticket.kind), []).append(ticket.number)
        listed = [
            {
                "terminal": fault["terminal"],
                "kind": fault["kind"],
                "injected_at": fault["injected_at"],
                "tickets": numbers.pop((fault["terminal"], fault["kind"]), []),
            }
            for fault in self.faults
        ]
        return listed, sum(len(left) for left in numbers.values())


class StoreView:
    """What the store says of this run: everything after the moment it was made."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._last_ticket = 0
        self._records_before = 0

    async def begin(self) -> list[str]:
        """Remember what is there already; returns the terminals that have tickets from earlier runs."""
        async with self._pool.connection() as link:
            (self._last_ticket,) = await self._one(link, "SELECT coalesce(max(id), 0) FROM ticket")
            self._records_before = await self._count(link)
            rows = await link.execute("SELECT DISTINCT x.identity FROM ticket t JOIN terminal x ON x.id = t.terminal")
            return [row[0] for row in await rows.fetchall()]

    async def tickets(self) -> list[Ticket]:
        """Those opened in this run, oldest first."""
        async with self._pool.connection() as link:
            rows = await link.execute(
                "SELECT t.number, x.identity, t.kind, t.title, t.opened_at, t.state FROM ticket t"
                " LEFT JOIN terminal x ON x.id = t.terminal WHERE t.id > %s ORDER BY t.id",
                (self._last_ticket,),
            )
            return [Ticket(*row) for row in await rows.fetchall()]

    async def records(self) -> int:
        """Rows of `telemetry` stored in this run."""
        async with self._pool.connection() as link:
            return await self._count(link) - self._records_before

    @classmethod
    async def _count(cls, link: Any) -> int:
        (count,) = await cls._one(link, "SELECT count(*) FROM telemetry")
        return int(count)

    @staticmethod
    async def _one(link: Any, query: str) -> tuple[Any, ...]:
        row = await (await link.execute(query)).fetchone()
        if row is None:
            raise GatewayError(f"the store gave no answer to {query}")
        return tuple(row)
