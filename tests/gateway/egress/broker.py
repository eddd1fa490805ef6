"""A real broker, and a consumer behind it that remembers what it was sent, in order."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.harness import free_port

CONFIGURATION = """
listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages {window}
max_queued_messages 0
persistence true
persistence_location FOLDER/
{more}
"""


class Broker:
    """Mosquitto on a port of its own. `more` goes into its file, FOLDER is its own."""

    def __init__(self, program: Path, folder: Path, more: str = "", window: int = 200) -> None:
        self.program, self.folder = program, folder
        self.port = self.plain_port = free_port()
        self.more, self.window = more, window
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        file = self.folder / "mosquitto.conf"
        text = CONFIGURATION.format(port=self.port, window=self.window, more=self.more)
        file.write_text(text.replace("FOLDER", str(self.folder)))
        (self.folder / "passwords").touch(0o644)
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([str(self.program), "-c", str(file)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "mosquitto.log").read_text())

    def stop(self, *, forgetful: bool = False) -> None:
        """It keeps what it has taken and not passed on, unless it is `forgetful`."""
        if self.process is not None:
            (self.process.kill if forgetful else self.process.terminate)()
            self.process.wait(10)
            self.process = None
        if forgetful:
            (self.folder / "mosquitto.db").unlink(missing_ok=True)


@contextmanager
def running_broker(program: Path, more: str = "", window: int = 200) -> Iterator[Broker]:
    folder = Path(tempfile.mkdtemp(prefix="dozor-test-"))
    folder.chmod(0o777)  # as root it becomes somebody else
    broker = Broker(program, folder, more, window)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Consumer:
    """A subscriber with a session of its own at the broker, in a thread of paho's."""

    def __init__(self, broker: Broker, *topics: str, name: str = "consumer") -> None:
        self.topics = topics or ("records/#",)
        self._lock = Lock()
        self.records: list[dict[str, Any]] = []
        self.by_topic: dict[str, list[dict[str, Any]]] = {}
        self._broker = broker
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.on_connect = self._connected
        self._client.on_message = self._heard
        self._client.on_subscribe = lambda *_: self._subscribed.append(1)
        self._client.reconnect_delay_set(1, 1)
        self._subscribed: list[int] = []

    def start(self) -> Consumer:
        expiry = Properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", self._broker.plain_port, clean_start=False, properties=expiry)
        self._client.loop_start()
        deadline = time.monotonic() + 10
        while not self._subscribed:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(topic, paho.SubscribeOptions(qos=1)) for topic in self.topics])

    def _heard(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        record = json.loads(message.payload)
        with self._lock:
            self.records.append(record)
            self.by_topic.setdefault(message.topic, []).append(record)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def seen(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self.records)

    def first(self) -> dict[str, list[dict[str, Any]]]:
        """Of each terminal its records in the order in which each came first."""
        order: dict[str, list[dict[str, Any]]] = {}
        known: set[str] = set()
        for record in self.seen():
            if record["id"] not in known:
                known.add(record["id"])
                order.setdefault(record["terminal"], []).append(record)
        return order


@contextmanager
def consumer(broker: Broker, *topics: str, name: str = "consumer") -> Iterator[Consumer]:
    found = Consumer(broker, *topics, name=name)
    found.start()
    try:
        yield found
    finally:
        found.stop()
