"""Faults over the wire: simulated terminals, two receiving processes, one store, and what tickets come of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from protocols.teltonika import declaration as teltonika
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, data_directory

EVERY = 0.4  # s between frames
SETTINGS = {
    "WATCH__SILENCE__AFTER": "3",
    "WATCH__SILENCE__FLOOR": "2s",
    "WATCH__SILENCE__CEILING": "4s",
    "WATCH__SILENCE__LEARN": "3",
    "WATCH__INCIDENTS__HOLD": "1s",
    "WATCH__INCIDENTS__RECOVERY": "1s",
    "WATCH__POWER__LASTING": "1s",
    "WATCH__FUEL__LASTING": "1s",
    "WATCH__IDENTITY__MOST": "3",
    "WATCH__IDENTITY__WINDOW": "5s",
    "WATCH__FIRMWARE__ASK": "false",
}
WEEKS_1024 = 1024 * 7 * 86_400


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with data_directory() as folder:
        running = ServiceProcess(folder, **{f"DOZOR_{name}": value for name, value in SETTINGS.items()})
        running.arguments = ["--workers", "2"]
        try:
            running.start()
            yield running
            no_exception(running)
        finally:
            running.end()


class Vehicle:
    """It drives at 60 km/h with its ignition on, and tells what it is given."""

    def __init__(self, service: ServiceProcess, identity: str) -> None:
        self.service, self.identity = service, identity

    def connect(self) -> Link:
        link = Link(self.service, "teltonika")
        link.send(len(self.identity).to_bytes(2, "big") + self.identity.encode()).read(1)
        return link

    def tell(self, link: Link, *, ahead: float = 0.0, volts: int = 13_900, fuel: int = 2000, lat: float = 55.0) -> None:
        fuel_now = fuel if fuel < 0 else fuel + time.time_ns() % 7
        items = [(239, b"\x01"), (240, b"\x01"), (66, volts.to_bytes(2, "big"))]
        items.append((201, fuel_now.to_bytes(2, "big", signed=True)))
        record = teltonika.avl_record(
            timestamp=round((time.time() + ahead) * 1000),
            latitude=round(lat * 1e7), longitude=370_000_000, satellites=9, speed=60, items=items,
        )  # fmt: skip
        assert link.send(teltonika.avl_frame(teltonika.CODEC_8E, [record])).read(4) == b"\x00\x00\x00\x01"

    def drive(self, count: int, **told: float) -> None:
        with self.connect() as link:
            for _ in range(count):
                self.tell(link, **told)  # type: ignore[arg-type]
                time.sleep(EVERY)

    def tickets(self) -> dict[str, str]:
        rows = self.service.query(
            "SELECT i.kind, t.state FROM incident i JOIN ticket t ON t.id = i.ticket"
            " JOIN terminal e ON e.id = i.terminal WHERE e.identity = %s",
            self.identity,
        )
        return dict(rows)


def power_cut(vehicle: Vehicle) -> None:
    vehicle.drive(4)
    vehicle.drive(12, volts=100)
    assert wait_for(lambda: vehicle.tickets().get("power") == "new")
    vehicle.drive(8)
    assert wait_for(lambda: vehicle.tickets()["power"] == "awaiting_consent")


def sensor_sick(vehicle: Vehicle) -> None:
    vehicle.drive(4)
    vehicle.drive(14, fuel=-2)
    assert wait_for(lambda: vehicle.tickets().get("fuel-sensor") == "new")
    vehicle.drive(8)
    assert wait_for(lambda: vehicle.tickets()["fuel-sensor"] == "awaiting_consent")


def clock_wrong(vehicle: Vehicle) -> None:
    vehicle.drive(8, ahead=-WEEKS_1024)
    assert wait_for(lambda: vehicle.tickets().get("silence") == "new", within=15)
    vehicle.drive(22, ahead=-WEEKS_1024)
    assert vehicle.tickets()["clock"] == "new"
    assert wait_for(lambda: vehicle.tickets()["silence"] == "awaiting_consent", within=2)


def two_of_one_identity(vehicle: Vehicle) -> None:
    for turn in range(8):
        vehicle.drive(1, lat=55.0 + 3 * (turn % 2))
    assert wait_for(lambda: vehicle.tickets().get("identity") == "new")


FAULTS = (power_cut, sensor_sick, clock_wrong, two_of_one_identity)


def test_faults_over_the_wire_become_tickets_and_recover(service: ServiceProcess) -> None:
    failed: list[BaseException] = []

    def play(number: int, fault: object) -> None:
        try:
            fault(Vehicle(service, f"35000000000010{number}"))  # type: ignore[operator]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=play, args=its) for its in enumerate(FAULTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    metrics = service.get("/metrics")[1]
    assert 'dozor_terminals{detector="identity",verdict="fail"}' in metrics
