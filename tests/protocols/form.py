"""What the tests of every protocol are driven by: its worked packets, and its terminal's side against its session.

A protocol brings, besides its package:

    tests/protocols/NAME_vectors.py   VECTORS; and where they say more than bytes can:
        REFUSALS    reason → bytes of a connection that are refused so, where no damage of the vectors makes it
        IMPOSSIBLE  reason → why nothing is ever refused so
    tests/protocols/NAME_oracle.py    the declaration as a judge of the fast decoder:
        declared(frame)  the records it reads, by `position`, as many columns as it likes; None: it refuses the frame
        rebuilt(frame)   the frame's bytes, built out of what it read
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from bench.samples import wire_frames
from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.scenario import Scenario
from gateway.simulator.truth import Truth
from protocols.records import SATELLITES_UNKNOWN, Event, Frame, Identified, Login, Malformed, Message, Reply, Session
from protocols.registry import protocol, terminals
from protocols.terminals import SentRecord
from tests.protocols.helpers import feed, of_kind
from tests.protocols.rows import rows_of
from tests.protocols.vectors import Vector

NOW = 1_790_000_000.0
# Reasons that a session gives; `timeout` is the gateway's.
REASONS = {"checksum", "length", "structure", "login", "truncated", "unsupported"}


def _beside(name: str, what: str) -> ModuleType:
    return import_module(f"tests.protocols.{name.replace('-', '_')}_{what}")


def vectors(name: str, *, udp: bool = False) -> list[Vector]:
    """The worked packets of a protocol, of connections or of datagrams."""
    return [one for one in _beside(name, "vectors").VECTORS if ("UDP" in one.source) is udp]


def oracle(name: str) -> Any:
    """The declaration as a judge."""
    return _beside(name, "oracle")


def refusals(name: str) -> Mapping[str, bytes]:
    """Bytes of a connection that are refused for a reason."""
    return getattr(_beside(name, "vectors"), "REFUSALS", {})


def impossible(name: str) -> Mapping[str, str]:
    """Reasons for which nothing is refused."""
    return getattr(_beside(name, "vectors"), "IMPOSSIBLE", {})


@cache
def spoken(name: str, count: int = 4, records: int = 2) -> tuple[bytes, tuple[bytes, ...]]:
    """A login, and what a simulated terminal sends behind it."""
    login, frames = wire_frames(name, count, records)
    return login, tuple(frames)


@cache
def streams(name: str) -> tuple[bytes, ...]:
    """Connections: each worked packet behind the login it lacks, and a simulated terminal's."""
    wire = protocol(name)
    login, frames = spoken(name)
    return (*(wire.missing_login(one.wire) + one.wire for one in vectors(name)), login + b"".join(frames))


def heard(name: str, data: bytes, step: int = 1 << 20, *, close: bool = True) -> list[Event]:
    """What a session makes of a connection."""
    return feed(protocol(name).new_session(transport="tcp"), data, step, now=NOW, close=close)


def frames_of(events: list[Event]) -> list[Frame]:
    """Each frame alone."""
    return [one for frame in of_kind(events, Frame) for one in frame.singles()]


def said(name: str, data: bytes, *, udp: bool = False) -> list[Any]:
    """The values of all checksums in a stream, by the bytes' own names."""
    anatomy = protocol(name).anatomy
    assert anatomy is not None
    return [
        span.value
        for unit in anatomy(data, udp=udp)
        for span in unit.spans
        if span.name.rpartition(".")[2] in ("crc", "checksum", "crc.header", "crc.data")
    ]


