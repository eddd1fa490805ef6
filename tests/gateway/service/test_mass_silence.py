"""An operator's outage from the outside: two services on one store, a reload, and the watch killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import psycopg

from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests.gateway.wire import wait_for
from tests.harness import ServiceProcess, data_directory

CONFIG = """
[watch.silence]
floor = "4s"
ceiling = "60s"
learn = 3
[watch.incidents]
hold = "1s"
recovery = "3s"
[watch.firmware]
ask = false
[watch.mass_silence]
settle = "{settle}"
"""
NORD, OTHERS, STAY = 40, 80, 2
IMEIS = [f"35693803{place:07d}" for place in range(NORD + OTHERS)]
EVERY = 0.8  # s between reports


class Truck:
    """Reports while it may, and connects again whenever it has to: to the first of its services that takes it."""

    def __init__(self, imei: str, ports: list[int]) -> None:
        self.imei = imei
        self.ports = ports
        self.speaks = True

    async def run(self) -> None:
        """Until cancelled."""
        turn = 0
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[turn % len(self.ports)])
                try:
                    writer.write(login(self.imei))
                    async with asyncio.timeout(10):  # `wait_for` of 3.11 may lose what cancels it
                        await reader.readexactly(1)
                    while True:
                        if self.speaks:
                            record = avl_record(timestamp=round(time.time() * 1000), satellites=9)
                            writer.write(avl_frame(CODEC_8, [record]))
                            async with asyncio.timeout(10):
                                await reader.readexactly(4)
                        await asyncio.sleep(EVERY)
                finally:
                    writer.close()
            turn += 1
            await asyncio.sleep(0.3)


class Observer:
    """What the store says."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as link:
            return link.execute(statement.encode()).fetchall()

    def tickets(self) -> list[tuple[str, str]]:
        return self.rows("SELECT kind, state FROM ticket ORDER BY kind, id")

    def members(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM incident WHERE parent IS NOT NULL GROUP BY 1"))


def test_an_operator_falls_silent_and_comes_back_but_for_two(postgres_dsn: str) -> None:
    with data_directory() as folder:
        config = folder.parent / "dozor.toml"
        config.write_text(CONFIG.format(settle="30s"))
        services = []
        try:
            for name in ("one", "two"):
                home = folder.parent / name
                home.mkdir(mode=0o711)
                services.append(ServiceProcess(home / "data", DOZOR_STORE__DSN=postgres_dsn, DOZOR_CONFIG=str(config)))
                services[-1].start()
            fleet = folder.parent / "fleet.csv"
            lines = [f"{imei},{'Nord' if place < NORD else 'West'}" for place, imei in enumerate(IMEIS)]
            fleet.write_text("\n".join(["terminal,operator", *lines]))
            assert services[0].command("terminal", "import", str(fleet)).returncode == 0
            asyncio.run(_play(services, Observer(postgres_dsn), config))
            for service in services:
                assert "Traceback" not in service.log.read_text(errors="replace")
        finally:
            for service in services:
                service.end()


async def _play(services: list[ServiceProcess], seen: Observer, config: Path) -> None:
    first, second = services
    ports = [service.ports["teltonika"] for service in services]
    # Whoever watches, half of each operator's terminals are heard by the other service.
    trucks = [Truck(imei, ports[place % 2 :] + ports[: place % 2]) for place, imei in enumerate(IMEIS)]
    nord = trucks[:NORD]
    running = [asyncio.create_task(truck.run()) for truck in trucks]
    try:
        enough = "SELECT count(*) FROM (SELECT terminal FROM record GROUP BY 1 HAVING count(*) >= 6) heard"
        await until(lambda: seen.rows(enough) == [(len(trucks),)], 40)
        assert seen.tickets() == []

        # A suspicion keeps single tickets waiting; a shorter time to settle counts from the reload on.
        for truck in nord:
            truck.speaks = False
        await asyncio.sleep(4 + 1 + 4)
        assert seen.tickets() == []
        await asyncio.to_thread(config.write_text, CONFIG.format(settle="2s"))
        for service in services:
            assert service.process is not None
            service.process.send_signal(signal.SIGHUP)
        await until(lambda: seen.members() == {"open": NORD}, 15)
        assert seen.tickets() == [("mass-silence", "new")]
        ((by, value, members),) = seen.rows(
            "SELECT g.group_by, g.group_value, count(DISTINCT m.terminal) FROM incident g JOIN incident m"
            " ON m.parent = g.id GROUP BY g.id"
        )
        assert (by, value, members) == ("operator", "Nord", NORD)
        listeners = {listener for (listener,) in seen.rows("SELECT DISTINCT listener FROM connection")}
        assert listeners == {f"teltonika:{port}" for port in ports}
        watching = first if first.metric("dozor_watch_active") else second
        await until(lambda: watching.metric("dozor_mass_silence_members") == NORD, 10)
        await until(lambda: watching.metric('dozor_incidents_open{kind="mass-silence"}') == 1, 15)
        assert watching.metric("dozor_listening") == 1
        assert watching.metric("dozor_watch_tick_seconds_count") > 5

        # The watch dies; the other service goes on with the same group.
        other = second if watching is first else first
        watching.kill()
        await until(lambda: other.metric("dozor_watch_active") == 1, 40)
        await until(lambda: other.metric("dozor_mass_silence_members") == NORD, 10)
        await asyncio.sleep(3)
        assert seen.tickets() == [("mass-silence", "new")]

        # The operator is back; two trucks are not.
        for truck in nord[STAY:]:
            truck.speaks = True
        both = [("mass-silence", "awaiting_consent"), *[("silence", "new")] * STAY]
        await until(lambda: seen.tickets() == both, 40)
        await until(lambda: seen.members() == {"closed": NORD}, 20)
        alone = seen.rows("SELECT e.identity FROM ticket t JOIN terminal e ON e.id = t.terminal ORDER BY 1")
        assert alone == [(truck.imei,) for truck in nord[:STAY]]
        await until(lambda: other.metric("dozor_mass_silence_members") == 0, 10)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def until(holds: Any, seconds: float) -> None:
    """Wait, while the trucks go on."""
    await asyncio.to_thread(wait_for, holds, seconds)
