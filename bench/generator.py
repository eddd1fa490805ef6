"""The load: Teltonika terminals that send their next frame when fewer than `window` are unanswered.

One process, one epoll loop, frames made beforehand, so that the load costs as little as it can. Before anything is
measured each terminal logs in, has one frame acknowledged and answers the question for its firmware that may follow.
Run as ``python -m bench.generator``; prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import time
from collections.abc import Sequence

import fastcrc
import numpy as np
import psutil

from protocols.teltonika.declaration import CODEC_8, RESPONSE, avl_payload, avl_record, command, login, tcp_frame

# Ignition, movement, GSM signal, external voltage, battery voltage, a fuel level, operator, odometer.
ITEMS = (
    (239, b"\x01"), (240, b"\x01"), (21, b"\x04"), (66, b"\x6c\xc0"), (67, b"\x0f\xe9"), (201, b"\x07\x65"),
    (241, b"\x00\x00\x61\xa9"), (16, b"\x08\xd7\xbc\x72"),
)  # fmt: skip
FIRST_IMEI = 350_000_000_000_000
VERSION = command("Ver:03.27.07 Hw:FMB120", kind=RESPONSE)
_TIME_AT, _LATITUDE_AT = 10, 10 + 13  # of the first record in a frame


def make_frames(terminal: int, count: int, records: int, *, start_ms: int) -> tuple[bytes, int]:
    """`count` distinct frames of one terminal end to end, and the size of one; a record each millisecond."""
    first = _first_frame(records)
    size = len(first)
    length = (size - 15) // records
    matrix = np.tile(first, (count, 1))
    times = start_ms + np.arange(count * records, dtype=np.uint64).reshape(count, records)
    latitude = np.frombuffer((550_000_000 + terminal * 997).to_bytes(4, "big"), np.uint8)
    for n in range(records):
        at = _TIME_AT + n * length
        matrix[:, at : at + 8] = times[:, n].astype(">u8").view(np.uint8).reshape(count, 8)
        matrix[:, _LATITUDE_AT + n * length : _LATITUDE_AT + n * length + 4] = latitude
    crc = fastcrc.crc16.arc
    data = matrix.tobytes()
    sums = [crc(data[at + 8 : at + size - 4]) for at in range(0, len(data), size)]
    matrix[:, -2:] = np.array(sums, ">u2").view(np.uint8).reshape(count, 2)
    return matrix.tobytes(), size


_FIRST: dict[int, np.ndarray[tuple[int], np.dtype[np.uint8]]] = {}


def _first_frame(records: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    if records not in _FIRST:
        made = [
            avl_record(
                timestamp=0, latitude=0, longitude=376_175_432, altitude=168, angle=274, satellites=11, speed=61,
                items=ITEMS,
            )
        ] * records  # fmt: skip
        _FIRST[records] = np.frombuffer(tcp_frame(avl_payload(CODEC_8, made)), np.uint8)
    return _FIRST[records]


class Terminal:
    """One connection and what it still has to send."""

    __slots__ = ("at", "data", "end", "sent_at", "sock")

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        self.sock, self.data, self.at, self.end = sock, memoryview(data), 0, len(data)
        self.sent_at: list[float] = []


class CpuMeter:
    """CPU seconds of the server's process, and of PostgreSQL's processes together."""

    def __init__(self, server: int, store: int) -> None:
        self._server = psutil.Process(server) if server else None
        self._store = [psutil.Process(store)] if store else []
        self._store += [child for process in self._store for child in process.children(recursive=True)]
        self._mine = psutil.Process()

    def read(self) -> tuple[float, float, float]:
        """Server, store, this process."""
        return (
            _seconds(self._server) if self._server else 0.0,
            sum(_seconds(process) for process in self._store),
            _seconds(self._mine),
        )


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # a store's helper that has ended
        return 0.0
    return float(times.user + times.system)


def connect(args: argparse.Namespace, each: int) -> tuple[dict[int, Terminal], int]:
    """Terminals that are logged in and have had their first frame acknowledged; and the size of a frame."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    terminals: dict[int, Terminal] = {}
    size = 0
    for n in range(args.terminals):
        data, size = make_frames(n, each + 1, args.records, start_ms=args.start_ms)
        sock = socket.create_connection(("127.0.0.1", args.port))
        sock.settimeout(30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(login(f"{args.first + n:015d}"))
        terminals[sock.fileno()] = Terminal(sock, data)
    for terminal in terminals.values():
        if terminal.sock.recv(1) != b"\x01":
            raise SystemExit("a login was refused")
        terminal.sock.sendall(terminal.data[:size])
        terminal.at = size
    for terminal in terminals.values():
        if len(_exactly(terminal.sock, 4)) != 4:
            raise SystemExit("the server closed a connection")
    time.sleep(0.3)  # a question comes within moments of the first ack, or not at all
    asked = 0
    for terminal in terminals.values():
        terminal.sock.setblocking(False)
        try:
            question = terminal.sock.recv(4096)
        except BlockingIOError:
            continue
        if question[:4] == b"\0\0\0\0":
            terminal.sock.send(VERSION)
            asked += 1
    if asked:
        time.sleep(1.0)
    return terminals, size


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def run(args: argparse.Namespace) -> dict[str, float]:
    """Send for `seconds`; frames acknowledged per second between warm-up and end, and what they cost."""
    terminals, size = connect(args, max(args.window, args.frames // args.terminals))
    poll = select.epoll()
    for descriptor in terminals:
        poll.register(descriptor, select.EPOLLIN)
    meter = CpuMeter(args.server, args.store)
    window = args.window
    first = size  # the frame that has gone already
    begun = time.perf_counter()
    for terminal in terminals.values():
        _send(terminal, terminal.at + size * window)
    acked = warm = 0
    warm_at, before = begun, meter.read()
    warm_until, deadline = begun + args.warm, begun + args.warm + args.seconds
    exhausted = False
    while not exhausted:
        for descriptor, _ in poll.poll(10.0):
            terminal = terminals[descriptor]
            data = terminal.sock.recv(65536)
            count = len(data) >> 2
            if not count or len(data) & 3:
                raise SystemExit("the server closed a connection" if not data else "the server sent what is no ack")
            acked += count
            end = terminal.at + count * size
            if end > terminal.end:
                if not args.wrap:
                    exhausted = True
                    break
                terminal.at, end = first, first + count * size
            _send(terminal, end)
        now = time.perf_counter()
        if not warm and now > warm_until:
            warm, before, warm_at = acked, meter.read(), time.perf_counter()
        if now > deadline:
            break
    after, seconds = meter.read(), time.perf_counter() - warm_at
    frames = acked - warm
    server, store, mine = (1e6 * (b - a) / frames for a, b in zip(before, after, strict=True))
    return {
        "frames_per_s": frames / seconds,
        "frames": acked,
        "seconds": seconds,
        "exhausted": exhausted,
        "cpu_us_per_frame": server,
        "store_cpu_us_per_frame": store,
        "generator_busy": mine * frames / seconds / 1e6,
        "last_ms": args.start_ms + (terminal.end // size + 1) * args.records,
    }


def _send(terminal: Terminal, end: int) -> None:
    data = terminal.data[terminal.at : end]
    sent = terminal.sock.send(data)
    if sent < len(data):  # its buffer is full: wait for this one
        terminal.sock.settimeout(30)
        terminal.sock.sendall(data[sent:])
        terminal.sock.setblocking(False)
    terminal.at = end


def paced(args: argparse.Namespace) -> dict[str, float]:
    """Send `rate` frames a second, evenly; how long each waits for its ack."""
    terminals, size = connect(args, int(args.rate * (args.seconds + args.warm) / args.terminals) + 2)
    poll = select.epoll()
    for descriptor in terminals:
        poll.register(descriptor, select.EPOLLIN)
    connected: Sequence[Terminal] = list(terminals.values())
    waited: list[float] = []
    meter = CpuMeter(args.server, args.store)
    before = meter.read()
    begun = time.perf_counter()
    sent = answered = 0
    total = int(args.rate * (args.seconds + args.warm))
    warm = int(args.rate * args.warm)
    late = 0.0
    while answered < total:
        now = time.perf_counter()
        due = min(total, int((now - begun) * args.rate) + 1)
        while sent < due:
            terminal = connected[sent % len(connected)]
            terminal.sent_at.append(time.perf_counter())
            late = max(late, terminal.sent_at[-1] - begun - sent / args.rate)
            _send(terminal, terminal.at + size)
            sent += 1
        for descriptor, _ in poll.poll(0.0002):
            terminal = terminals[descriptor]
            count = len(terminal.sock.recv(65536)) >> 2
            if not count:
                raise SystemExit("the server closed a connection")
            now = time.perf_counter()
            waited += [now - t for t in terminal.sent_at[:count]]
            del terminal.sent_at[:count]
            answered += count
        if now - begun > args.seconds + args.warm + 20:
            raise SystemExit("acks are missing")
    after = meter.read()
    seconds = time.perf_counter() - begun
    low, high = np.percentile(np.array(waited[warm:]) * 1000, [50, 99])
    return {
        "frames_per_s": sent / seconds,
        "p50_ms": float(low),
        "p99_ms": float(high),
        "cpu_us_per_frame": 1e6 * (after[0] - before[0]) / sent,
        "latest_ms": late * 1000,
        "last_ms": args.start_ms + (connected[0].end // size + 1) * args.records,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--terminals", type=int, default=1000)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--records", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured, after the warm-up")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before anything counts")
    parser.add_argument("--frames", type=int, default=300_000, help="made in all; the run ends when they run out")
    parser.add_argument("--first", type=int, default=FIRST_IMEI, help="first IMEI")
    parser.add_argument("--start-ms", type=int, default=0, help="time of the first record; default: ten minutes ago")
    parser.add_argument("--wrap", action="store_true", help="send the same frames again when they run out")
    parser.add_argument("--rate", type=float, default=0.0, help="frames a second; 0: as fast as acks come")
    parser.add_argument("--server", type=int, default=0, help="process whose CPU time is told")
    parser.add_argument("--store", type=int, default=0, help="PostgreSQL's first process, likewise")
    args = parser.parse_args()
    args.start_ms = args.start_ms or int(time.time() * 1000) - 600_000
    print(json.dumps(paced(args) if args.rate else run(args)))


if __name__ == "__main__":
    main()
