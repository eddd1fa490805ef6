"""Half duplex: one request at a time, and whatever may come between it and its answer. Blocking.

ask → answer whole, checked, of the sensor and to the question asked   → the reading
    → nothing right in time → the line is listened to for a while: a late answer must not be taken for the next
      one's, and it might, since answers do not say which request they answer → asked again
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.receive.lines.port import Port
from protocols.lines import Exchange, LineProtocol, Reading, Sensor, Status, combined

ATTEMPTS = 3  # of one reading, as sensors' makers advise; of a sensor that did not answer last time one
LATE = 0.8  # s after its time in which a late answer is waited for, and thrown away; many times what a sensor may take
_BABBLE = 1 << 16  # bytes after one request: somebody else talks on the line, and will not stop
RESULTS = ("good", "no_answer", "checksum", "refused", "invalid")


class Bus:
    """The sensors of one port."""

    def __init__(
        self,
        port: Port,
        protocol: LineProtocol,
        count: Callable[[str], None] = lambda _result: None,
        *,
        late: float = LATE,
    ) -> None:
        """`count` is told each request's result, a word of `RESULTS`."""
        self._port = port
        self._protocol = protocol
        self._count = count
        self._late = late
        self._within = protocol.answers_within + port.extra

    def read(self, sensor: Sensor, attempts: int = ATTEMPTS) -> Reading:
        """One reading of a sensor, asked again while it does not answer rightly.

        Raises
        ------
        PortError
            If the port is gone.
        """
        reading = Reading(Status.NO_ANSWER)
        for attempt in range(1, attempts + 1):
            readings = []
            for exchange in sensor.exchanges(attempt == attempts > 1):
                readings.append(self.ask(exchange))
                if readings[-1].status in (Status.NO_ANSWER, Status.CHECKSUM):
                    break
            reading = combined(readings)
            if reading.final or reading.status in (Status.GOOD, Status.INVALID):
                break
        return reading

    def learn(self, sensor: Sensor) -> bool:
        """Read the settings of a sensor that may have some, once; whether it told them."""
        exchange = sensor.learn()
        return exchange is not None and self.ask(exchange).status is Status.GOOD

    def ask(self, exchange: Exchange) -> Reading:
        """One request."""
        port, protocol = self._port, self._protocol
        self._discard(protocol.turnaround)
        port.write(exchange.request)
        within = self._within + port.transfer(len(exchange.request) + exchange.length)
        reading = self._answer(exchange, within)
        if reading is None:
            reading = exchange.missing()
            self._answer(exchange, self._late)
        self._count(RESULTS[reading.status])
        return reading

    def _answer(self, exchange: Exchange, within: float) -> Reading | None:
        deadline = time.monotonic() + within
        taken = 0
        while (left := deadline - time.monotonic()) > 0 and taken < _BABBLE:
            data = self._port.read(left)
            taken += len(data)
            if data and (reading := exchange.receive_data(data)) is not None:
                return reading
        return None

    def _discard(self, quiet: float) -> None:
        """Wait until nothing comes: what is on its way belongs to nothing that is asked from now on."""
        deadline = time.monotonic() + self._within
        while self._port.read(quiet) and time.monotonic() < deadline:
            pass
