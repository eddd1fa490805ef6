"""`dozor demo`: everything at once, on one command, with nothing left behind."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TextIO, cast

import uvloop
from rich.console import Console
from rich.table import Table

from gateway import log
from gateway.configuration.settings import Settings
from gateway.errors import GatewayError
from gateway.service.app import Service
from gateway.service.demo import (
    DemoBroker,
    FleetProcess,
    Outcome,
    StoreView,
    demo_line,
    demo_scenario,
    demo_settings,
    subscribed,
)
from gateway.service.demo_people import DemoPeople
from gateway.simulator.scenario import ScenarioError, parse_duration
from protocols.registry import PROTOCOLS
from ticketing.model.states import State
from ticketing.people.users import Users

_MAX_TERMINALS = 5000  # one process each for the gateway and the fleet, on one machine
_PROGRESS = 5.0  # s between two lines of progress


def _terminals(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= number <= _MAX_TERMINALS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of terminals: give 1 to {_MAX_TERMINALS}")
    return number


def _protocols(text: str) -> tuple[str, ...]:
    names = tuple(PROTOCOLS) if text == "all" else tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise argparse.ArgumentTypeError(f"unknown protocol {unknown[0]!r}: known are {', '.join(PROTOCOLS)}, and all")
    return names


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ScenarioError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `dozor demo`."""
    parser.add_argument("--terminals", type=_terminals, default=200, metavar="N", help="how many (default 200)")
    parser.add_argument("--duration", type=_duration, metavar="S", help="end by itself after so long; else on Ctrl-C")
    parser.add_argument(
        "--protocols",
        type=_protocols,
        default=(),
        metavar="P,…",
        help=f"what they speak: some of {', '.join(PROTOCOLS)}, or all",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on stdout")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file; none is looked for")


