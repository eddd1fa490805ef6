"""What the decoders are timed on: the data of simulated vehicles, twenty records a frame."""

from __future__ import annotations

from collections.abc import Callable

from gateway.simulator import omnicomm, wialon_ips
from gateway.simulator.fleet import Reading, Vehicle, make_fleet
from gateway.simulator.scenario import Profiles, Scenario
from gateway.simulator.teltonika import declared_record
from protocols.omnicomm import declaration as omnicomm_wire
from protocols.teltonika import declaration as teltonika_wire
from protocols.wialon_ips import packets

RECORDS = 20
_START_MS = 1_790_000_000_000
_VEHICLES = 20


def wire_frames(protocol: str, count: int) -> tuple[bytes, list[bytes]]:
    """The login that precedes them, and `count` frames as one terminal sends them, each in one piece."""
    build = _BUILD[protocol]
    vehicles = [
        Vehicle(spec, scenario)
        for scenario in [Scenario(seed=7, terminals=_VEHICLES, mix={protocol: 1.0}, profiles=Profiles(10, 0, 0, 0))]
        for spec in make_fleet(scenario)
    ]
    frames = []
    for n in range(count):
        vehicle = vehicles[n % _VEHICLES]
        readings = [vehicle.read(vehicle.due, _START_MS) for _ in range(RECORDS)]
        frames.append(build(n, readings))
    return _LOGIN[protocol], frames


def _teltonika(number: int, readings: list[Reading]) -> bytes:
    return teltonika_wire.avl_frame(teltonika_wire.CODEC_8, [declared_record(reading) for reading in readings])


def _omnicomm(number: int, readings: list[Reading]) -> bytes:
    messages = [omnicomm.message(reading) for reading in readings]
    return omnicomm_wire.container(1000 + number, readings[0].time // 1000 - omnicomm.EPOCH, messages)


def _wialon(number: int, readings: list[Reading]) -> bytes:
    return packets.black_box([wialon_ips.message(reading) for reading in readings])


_BUILD: dict[str, Callable[[int, list[Reading]], bytes]] = {
    "teltonika": _teltonika,
    "omnicomm": _omnicomm,
    "wialon-ips": _wialon,
}
_LOGIN = {
    "teltonika": teltonika_wire.login("356938035643809"),
    "omnicomm": omnicomm_wire.identification(300_000_001, 312),
    "wialon-ips": packets.login("353451044508750", version="2.0"),
}
