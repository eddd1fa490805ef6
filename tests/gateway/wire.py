"""Sockets of test terminals, and rows of `telemetry` as plain values."""

from __future__ import annotations

import json
import re
import socket
import time
from datetime import UTC, datetime
from typing import Any

from tests.harness import ServiceProcess


class Link:
    """A TCP connection to a listener; every wait has an end."""

    def __init__(
        self, service: ServiceProcess, protocol: str, timeout: float = 10.0, source: str = "127.0.0.1"
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.ports[protocol]), timeout, (source, 0))

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes, step: int = 0) -> Link:
        """All at once, or in pieces of `step` bytes that leave one by one."""
        if not step:
            self.socket.sendall(data)
            return self
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), step):
            self.socket.sendall(data[at : at + step])
            time.sleep(0.0005)
        return self

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, less if the peer closes."""
        told = b""
        while len(told) < size:
            piece = self.socket.recv(size - len(told))
            if not piece:
                break
            told += piece
        return told

    def rest(self, timeout: float = 10.0) -> bytes:
        """All bytes until the peer closes; TimeoutError if it does not."""
        self.socket.settimeout(timeout)
        told = b""
        try:
            while piece := self.socket.recv(65536):
                told += piece
        except ConnectionResetError:
            return told
        return told

    def finish(self) -> bytes:
        """Send no more, and read what is still owed."""
        self.socket.shutdown(socket.SHUT_WR)
        return self.rest()


def ask_udp(service: ServiceProcess, protocol: str, data: bytes, timeout: float = 5.0) -> bytes:
    """The answer to one datagram; TimeoutError if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout)
        link.sendto(data, ("127.0.0.1", service.ports[protocol]))
        return link.recv(65536)


def telemetry(service: ServiceProcess, terminal: str) -> list[dict[str, Any]]:
    """Rows of one terminal, by time; times in µs, float4 as their shortest decimals."""
    rows = service.query(
        "SELECT time, lat, lon, altitude::text::float8, speed::text::float8, course::text::float8, satellites, valid, "
        "archive, measures FROM telemetry WHERE terminal = %s ORDER BY time, received",
        terminal,
    )
    names = ("time", "lat", "lon", "altitude", "speed", "course", "satellites", "valid", "archive", "measures")
    return [dict(zip(names, (micros(row[0]), *row[1:]), strict=True)) for row in rows]


def micros(moment: object) -> int:
    """A timestamp as µs since the Unix epoch."""
    assert isinstance(moment, datetime)
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def malformed(service: ServiceProcess, protocol: str) -> dict[str, int]:
    """Damage counted so far, by reason."""
    found = re.findall(
        rf'^dozor_frames_malformed_total{{protocol="{protocol}",reason="(\w+)"}} (\S+)$',
        service.get("/metrics")[1],
        re.MULTILINE,
    )
    return {reason: int(float(count)) for reason, count in found}


def wait_for(condition: Any, within: float = 10.0, every: float = 0.05) -> Any:
    """The first true answer; AssertionError if there is none in time."""
    end = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(every)


def damage(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was counted between two looks."""
    return {reason: after[reason] - before[reason] for reason in after if after[reason] != before[reason]}


def no_exception(service: ServiceProcess) -> None:
    """Nothing escaped into the log, and every line of it is JSON."""
    log = service.log.read_text()
    assert "Traceback" not in log, log[-4000:]
    for line in log.splitlines():
        assert isinstance(json.loads(line), dict)