class _Held:
    """stderr that waits for the first line: whatever is logged before it comes after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: list[str] | None = []

    def write(self, text: str) -> int:
        if self._waiting is None:
            return self._stream.write(text)
        self._waiting.append(text)
        return len(text)

    def release(self, first: str = "") -> None:
        """Write `first`, then what waited; from now on everything goes through."""
        if self._waiting is not None:
            self._stream.write(first + "".join(self._waiting))
            self._waiting = None
        self.flush()

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run(args: argparse.Namespace) -> int:
    """0 also after Ctrl-C; 1 where the fleet ended by itself."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the loop takes over: leave no folder behind
    held = _Held(sys.stderr)
    before, sys.stderr = sys.stderr, cast("TextIO", held)
    folder = Path(tempfile.mkdtemp(prefix="dozor-demo-"))
    bus = None
    try:
        log.configure(quiet=True)
        broker = DemoBroker.find()
        settings, bus = demo_line(demo_settings(args.config, folder, broker, args.protocols), folder)
        with (
            broker.running(folder) if broker is not None else contextlib.nullcontext(),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_Demo(args, settings, held, folder, broker).run())
    finally:
        if bus is not None:
            bus.close()
        held.release()
        sys.stderr = before
        log.configure(quiet=True)
        shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    def __init__(
        self,
        args: argparse.Namespace,
        settings: Settings,
        held: _Held,
        folder: Path,
        broker: DemoBroker | None = None,
    ) -> None:
        self.broker = broker
        self.args = args
        self.settings = settings
        self.held = held
        self.folder = folder
        self.outcome = Outcome()
        self.stop = asyncio.Event()
        self.console = Console(file=cast("TextIO", held), highlight=False, soft_wrap=True)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        service = Service(self.settings)
        starting = asyncio.create_task(service.start())

        def ask_to_stop() -> None:
            self.stop.set()
            if not starting.done():
                starting.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ask_to_stop)
        try:
            await starting
        except asyncio.CancelledError:
            if self.stop.is_set():
                return 0
            raise
        try:
            async with DemoPeople(service.desk_pool, Users(service.desk_pool)).present() as people:
                self._introduce(service, people)
                summary = await self._watch(service, people)
        finally:
            await service.stop()
        self._finish(summary)
        return 0

    def _introduce(self, service: Service, people: DemoPeople) -> None:
        manager = people.of("manager")
        username, password = manager["username"], manager["password"]
        self.login = f"{username} / {password}"
        self.desk_url = self.settings.desk.url or f"http://{service.desk_server.address}"
        first = {
            "data_dir": str(self.settings.data_dir),
            "listen": {protocol: found[0] for protocol, found in service.addresses.items()},
            "desk_url": self.desk_url,
            "metrics_url": f"http://{service.health.address}/metrics",
            "username": username,
            "password": password,
            "accounts": people.accounts,
        }
        self.held.release(json.dumps(first, separators=(",", ":")) + "\n")
        self.console.print(
            f"[bold]Desk[/]      {self.desk_url}   user [bold]{username}[/]   password [bold]{password}[/]"
        )
        for account in people.accounts:
            if account is not manager:
                who = f"as {account['role']}"
                self.console.print(
                    f"          {who:<12}  {account['username']:<16} {account['password']}", markup=False
                )
        self.console.print(f"[bold]Metrics[/]   {first['metrics_url']}")
        for line in self.settings.serial:
            page = f"{self.desk_url}/terminals/{line.terminal}"
            self.console.print(f"[bold]Line[/]      {len(line.sensors)} sensors on {line.port}   {page}", markup=True)
        if self.broker is not None:
            self.console.print(f"[bold]MQTT[/]      mqtt://127.0.0.1:{self.broker.port}   some terminals publish to it")
        else:
            self.console.print("[bold]MQTT[/]      left out: there is no mosquitto on this machine")
        self.console.print(
            "Log in and click a ticket in [bold]Tickets[/] as soon as there is one: evidence, clock, what to do.\n"
            "Then one of [bold]Terminals[/] for its track, and [bold]Fleet[/] for the whole. Ctrl-C ends it all."
        )

    async def _watch(self, service: Service, people: DemoPeople) -> dict[str, Any]:
        """The fleet's life from start to end, and the contract's object."""
        args, outcome = self.args, self.outcome
        view = StoreView(service.desk_pool)
        with_tickets = await view.begin()
        targets = {name: found[0] for name, found in service.addresses.items() if "/" not in name}
        scenario = demo_scenario(self.settings, args.terminals, args.duration, self.broker)
        fleet = FleetProcess(self._event, self.folder)
        ends = time.monotonic() + args.duration if args.duration is not None else None
        started = shown = time.monotonic()
        try:
            await subscribed(service.reception)
            await fleet.start(scenario, targets, with_tickets)
            ended, stopped = asyncio.create_task(fleet.ended()), asyncio.create_task(self.stop.wait())
            waiting: set[asyncio.Future[Any]] = {ended, stopped, service.failed}
            self.console.print(
                f"{args.terminals} terminals report; faults begin at once (firmware) and in some 20 s (silence)."
            )
            try:
                while not any(task.done() for task in waiting) and (ends is None or time.monotonic() < ends):
                    left = 1.0 if ends is None else min(1.0, max(0.0, ends - time.monotonic()))
                    await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                    await self._new_tickets(view)
                    if time.monotonic() - shown >= _PROGRESS:
                        shown = time.monotonic()
                        self._progress(shown - started)
                        await people.vehicles()
                if service.failed.done():
                    service.failed.result()
                if ended.done() and not self.stop.is_set():
                    raise GatewayError("the simulated fleet ended by itself: its errors stand above")
            finally:
                ended.cancel()
                stopped.cancel()
        finally:
            await fleet.stop(timeout=5.0)
        await self._new_tickets(view)
        faults, false_tickets = outcome.matched()
        kinds = ("silence", "firmware")
        truth = fleet.summary or self.outcome.progress  # a fleet that had to be killed has told its counts so far
        return {
            "terminals": args.terminals,
            "frames": truth.get("frames_acked"),
            "records_stored": await view.records(),
            "malformed": _counter(service, "dozor_frames_malformed"),
            "tickets": {kind: sum(t.kind == kind for t in outcome.tickets.values()) for kind in kinds},
            "faults": faults,
            "false_tickets": false_tickets,
            "ack_p50_ms": truth.get("ack_p50_ms"),
            "ack_p99_ms": truth.get("ack_p99_ms"),
            "desk_url": self.desk_url,
        }

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "fault":
            self.outcome.faults.append(event)
            how = {"power": "switched off", "hang": "hangs", "modem": "off the air"}.get(event["detail"])
            what = f"falls silent ({how})" if event["kind"] == "silence" else f"runs {event['detail']}"
            self.console.print(f"  [yellow]fault[/]   {event['terminal']}  {what}")
        elif event["event"] == "progress":
            self.outcome.progress = event

    async def _new_tickets(self, view: StoreView) -> None:
        for ticket in await view.tickets():
            before = self.outcome.tickets.get(ticket.number)
            self.outcome.tickets[ticket.number] = ticket
            page = f"{self.desk_url}/tickets/{ticket.number}"
            if before is None:
                self.console.print(f"  [green]ticket[/]  {ticket.number}  ", end="")
                self.console.print(f"{ticket.kind}: {ticket.title}  {page}", markup=False)
            elif ticket.state != before.state == State.AWAITING_CONSENT and ticket.state != State.CLOSED:
                self.console.print(f"  [yellow]again[/]   {ticket.number}  {ticket.terminal} failed once more  {page}")
            elif before.state != ticket.state == State.AWAITING_CONSENT:
                self.outcome.recovered.add(ticket.number)
                self.console.print(
                    f"  [cyan]back[/]    {ticket.number}  {ticket.terminal} is well again: record the client's consent"
                    f" and close it  {page}"
                )

    def _progress(self, seconds: float) -> None:
        told, outcome = self.outcome.progress, self.outcome
        self.console.print(
            f"[dim]{seconds:5.0f} s  {told.get('records_acked', 0)} records acknowledged, "
            f"{len(outcome.faults)} faults put in, {len(outcome.tickets)} tickets, {len(outcome.recovered)} recovered"
            f"[/]   {self.desk_url}   [dim]{self.login}[/]"
        )

    def _finish(self, summary: dict[str, Any]) -> None:
        if self.args.json:
            print(json.dumps(summary, separators=(",", ":")), flush=True)
            return
        table = Table("fault", "terminal", "put in", "tickets")
        for fault in summary["faults"]:
            table.add_row(fault["kind"], fault["terminal"], fault["injected_at"], ", ".join(fault["tickets"]) or "none")
        out = Console(highlight=False)
        out.print(table)
        out.print(
            f"{summary['frames']} frames, {summary['records_stored']} records stored, "
            f"{summary['malformed']} damaged; tickets: {summary['tickets']}, of no fault: {summary['false_tickets']}; "
            f"ack p50 {summary['ack_p50_ms']} ms, p99 {summary['ack_p99_ms']} ms as the terminals saw it"
        )


def _counter(service: Service, name: str) -> int:
    """A counter of the gateway's, over all its labels."""
    return int(
        sum(
            sample.value
            for metric in service.registry.collect()
            if metric.name == name
            for sample in metric.samples
            if sample.name == f"{name}_total"
        )
    )
