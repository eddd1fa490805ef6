"""Terminals that log in, send one frame, answer what they are asked, and then hold their connection.

Works in stages, each begun by a line on stdin and ended by a JSON line on stdout: ``login``, ``frame``,
``burst FRAMES`` (of the first terminal, at once), ``reconnect SECONDS`` (each connection closed and made anew, evenly
over that time); the end of stdin ends it.
Run as ``python -m bench.idle --port P --connections N --address 127.0.0.2``.
"""

from __future__ import annotations

import argparse
import errno
import json
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator

import numpy as np

from bench.generator import VERSION, make_frames
from protocols.teltonika.declaration import login

_BIND_ADDRESS_NO_PORT = 24  # Linux: the port is chosen at connect, so that one address serves as many as there are
_AT_ONCE = 1000  # connections under way
_STALLED = 60.0  # s without an answer


class Client:
    """All connections of one process."""

    def __init__(self, port: int, count: int, address: str, first: int) -> None:
        self._target = ("127.0.0.1", port)
        self._address, self._first, self._count = address, first, count
        self._sockets: list[socket.socket] = []
        self._poll = select.epoll()
        self._number: dict[int, int] = {}  # descriptor -> terminal
        self._begun: dict[int, float] = {}  # terminal -> when it began to connect
        self._waiting: set[int] = set()  # descriptors whose connect is under way

    def login(self) -> dict[str, float]:
        """Connect and log in all, as fast as answers come."""
        return self._connect(iter(range(self._count)), 0.0)

    def reconnect(self, seconds: float) -> dict[str, float]:
        """Close and connect anew, one after the other, evenly over `seconds`."""
        return self._connect(iter(range(self._count)), seconds)

    def _connect(self, numbers: Iterator[int], seconds: float) -> dict[str, float]:
        took: list[float] = []
        started, begun = 0, time.perf_counter()
        heard = begun
        while len(took) < self._count:
            now = time.perf_counter()
            if seconds:
                due = min(self._count, int((now - begun) / seconds * self._count) + 1)
            else:
                due = min(self._count, len(took) + _AT_ONCE)
            while started < due:
                self._open(next(numbers))
                started += 1
            for descriptor, happened in self._poll.poll(0.005):
                number = self._number[descriptor]
                if descriptor in self._waiting:
                    self._waiting.discard(descriptor)
                    self._sockets[number].send(login(f"{self._first + number:015d}"))
                    self._poll.modify(descriptor, select.EPOLLIN)
                elif number in self._begun and happened & select.EPOLLIN:
                    if self._sockets[number].recv(64)[:1] != b"\x01":
                        raise SystemExit("a login was refused")
                    heard = time.perf_counter()
                    took.append(heard - self._begun.pop(number))
            if time.perf_counter() - heard > _STALLED:
                raise SystemExit(f"no answer to {started - len(took)} logins")
        middle, high = np.percentile(took, [50, 99])
        return {
            "seconds": time.perf_counter() - begun,
            "p50_ms": float(middle) * 1000,
            "p99_ms": float(high) * 1000,
            "max_ms": max(took) * 1000,
        }

    def _open(self, number: int) -> None:
        if number < len(self._sockets):
            old = self._sockets[number]
            del self._number[old.fileno()]
            old.close()
        sock = socket.socket()
        sock.setblocking(False)
        if sys.platform.startswith("linux"):
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self._address, 0))
        self._begun[number] = time.perf_counter()
        error = sock.connect_ex(self._target)
        if error not in (0, errno.EINPROGRESS):
            raise SystemExit(f"connect: {errno.errorcode.get(error, error)}")
        if number < len(self._sockets):
            self._sockets[number] = sock
        else:
            self._sockets.append(sock)
        self._number[sock.fileno()] = number
        self._waiting.add(sock.fileno())
        self._poll.register(sock.fileno(), select.EPOLLOUT)

    def frame(self) -> dict[str, float]:
        """One frame each, acknowledged; then the answer to the question for the firmware, where it comes."""
        start_ms = int(time.time() * 1000) - 60_000
        begun = time.perf_counter()
        for low in range(0, self._count, _AT_ONCE):
            some = self._sockets[low : low + _AT_ONCE]
            for number, sock in enumerate(some, low):
                sock.send(make_frames(number, 1, 1, start_ms=start_ms)[0])
            for sock in some:
                sock.settimeout(_STALLED)
                answer = sock.recv(4096)
                if answer[:4] != b"\0\0\0\x01":
                    raise SystemExit("a frame was not acknowledged")
                sock.setblocking(False)
        time.sleep(0.5)
        for sock in self._sockets:
            sock.send(VERSION)
            try:
                sock.recv(4096)
            except BlockingIOError:
                continue
        return {"seconds": time.perf_counter() - begun}

    def burst(self, count: int) -> dict[str, float]:
        """So many frames of the first terminal, all acknowledged."""
        begun = time.perf_counter()
        sock = self._sockets[0]
        sock.settimeout(_STALLED)
        data, _ = make_frames(0, count, 1, start_ms=int(time.time() * 1000) - 59_000)
        sock.sendall(data)
        acks = 0
        while acks < 4 * count:
            answer = len(sock.recv(65536))
            if not answer:
                raise SystemExit("frames were not acknowledged")
            acks += answer
        sock.setblocking(False)
        return {"seconds": time.perf_counter() - begun}


def main() -> None:
    """Obey stdin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--address", default="127.0.0.2", help="source address")
    parser.add_argument("--first", type=int, default=352_000_000_000_000, help="first IMEI")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client = Client(args.port, args.connections, args.address, args.first)
    for line in sys.stdin:
        word, _, value = line.strip().partition(" ")
        if word == "login":
            told = client.login()
        elif word == "frame":
            told = client.frame()
        elif word == "burst":
            told = client.burst(int(value))
        else:
            told = client.reconnect(float(value))
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
