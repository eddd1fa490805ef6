"""A real Mosquitto, publishers, and services that read from it."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record
from tests.harness import ServiceProcess, data_directory, free_port, give_store

# As deploy/mosquitto has them, but for listeners and rights: what is published is kept, whoever is away.
SETTINGS = """
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
max_inflight_messages 1000
max_queued_messages 0
max_packet_size 2097152
persistent_client_expiration 7d
connection_messages true
log_type all
log_dest file {folder}/log
"""


class Mosquitto:
    """A broker on a loopback port of its own, whose state outlives it."""

    def __init__(self, program: Path, folder: Path, more: str = "", listener: str = "allow_anonymous true") -> None:
        self.program = program
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        user = "user root\n" if os.geteuid() == 0 else ""
        text = f"listener {self.port} 127.0.0.1\n{listener}\n{user}{SETTINGS.format(folder=folder)}{more}"
        (folder / "mosquitto.conf").write_text(text)

    def start(self) -> None:
        """Start it; return when it listens."""
        self.process = subprocess.Popen(
            [self.program, "-c", str(self.folder / "mosquitto.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        for _ in range(200):
            assert self.process.poll() is None, self.log()
            if f"port {self.port}" in self.log() and "running" in self.log().rsplit("starting", 1)[-1]:
                return
            time.sleep(0.02)
        raise AssertionError(f"no broker: {self.log()}")

    def stop(self) -> None:
        """In an orderly way: it writes down what it keeps."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(20)

    def log(self) -> str:
        """What it said."""
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def said(self, text: str) -> int:
        """How often."""
        return self.log().count(text)


@contextmanager
def broker(program: Path, more: str = "", listener: str = "allow_anonymous true") -> Iterator[Mosquitto]:
    """A running one, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dozor-mosquitto-"))
    found = Mosquitto(program, folder, more, listener)
    try:
        found.start()
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.process.kill()
            found.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def service(
    at: Mosquitto | None, *arguments: str, folder: Path | None = None, text: str = "", **environment: str
) -> Iterator[ServiceProcess]:
    """A service that reads from this broker; not started. `text` is a whole configuration in place of that."""
    with data_directory() as made:
        home = folder or made
        if not home.exists():
            give_store(home)
        file = made.parent / "dozor.toml"
        file.write_text(text or (f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{at.port}"\n' if at is not None else ""))
        found = ServiceProcess(home, DOZOR_CONFIG=str(file), DOZOR_WATCH__FIRMWARE__ASK="false", **environment)
        found.arguments = list(arguments)
        try:
            yield found
        finally:
            found.end()


@contextmanager
def running(at: Mosquitto, *arguments: str, **more: str) -> Iterator[ServiceProcess]:
    """A ready one that is subscribed."""
    with service(at, *arguments, **more) as found:
        found.start()
        subscribed(found)
        yield found
        assert "Traceback" not in found.log.read_text(), found.log.read_text()


def subscribed(found: ServiceProcess, within: float = 20.0) -> None:
    """Wait until messages come to it."""
    until(
        lambda: "dozor_mqtt_connected" in found.get("/metrics")[1] and found.metric("dozor_mqtt_connected") == 1, within
    )


def until(true: object, within: float = 20.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + within
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def frame(moment: int, lat: int = 557_520_120, lon: int = 376_175_430) -> bytes:
    """A Teltonika frame of one record, at so many ms since the epoch."""
    return avl_frame(CODEC_8, [avl_record(timestamp=moment, latitude=lat, longitude=lon, satellites=9)])


def publish(port: int, *messages: tuple[str, bytes | str], qos: int = 1, retain: bool = False, **more: str) -> None:
    """Publish one after the other, each acknowledged by the broker."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    if more:
        client.username_pw_set(more["user"], more["password"])
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        for topic, payload in messages:
            client.publish(topic, payload, qos, retain).wait_for_publish(10)
    finally:
        client.disconnect()
        client.loop_stop()


def now_ms() -> int:
    """The present."""
    return int(time.time() * 1000)


@dataclass
class Publisher:
    """A terminal that publishes frames at QoS 1, and remembers what the broker took."""

    terminal: str
    port: int
    interval: float = 0.0
    sent: dict[int, tuple[int, int]] = field(default_factory=dict)  # ms -> lat, lon in 1e-7 degrees
    taken: set[int] = field(default_factory=set)

    async def run(self, until: asyncio.Event) -> None:
        """Publish until told to stop, then until the broker has taken everything."""
        chance = random.Random(self.terminal)
        start, pending = now_ms() - 3_600_000, 0
        while not until.is_set() or pending:
            try:
                properties = Properties(PacketTypes.CONNECT)
                async with aiomqtt.Client(
                    "127.0.0.1", self.port, identifier=self.terminal, properties=properties, timeout=5,
                    protocol=aiomqtt.ProtocolVersion.V5,
                ) as client:  # fmt: skip
                    while not until.is_set() or pending:
                        if not pending:
                            pending = start + len(self.sent)
                            self.sent[pending] = (
                                chance.randint(-800_000_000, 800_000_000), chance.randint(-(10**9), 10**9)
                            )  # fmt: skip
                        await client.publish(
                            f"telemetry/{self.terminal}/teltonika", frame(pending, *self.sent[pending]), 1
                        )
                        self.taken.add(pending)
                        pending = 0
                        await asyncio.sleep(self.interval)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)


async def load(publishers: list[Publisher], disturb: object) -> None:
    """Publish while `disturb` (blocking) runs."""
    end = asyncio.Event()
    tasks = [asyncio.create_task(one.run(end)) for one in publishers]
    try:
        await asyncio.to_thread(disturb)  # type: ignore[arg-type]
    finally:
        end.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)


def check(services: list[ServiceProcess], publishers: list[Publisher], within: float = 40.0) -> int:
    """What the broker took is in `telemetry` exactly once and unaltered, and nothing else is; how many."""
    expected = {
        (one.terminal, moment): (lat / 1e7, lon / 1e7)
        for one in publishers for moment, (lat, lon) in one.sent.items() if moment in one.taken
    }  # fmt: skip
    sent = {(one.terminal, moment) for one in publishers for moment in one.sent}
    query = "SELECT terminal, (extract(epoch FROM time) * 1000)::bigint, lat, lon FROM telemetry"
    deadline = time.monotonic() + within
    while True:
        rows = services[0].query(query)
        if len(rows) >= len(expected) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    stored = {(str(row[0]), int(str(row[1]))): (row[2], row[3]) for row in rows}
    assert len(stored) == len(rows), "something is stored twice"
    missing = expected.keys() - stored.keys()
    assert not missing, f"{len(missing)} of {len(expected)} are not stored: {sorted(missing)[:3]}"
    assert all(stored[key] == place for key, place in expected.items())
    assert not stored.keys() - sent, "rows that were never sent"
    return len(expected)
