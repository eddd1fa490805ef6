"""A thread for each port: rounds at their interval, a port that vanishes opened again, all of it told to the loop.

closed → opened → rounds … → gone → opened again after a pause that grows
                             meanwhile every sensor is marked as not answering, at the usual times
       → another process has it: nothing is told, for that one tells
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import structlog

from gateway.configuration.carriers import Serial
from gateway.receive.lines.bus import ATTEMPTS, RESULTS, Bus
from gateway.receive.lines.port import Port, PortBusyError, PortError
from protocols.lines import LineProtocol, Reading, Sensor, Status, pack_round
from protocols.registry import line

_log = structlog.get_logger()

PAUSE = (1.0, 30.0)  # s before a port that is gone is tried again: at first, at most
SILENT_ROUNDS = 6  # without any answer after which a port is opened anew: a peer may be gone without a word
NO_PORT = "no_port"  # a reading that could not be asked for
ALL_RESULTS = (*RESULTS, NO_PORT)


class Told(Protocol):
    """Who is told; called from the thread."""

    def __call__(self, round_: bytes) -> None:
        """A round is finished."""


def sensors_of(settings: Serial) -> tuple[LineProtocol, list[Sensor]]:
    """How a line's sensors are asked, in their order."""
    protocol = line(settings.protocol)
    alone = len(settings.sensors) == 1
    return protocol, [protocol.sensor(address, alone, settings.registers) for address in settings.sensors]


class Poller(threading.Thread):
    """Asks the sensors of one port until it is stopped.

    Attributes
    ----------
    results : requests by result; read by other threads, which may see a number late.
    """

    def __init__(
        self,
        settings: Serial,
        told: Told,
        *,
        clock: Callable[[], float] = time.time,
        pause: tuple[float, float] = PAUSE,
    ) -> None:
        super().__init__(name=f"line {settings.port}", daemon=True)
        self.settings = settings
        self.results: Counter[str] = Counter(dict.fromkeys(ALL_RESULTS, 0))
        self._told = told
        self._clock = clock
        self._pauses = pause
        self._ended = threading.Event()
        self._protocol, self._sensors = sensors_of(settings)
        self._silent = [False] * len(self._sensors)
        self._learned = [False] * len(self._sensors)
        self._port: Port | None = None
        self._bus: Bus | None = None
        self._busy = False
        self._open_at = 0.0
        self._pause = pause[0]
        self._trouble = ""
        self._mute = 0  # rounds in a row without any answer

    def stop(self) -> None:
        """End soon: after the request that is on its way."""
        self._ended.set()

    def run(self) -> None:
        """Until stopped."""
        due = time.monotonic()
        try:
            while not self._ended.is_set():
                try:
                    self._round()
                except Exception:  # a bug: this round is lost, the next is tried
                    _log.exception("a round failed", port=self.settings.port)
                    self._close()
                # Rounds that took too long are not caught up with: there is one reading a moment.
                due = max(due + self.settings.interval, time.monotonic())
                self._ended.wait(max(0.0, due - time.monotonic()))
        finally:
            self._close()

    def _round(self) -> None:
        readings: list[Reading] = []
        try:
            bus = self._opened()
            for place, sensor in enumerate(self._sensors):
                if self._ended.is_set():
                    return
                readings.append(self._read(bus, place, sensor))
        except PortBusyError as error:
            self._lost(error)
            return
        except PortError as error:
            self._lost(error)
            missing = len(self._sensors) - len(readings)
            self.results[NO_PORT] += missing
            readings += [Reading(Status.NO_ANSWER)] * missing
        else:
            self._heard(readings)
        self._told(pack_round(int(self._clock() * 1000) * 1000, self._sensors, readings))

    def _read(self, bus: Bus, place: int, sensor: Sensor) -> Reading:
        once = self._silent[place] and len(self._sensors) > 1  # others wait for it
        reading = bus.read(sensor, 1 if once else ATTEMPTS)
        self._silent[place] = reading.status is Status.NO_ANSWER
        if not self._learned[place] and not self._silent[place]:
            self._learned[place] = True  # asked once: who does not tell its settings never will
            if bus.learn(sensor):
                reading = bus.read(sensor)  # by what it told
        return reading

    # -- the port -----------------------------------------------------------------------------------------------

    def _opened(self) -> Bus:
        if self._bus is None:
            if time.monotonic() < self._open_at:
                raise PortBusyError("") if self._busy else PortError("")
            self._port = Port(self.settings.port, self.settings.baudrate, self.settings.parity)
            self._bus = Bus(self._port, self._protocol, self._count)
            self._learned = [False] * len(self._sensors)
            self._busy = False
            _log.info("line opened", port=self.settings.port, protocol=self.settings.protocol)
            self._trouble = ""
        return self._bus

    def _count(self, result: str) -> None:
        self.results[result] += 1

    def _heard(self, readings: list[Reading]) -> None:
        if any(reading.status is not Status.NO_ANSWER for reading in readings):
            self._mute, self._pause = 0, self._pauses[0]
            return
        self._mute += 1
        if self._mute >= SILENT_ROUNDS:
            self._mute = 0
            self._close()

    def _lost(self, error: PortError) -> None:
        self._close()
        if time.monotonic() < self._open_at:
            return  # it was not tried
        self._busy = isinstance(error, PortBusyError)
        self._open_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._pauses[1])
        if str(error) != self._trouble:  # once, not at each attempt
            self._trouble = str(error)
            _log.warning("line lost" if not self._busy else "line used by another", error=self._trouble)

    def _close(self) -> None:
        if self._port is not None:
            self._port.close()
        self._port = self._bus = None
