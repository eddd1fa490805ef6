"""Messages a second acknowledged after their commit, against a subscriber that only acknowledges.

One Mosquitto, one publisher, the same messages (Teltonika frames of one record, QoS 1) and the same receive maximum: to
a subscriber made with aiomqtt, which answers PUBACK to each and does nothing else, then to the gateway. Each in turn,
several rounds; the medians stand. `python -m bench.mqtt bare|publish …` are the processes of a run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.processes import PREFIX, Gateway, free_port, gateway, start
from gateway.simulator import mosquitto
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record
from tools.parts import PartMissingError
from tools.parts import mosquitto as fetch

RECEIVE_MAXIMUM = 1000
TERMINALS = 200
IN_FLIGHT = 200  # messages of the publisher that the broker has not taken yet
_SLOWEST = 500.0  # messages/s at which a round is given up


class Subscribed(Gateway):
    """A gateway that reads from a broker at `port`."""

    port_of_broker = 0

    def start(self) -> float:
        self.environment["DOZOR_MQTT__URL"] = f"mqtt://127.0.0.1:{self.port_of_broker}"
        return super().start()


def measure(*, rounds: int, messages: int, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The row; None where no broker can be had, which is said."""
    try:
        program = mosquitto.find() or fetch()
    except PartMissingError as error:
        say(f"  left out: no mosquitto: {error}")
        return None
    mine: list[float] = []
    theirs: list[float] = []
    with _folder() as folder:
        Subscribed.port_of_broker = port = free_port()
        with mosquitto.running(program, port, folder), gateway(Subscribed) as service:
            start_ms = int(time.time() * 1000) - 86_400_000
            # The first messages make terminals and partitions, and are not counted.
            _gateway(service, port, messages // 4, start_ms)
            for turn in range(rounds):
                start_ms += messages
                theirs.append(_bare(port, messages, start_ms))
                mine.append(_gateway(service, port, messages, start_ms))
                say(f"  round {turn + 1}: {mine[-1]:9,.0f} messages/s, bare aiomqtt {theirs[-1]:9,.0f}")
    rate, bare = statistics.median(mine), statistics.median(theirs)
    return {
        "terminals": TERMINALS,
        "receive_maximum": RECEIVE_MAXIMUM,
        "messages_per_s": round(rate, 1),
        "bare_messages_per_s": round(bare, 1),
        "ratio": round(rate / bare, 3),
        "rounds": rounds,
    }


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bare(port: int, messages: int, start_ms: int) -> float:
    """Messages/s of the subscriber that only acknowledges."""
    process = start("bench.mqtt", "bare", str(port), str(messages), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is subscribed
        with _publisher(port, messages, start_ms, "bare"):
            begun = time.perf_counter()
            process.stdout.readline()  # it has acknowledged all, or was killed
            return messages / (time.perf_counter() - begun)
    finally:
        process.kill()
        process.wait()


def _gateway(service: Gateway, port: int, messages: int, start_ms: int) -> float:
    """Messages/s of the gateway: until the last is stored and acknowledged."""
    before = service.metric('dozor_records_total{protocol="teltonika"}')
    with _publisher(port, messages, start_ms, "telemetry"):
        begun = time.perf_counter()
        while service.metric('dozor_records_total{protocol="teltonika"}') - before < messages:
            if time.perf_counter() - begun > messages / _SLOWEST + 30:
                raise RuntimeError(f"messages were lost, or it is very slow: {service.log()[-2000:]}")
            time.sleep(0.02)
        return messages / (time.perf_counter() - begun)


@contextlib.contextmanager
def _publisher(port: int, messages: int, start_ms: int, prefix: str) -> Iterator[None]:
    """It publishes from here on: what it sends was made before."""
    arguments = ("publish", str(port), str(messages), str(start_ms), prefix)
    process = start("bench.mqtt", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()
        yield
    finally:
        process.kill()
        process.communicate()


# -- the processes of a run ---------------------------------------------------------------------------------------


async def bare(port: int, messages: int) -> None:
    """Acknowledge so many messages by hand, in order, as they come."""
    import aiomqtt
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    client = aiomqtt.Client(
        "127.0.0.1", port, identifier="bare", protocol=aiomqtt.ProtocolVersion.V5, properties=properties,
        clean_session=None, clean_start=True,
    )  # fmt: skip
    client._client.manual_ack_set(True)
    async with client:
        await client.subscribe("bare/+/+", qos=1)
        print("subscribed", flush=True)
        count = 0
        async for message in client.messages:
            client._client.ack(message.mid, message.qos)
            count += 1
            if count == messages:
                break
    print("done", flush=True)


def publish(port: int, messages: int, start_ms: int, prefix: str) -> None:
    """Publish so many frames, each a record of its own, as fast as the broker takes them."""
    packets = [_packet(prefix, n, start_ms) for n in range(messages)]
    with socket.create_connection(("127.0.0.1", port)) as sock:
        name = f"publisher-{os.getpid()}".encode()
        hello = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(name)) + name
        sock.sendall(bytes([0x10, len(hello)]) + hello)
        if len(sock.recv(4)) != 4:
            raise RuntimeError("the broker does not let the publisher in")
        print("ready", flush=True)
        sys.stdin.readline()
        sent = acknowledged = 0
        while acknowledged < 4 * messages:  # bytes: a PUBACK has four
            some = min(IN_FLIGHT - (sent - acknowledged // 4), messages - sent)
            if some > 0:
                sock.sendall(b"".join(packets[sent : sent + some]))
                sent += some
            heard = len(sock.recv(65536))
            if not heard:
                raise RuntimeError("the broker hung up")
            acknowledged += heard


def _packet(prefix: str, number: int, start_ms: int) -> bytes:
    record = avl_record(timestamp=start_ms + number, latitude=557_520_120, longitude=376_175_430, satellites=9)
    topic = f"{prefix}/{860_000_000_000_000 + number % TERMINALS}/teltonika".encode()
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", number % 65_000 + 1) + avl_frame(CODEC_8, [record])
    size = len(body)
    return b"\x32" + (bytes([size]) if size < 128 else bytes([size % 128 | 0x80, size // 128])) + body


def main() -> None:
    """One of the processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("bare", "publish"))
    parser.add_argument("port", type=int)
    parser.add_argument("messages", type=int)
    parser.add_argument("start_ms", type=int, nargs="?", default=0)
    parser.add_argument("prefix", nargs="?", default="telemetry")
    args = parser.parse_args()
    if args.what == "publish":
        publish(args.port, args.messages, args.start_ms, args.prefix)
    else:
        import uvloop

        uvloop.run(bare(args.port, args.messages))


if __name__ == "__main__":
    sys.exit(main())
