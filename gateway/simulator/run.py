"""A whole fleet against its targets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping

from gateway.mqtt import Broker
from gateway.simulator.faults import PlannedFault, plan_faults
from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.links import Clock, Link, UdpLink
from gateway.simulator.mqtt import MqttLink
from gateway.simulator.scenario import Scenario, ScenarioError, parse_target
from gateway.simulator.truth import Fault, Truth
from protocols.registry import terminals
from protocols.terminals import SentRecord, Terminal, TerminalSpec

_DRAIN = 5.0  # seconds at the end in which acks that are owed may still come
_DRAIN_STEP = 0.02
_FAREWELL = 2.0  # s for brokers to hear that a terminal goes


def expected_row(record: SentRecord) -> dict[str, object]:
    """The row of `telemetry` that a record must become; `time` in µs, `measures` those the simulator vouches for.

    `archive` is None where either is right: the record went out live and, unanswered, again as archive.
    """
    return terminals(record.spec.protocol)[record.spec.transport].expected(record)


def make_terminal(spec: TerminalSpec, truth: Truth, firmware: str, scenario: Scenario) -> Terminal:
    """The terminal's side for one vehicle."""
    kind = terminals(spec.protocol)[spec.transport]
    made = kind(spec, truth, firmware=firmware, window=scenario.window, frame_records=scenario.frame_records)
    made.answers, made.delay = scenario.answers.of(spec.index), scenario.answers.delay
    return made


class FleetRun:
    """Simulated terminals from `start` until `stop`; `truth` says what happened.

    Parameters
    ----------
    scenario : the fleet; its `duration` is the caller's affair.
    targets : "host:port" by protocol; the scenario's own are used where it has none.
    exclude : identities that get no fault by drawing.
    on_fault : called with each fault when it is put in.
    """

    def __init__(
        self,
        scenario: Scenario,
        targets: Mapping[str, str],
        *,
        truth: Truth | None = None,
        exclude: Collection[str] = (),
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        self.scenario = scenario
        self.truth = truth if truth is not None else Truth()
        self.fleet = make_fleet(scenario)
        self.planned, self.firmware = plan_faults(scenario, self.fleet, exclude)
        self.links: list[Link] = []
        self._on_fault = on_fault
        self._timers: list[asyncio.TimerHandle] = []
        addresses = {**scenario.targets, **targets}
        missing = sorted({spec.protocol for spec in self.fleet} - set(addresses))
        if missing:
            raise ScenarioError(f"no target for {', '.join(missing)}: name one, or give it no weight in mix")
        self._targets = {protocol: parse_target(address) for protocol, address in addresses.items()}

    def start(self) -> None:
        """Put the terminals on the running loop; they connect over the scenario's ramp."""
        loop = asyncio.get_running_loop()
        clock = Clock(loop)
        self.clock = clock
        scenario = self.scenario
        count = len(self.fleet)
        awake = [i for i, spec in enumerate(self.fleet) if spec.profile != "sleeping"]
        carried = self._carried()
        step = max(1, round(1 / scenario.archive.share)) if scenario.archive.share > 0 else 0
        with_backlog = set(awake[::step]) if step else set()
        victims = {fault.terminal for fault in self.planned if fault.kind == "silence"}
        for index, spec in enumerate(self.fleet):
            terminal = make_terminal(spec, self.truth, self.firmware[index], scenario)
            vehicle, target = Vehicle(spec, scenario), self._targets[spec.protocol]
            if index in carried:
                target = parse_target(scenario.broker)
            link: Link
            kind = UdpLink if spec.transport == "udp" else Link
            if isinstance(target, Broker):
                link = MqttLink(vehicle, terminal, target, clock, self.truth, scenario.seed)
            else:
                link = kind(vehicle, terminal, target, clock, self.truth, scenario.seed)
            if type(link) is Link:
                link.ack_timeout = scenario.ack_timeout
            self.links.append(link)
            link.start(scenario.ramp * index / count, scenario.archive.records if index in with_backlog else 0)
            if index not in victims and index % 100 < scenario.link_loss.share * 100:
                link.lose_link(scenario.link_loss.every, scenario.link_loss.length)
        for fault in self.planned:
            self._timers.append(loop.call_at(clock.at(fault.at), self._inject, fault))

    def _carried(self) -> set[int]:
        """Those that publish to the scenario's broker: none of which the firmware matters, which nobody asks there."""
        scenario = self.scenario
        told = {fault.terminal for fault in self.planned if fault.kind == "firmware"}
        able = [n for n, spec in enumerate(self.fleet) if n not in told and spec.transport == "tcp"]
        count = min(len(able), math.ceil(scenario.broker_share * len(self.fleet)))
        return {able[n * len(able) // count] for n in range(count)}

    def _inject(self, planned: PlannedFault) -> None:
        link = self.links[planned.terminal]
        loop = self.clock.loop
        if planned.kind == "firmware" and link.first_connected_at is None:
            # It has this firmware all along, but nobody can know before it first connects.
            self._timers.append(loop.call_later(0.2, self._inject, planned))
            return
        at = link.first_connected_at if planned.kind == "firmware" else self.clock.now()
        detail = self.firmware[planned.terminal] if planned.kind == "firmware" else planned.mode
        fault = Fault(planned.kind, link.terminal.spec.identity, at or self.clock.now(), detail)
        self.truth.faults.append(fault)
        if self._on_fault is not None:
            self._on_fault(fault)
        if planned.kind == "firmware":
            return
        if planned.mode == "modem":
            link.off_air()
        else:
            link.power_off(hang=planned.mode == "hang")
        if planned.until > planned.at:
            self._timers.append(loop.call_at(self.clock.at(planned.until), self._end, planned, fault))

    def _end(self, planned: PlannedFault, fault: Fault) -> None:
        fault.ended_at = self.clock.now()
        link = self.links[planned.terminal]
        if planned.mode == "modem":
            link.back_on_air()
        else:
            link.power_on()

    async def stop(self, drain: float = _DRAIN) -> None:
        """No new records; wait up to `drain` seconds for acks that are owed; hang up."""
        for timer in self._timers:
            timer.cancel()
        for link in self.links:
            link.stop_reporting()
        for _ in range(round(drain / _DRAIN_STEP)):
            if not any(link.waits for link in self.links):
                break
            await asyncio.sleep(_DRAIN_STEP)
        for link in self.links:
            link.close()
        ending = [link.ending for link in self.links if isinstance(link, MqttLink) and link.ending is not None]
        if ending:
            await asyncio.wait(ending, timeout=_FAREWELL)
        await asyncio.sleep(0)  # let the transports say that they are closed
        await asyncio.sleep(0)