@cache
def checked(name: str) -> bool:
    """Whether every frame of its terminal carries a checksum: whatever is damaged is seen."""
    login, frames = spoken(name)
    alone = len(said(name, login))
    return all(len(said(name, login + frame)) > alone for frame in frames)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The bytes with one bit turned: what every checksum sees."""
    spoilt = bytearray(data)
    spoilt[dice.randrange(len(spoilt))] ^= 1 << dice.randrange(8)
    return bytes(spoilt)


@dataclass
class Line:
    """A terminal, the sessions it meets, and what a gateway would have stored; `now` in s."""

    name: str
    transport: str = "tcp"
    records: int = 3
    seed: int = 7
    now: float = NOW
    truth: Truth = field(default_factory=lambda: Truth(keep_records=True))
    stored: dict[int, dict[str, Any]] = field(default_factory=dict)  # by time
    again: int = 0  # records that were there already

    def __post_init__(self) -> None:
        scenario = Scenario(seed=self.seed, terminals=1, mix={self.name: 1.0}, frame_records=self.records)
        (spec,) = make_fleet(scenario)
        self.vehicle = Vehicle(spec, scenario)
        kind = terminals(self.name)[self.transport]
        self.terminal = kind(spec, self.truth, firmware=kind.models[spec.model][3], frame_records=self.records)
        self.session: Session | None = None

    def record(self, count: int) -> None:
        """So many readings, each with a time of its own."""
        for _ in range(count):
            self.terminal.record(self.vehicle.read(self.vehicle.due, int(NOW * 1000)))

    def connect(self) -> None:
        """A new connection."""
        self.session = protocol(self.name).new_session(transport=self.transport)
        self.terminal.disconnected()
        self.terminal.connect(self.now)

    def exchange(self, dice: random.Random | None = None, harm: float = 0.0) -> None:
        """Both talk until neither has more to say; `harm`: the share of what the terminal says that is damaged."""
        for _ in range(10_000):
            self.now += 0.01
            data = self.terminal.data_to_send(self.now)
            if not data or self.terminal.wants_close:
                return
            if dice is not None and dice.random() < harm:
                seen = checked(self.name) and self.terminal.ready  # a login may have no checksum
                data = damaged(data, dice) if seen and dice.random() < 0.7 else b""
                if not data:  # the way broke within
                    return
            assert self.session is not None
            if not self.hear(self.session, list(self.session.receive_data(data, self.now))):
                return
        raise AssertionError("they never stop talking")

    def datagrams(self) -> None:
        """As `exchange`, each datagram a session of its own."""
        for _ in range(10_000):
            self.now += 0.01
            found = self.terminal.datagrams(self.now)
            if not found:
                return
            for data in found:
                session = protocol(self.name).new_session(transport="udp")
                self.hear(session, list(session.receive_data(data, self.now)))
        raise AssertionError("they never stop talking")

    def hear(self, session: Session, events: list[Event]) -> bool:
        """Store what came and answer it; False: the session reads no more."""
        pending = deque(events)
        while pending:
            event = pending.popleft()
            match event:
                case Login():
                    assert event.terminal == self.terminal.spec.identity
                    pending.extendleft(reversed(list(session.accept(self.now))))
                case Reply():
                    self.terminal.receive(event.data, self.now)
                case Frame():
                    self.store(event)
                    self.terminal.receive(session.acknowledge(event), self.now)
                case Message():
                    self.terminal.receive(session.acknowledge(event), self.now)
                case Malformed() | Identified():
                    pass
                case _:
                    return False
        return True

    def store(self, frame: Frame) -> None:
        """Keep each record once, by its time; a resend is the same record."""
        decoded = protocol(self.name).decode([frame])
        assert decoded.quarantined == []
        for row in rows_of(decoded.batch):
            known = self.stored.setdefault(row["time"], row)
            self.again += known is not row
            assert known["fingerprint"] == row["fingerprint"], "a resend is another record"

    def differences(self) -> Iterator[tuple[SentRecord, dict[str, Any]]]:
        """What was sent against what was stored, value by value."""
        kind = type(self.terminal)
        for record in self.truth.records:
            expected = kind.expected(record)
            row = self.stored.get(expected["time"])
            if row is None:
                yield record, {"record": "missing"}
                continue
            if row["satellites"] == SATELLITES_UNKNOWN:  # as the view has it
                row = {**row, "satellites": None}
            wrong = {
                name: (row[name], expected[name])
                for name in ("lat", "lon", "altitude", "speed", "course", "satellites")
                if not near(row[name], expected[name])
            }
            if bool(row["flags"] & 1) is not expected["valid"]:
                wrong["valid"] = (row["flags"], expected["valid"])
            if expected["archive"] is not None and bool(row["flags"] & 16) is not expected["archive"]:
                wrong["archive"] = (row["flags"], expected["archive"])
            for name, value in expected["measures"].items():
                if not near(row["measures"].get(name), value):
                    wrong[name] = (row["measures"].get(name), value)
            if wrong:
                yield record, wrong


def near(found: Any, expected: Any) -> bool:
    """Equal, numbers as near as a float4 tells them."""
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return abs(found - expected) <= 1e-9 + 1e-7 * abs(expected)
    return bool(found == expected)
