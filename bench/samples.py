"""What the decoders are timed on: the data of simulated vehicles, twenty records a frame."""

from __future__ import annotations

from collections import deque

from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.scenario import Profiles, Scenario
from gateway.simulator.truth import Truth
from protocols.records import Frame, Login, Message, Reply, Session
from protocols.registry import protocol, terminals
from protocols.terminals import Terminal

RECORDS = 20
_START_MS = 1_790_000_000_000
_VEHICLES = 20
_NOW = _START_MS / 1000
# Where a protocol's models speak differently, the one whose frames are timed: what the struct loop reads.
_MODELS = {"teltonika": "FMB920", "ruptela": "FM-Eco4"}


def wire_frames(name: str, count: int, records: int = RECORDS) -> tuple[bytes, list[bytes]]:
    """The login that precedes them, and `count` frames of `records` as one terminal sends them, each in one piece.

    The terminal's side and our session talk to one another until the terminal sends what is new; its first frame is
    left out, which with some carries what the others do not.
    """
    scenario = Scenario(
        seed=7, terminals=_VEHICLES, mix={name: 1.0}, profiles=Profiles(10, 0, 0, 0), frame_records=records
    )
    fleet = make_fleet(scenario)
    vehicles = [Vehicle(spec, scenario) for spec in fleet]
    spec = next(spec for spec in fleet if _MODELS.get(name, spec.model) == spec.model)
    kind = terminals(name)["tcp"]
    terminal = kind(spec, Truth(), firmware=kind.models[spec.model][3], frame_records=records)
    session = protocol(name).new_session()
    terminal.connect(_NOW)
    login = terminal.data_to_send(_NOW)
    login += _hear(session, terminal, login)
    frames = []
    for n in range(count + 1):
        vehicle = vehicles[n % _VEHICLES]
        for _ in range(records):
            terminal.record(vehicle.read(vehicle.due, _START_MS))
        frames.append(terminal.data_to_send(_NOW))
        _hear(session, terminal, frames[-1])
    return login, frames[1:]


def _hear(session: Session, terminal: Terminal, data: bytes) -> bytes:
    """One word of the terminal and what we answer, until neither has more to say; frames are acknowledged.

    What it said besides before it was logged in: some agree on more than a name.
    """
    more = b""
    while data:
        events = deque(session.receive_data(data, _NOW))
        while events:
            event = events.popleft()
            if isinstance(event, Login):
                events.extendleft(reversed(session.accept(_NOW)))
            elif isinstance(event, Reply):
                terminal.receive(event.data, _NOW)
            elif isinstance(event, Frame | Message):
                terminal.receive(session.acknowledge(event), _NOW)
        ready = terminal.ready
        data = terminal.data_to_send(_NOW)
        more += b"" if ready else data
    return more
