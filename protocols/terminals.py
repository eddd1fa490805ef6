"""The terminal's side of a connection, sans-IO: a black box, frames in flight, and a check of every ack.

A protocol's own stands in its package as `terminal.py`, and the registry finds it (`registry.terminals`): simulator,
bench and tests speak every protocol through it.

    connect_carried, carried   the same where a broker carries each frame and acknowledges it
    record(reading)            into the black box
    connect(now)               a new connection: log in; what was unanswered goes out again
    data_to_send(now) → bytes  what may leave now
    receive(data, now)         what the server said
    disconnected()             the connection is gone

A terminal erases exactly what it was told to erase, and only if it has sent just that: any other ack is a
violation, nothing is erased, and the terminal hangs up (`wants_close`), as if it had been told nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

# Some days of one-minute records: small terminals hold about as much. The oldest go first, and are counted.
BLACK_BOX = 20_000
_MAX_REPLY = 65_536  # a server's longest word to a terminal (a command) is far shorter


@dataclass(slots=True)
class FuelReading:
    """Raw code 0…4095 and °C; `status` as Omnicomm numbers it: 2 = good, 3 = no data."""

    level: int
    temperature: int
    status: int = 2


@dataclass(slots=True)
class Reading:
    """What a terminal knows at one moment.

    `time` ms since the epoch; `lat`, `lon` in 1e-7 degrees, the last valid fix while `satellites` is 0;
    `altitude` m, `speed` km/h, `course` degrees; voltages in mV; `gsm` 0…5; `odometer` and `step` (since the last
    reading) in m; `changed` the ignition has just changed; `state` for people.
    """

    time: int
    lat: int
    lon: int
    altitude: int
    speed: int
    course: int
    satellites: int
    ignition: bool
    moving: bool
    changed: bool
    external: int
    battery: int
    gsm: int
    odometer: int
    step: int
    rpm: int
    fuel: tuple[FuelReading, ...]
    state: str


@dataclass(frozen=True, slots=True)
class TerminalSpec:
    """Who a terminal is; `identity` is what the gateway will call it, `number` the Omnicomm id."""

    index: int
    protocol: str
    identity: str
    model: str
    profile: str
    transport: str = "tcp"


@dataclass(slots=True)
class SentRecord:
    """One record of one terminal, made once and sent one or more times.

    `archive` : as its frame was marked; None when it went out both ways (sent live, again as archive).
    """

    spec: TerminalSpec
    reading: Reading
    archive: bool | None = None
    sends: int = 0
    acked: bool = False

    def mark_sent(self, archive: bool) -> None:
        """The record leaves in a frame."""
        self.archive = archive if self.sends == 0 or self.archive == archive else None
        self.sends += 1


class Witness(Protocol):
    """Who is told what a terminal did and heard."""

    def count(self, protocol: str, what: str, by: int = 1) -> None: ...
    def made(self, record: SentRecord) -> None: ...
    def violation(self, terminal: str, at: float, what: str) -> None: ...
    def acknowledged_after(self, seconds: float) -> None: ...


class Packet:
    """A frame that was built: sent again as it is until it is acknowledged."""

    __slots__ = ("archive", "data", "number", "records", "sends", "sent_at")

    def __init__(self, data: bytes, records: Sequence[SentRecord], *, number: int = 0, archive: bool = False) -> None:
        self.data = data
        self.records = records
        self.number = number
        self.archive = archive
        self.sends = 0
        self.sent_at = 0.0


class Terminal(ABC):
    """What all protocols share. `window` frames may be in flight; `frame_records` gather before a live frame.

    Attributes
    ----------
    models : model → its firmware versions, oldest first: long superseded, critical, broken, present, just released.
    weight : its share of a mixed fleet.
    resolution : of the wire's time, ms.
    archive_records : at most so many in one frame of a backlog.
    answers : how it answers commands: "at once", "late" (by `delay` seconds, with what it says next), "never", "twice".
    """

    models: ClassVar[dict[str, tuple[str, str, str, str, str]]]
    weight: ClassVar[float] = 3.0
    resolution: ClassVar[int] = 1000
    archive_records: ClassVar[int] = 20

    def __init__(
        self, spec: TerminalSpec, truth: Witness, *, firmware: str = "", window: int = 1, frame_records: int = 1
    ) -> None:
        self.spec = spec
        self.truth = truth
        self.firmware = firmware
        self.window = window
        self.frame_records = frame_records
        self.wants_close = False
        self.ready = False  # logged in
        self._box: deque[SentRecord] = deque()  # recorded, not yet in a frame
        self._offline = 0  # so many of the oldest in `_box` were recorded without a connection
        self._unsent: deque[Packet] = deque()  # built, to be sent (again)
        self._in_flight: deque[Packet] = deque()  # sent in this connection, not acknowledged
        self._words = bytearray()  # logins, answers
        self.answers = "at once"
        self.delay = 20.0
        self._late: list[tuple[float, bytes]] = []  # answers and when they are due
        self._buffer = bytearray()
        self._login_sent_at = 0.0
        self._urgent = False

    # -- the black box

    def record(self, reading: Reading) -> None:
        """Keep a reading until it is acknowledged."""
        record = SentRecord(self.spec, reading)
        self.truth.made(record)
        self._box.append(record)
        if not self.ready:
            self._offline = len(self._box)
        if reading.changed:
            self._urgent = True
        if len(self._box) > BLACK_BOX:
            self._box.popleft()
            self._offline = max(0, self._offline - 1)
            self.truth.count(self.spec.protocol, "records_dropped")

    @property
    def pending(self) -> int:
        """Records not yet acknowledged."""
        return len(self._box) + sum(len(p.records) for p in (*self._unsent, *self._in_flight))

    @property
    def awaiting(self) -> int:
        """Frames sent and not yet acknowledged."""
        return len(self._in_flight)

    # -- the connection

    def connect(self, now: float) -> None:
        """A new connection: log in; frames whose acks never came go out again first."""
        self.disconnected()
        self.wants_close = False
        self._login_sent_at = now
        self.truth.count(self.spec.protocol, "connections")
        self._log_in(now)

    def connect_carried(self, now: float) -> None:
        """As `connect`, over a carrier that knows who it is and acknowledges frames itself: no login, no words."""
        self.connect(now)
        self._words.clear()
        self._logged_in()

    def carried(self, now: float) -> None:
        """The carrier has acknowledged the oldest frame in flight."""
        self._words.clear()
        if self._in_flight:
            self._erase_oldest(now)

    def disconnected(self) -> None:
        """Whatever was in flight was not acknowledged."""
        self.ready = False
        self._words.clear()
        self._late.clear()
        self._buffer.clear()
        self._unsent.extendleft(reversed(self._in_flight))
        self._in_flight.clear()
        self._offline = len(self._box)

    def data_to_send(self, now: float) -> bytes:
        """Bytes that may leave now; what they hold counts as sent."""
        while self._late and self._late[0][0] <= now:
            self._words += self._late.pop(0)[1]
        out = bytes(self._words)
        self._words.clear()
        if self.ready and not self.wants_close:
            while len(self._in_flight) < self.window:
                packet = self._unsent.popleft() if self._unsent else self._next_packet()
                if packet is None:
                    break
                self._send(packet, now)
                out += packet.data
        return out

    def datagrams(self, now: float) -> list[bytes]:
        """What may leave now over UDP, one datagram each; one whose answer is late is sent once more."""
        before = set(map(id, self._in_flight))
        self.data_to_send(now)
        return [packet.data for packet in self._in_flight if id(packet) not in before]

    def waiting_since(self) -> float | None:
        """Since when the server owes a word; None when it owes none."""
        if not self.ready:
            return self._login_sent_at
        return self._in_flight[0].sent_at if self._in_flight else None

    def receive(self, data: bytes, now: float) -> None:
        """Hear the server out; nonsense is a violation, never an exception."""
        if self.wants_close:
            return
        self._buffer += data
        if len(self._buffer) > _MAX_REPLY:
            self._violation(now, f"more than {_MAX_REPLY} bytes without an end")
            return
        self._parse(now)

    # -- for the protocols

    @abstractmethod
    def _log_in(self, now: float) -> None:
        """Put the login into `_words`."""

    @abstractmethod
    def _build(self, records: Sequence[SentRecord], *, archive: bool) -> Packet:
        """A frame of these records."""

    @abstractmethod
    def _parse(self, now: float) -> None:
        """Consume what is whole in `_buffer`."""

    @staticmethod
    @abstractmethod
    def identity(serial: int) -> str:
        """What the terminal with that serial number, 0 to 999 999, names itself."""

    @staticmethod
    @abstractmethod
    def expected(record: SentRecord) -> dict[str, Any]:
        """The row of `telemetry` this record must become; `measures` only those the simulator vouches for."""

    def _next_packet(self) -> Packet | None:
        """The next frame of new records; None: nothing to send yet."""
        if self._offline:
            count, archive = min(self._offline, self.archive_records), True
            self._offline -= count
        elif self._box and (self._urgent or len(self._box) >= self.frame_records):
            count, archive = min(len(self._box), max(self.frame_records, self.archive_records)), False
            self._urgent = False
        else:
            return None
        return self._build([self._box.popleft() for _ in range(count)], archive=archive)

    def _send(self, packet: Packet, now: float) -> None:
        for record in packet.records:
            if record.sends == 0:
                self.truth.count(self.spec.protocol, "records_sent")
            record.mark_sent(packet.archive)
        self.truth.count(self.spec.protocol, "frames_resent" if packet.sends else "frames_sent")
        packet.sends += 1
        packet.sent_at = now
        self._in_flight.append(packet)

    def _answer_command(self, answer: bytes, now: float) -> None:
        """A command was understood: answer it as this terminal does."""
        self.truth.count(self.spec.protocol, "commands_heard")
        if self.answers == "never":
            return
        self.truth.count(self.spec.protocol, "commands_answered")
        if self.answers == "late":
            self._late.append((now + self.delay, answer))
        else:
            self._words += answer * (2 if self.answers == "twice" else 1)

    def _logged_in(self) -> None:
        self.ready = True
        self.truth.count(self.spec.protocol, "logins")

    def _refused(self) -> None:
        self.truth.count(self.spec.protocol, "logins_refused")
        self.wants_close = True

    def _erase_oldest(self, now: float) -> None:
        """The oldest frame in flight is acknowledged."""
        packet = self._in_flight.popleft()
        for record in packet.records:
            record.acked = True
        protocol = self.spec.protocol
        self.truth.count(protocol, "frames_acked")
        self.truth.count(protocol, "records_acked", len(packet.records))
        self.truth.acknowledged_after(now - packet.sent_at)

    def _violation(self, now: float, what: str) -> None:
        self.truth.violation(self.spec.identity, now, what)
        self.wants_close = True


def imei(tac: str, serial: int) -> str:
    """Type allocation code of eight digits, six of the serial number, and the check digit."""
    body = f"{tac}{serial:06d}"
    return body + luhn(body)


def luhn(digits: str) -> str:
    """The check digit of an IMEI's first fourteen digits."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)
