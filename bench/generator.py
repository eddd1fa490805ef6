"""The load: Teltonika terminals that send their next frame when fewer than `window` are unanswered.

One process, one epoll loop, frames prepared beforehand so that the load costs as little as possible. Run as
``python -m bench.generator``; prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time

import fastcrc
import numpy as np

from protocols.teltonika.declaration import CODEC_8, avl_payload, avl_record, login, tcp_frame

ITEMS = (
    (239, b"\x01"), (240, b"\x01"), (21, b"\x04"), (66, b"\x6c\xc0"), (67, b"\x0f\xe9"), (201, b"\x07\x65"),
    (241, b"\x00\x00\x61\xa9"), (16, b"\x08\xd7\xbc\x72"),
)  # fmt: skip


def frames(terminal: int, count: int, records: int, *, start_ms: int) -> tuple[bytes, int]:
    """`count` distinct frames of one terminal end to end, and the size of one."""
    made = [
        avl_record(
            timestamp=start_ms + n, latitude=557520123 + terminal, longitude=376175432, altitude=168, angle=274,
            satellites=11, speed=61, items=ITEMS,
        )
        for n in range(records)
    ]  # fmt: skip
    first = np.frombuffer(tcp_frame(avl_payload(CODEC_8, made)), np.uint8)
    size = len(first)
    length = (size - 15) // records
    matrix = np.tile(first, (count, 1))
    times = start_ms + np.arange(count * records, dtype=np.uint64).reshape(count, records)
    for n in range(records):
        at = 10 + n * length
        matrix[:, at : at + 8] = times[:, n].astype(">u8").view(np.uint8).reshape(count, 8)
    crc = fastcrc.crc16.arc
    sums = np.array([crc(row[8:-4].tobytes()) for row in matrix], dtype=">u2").view(np.uint8).reshape(count, 2)
    matrix[:, -2:] = sums
    return matrix.tobytes(), size


class Terminal:
    """One connection and what it still has to send."""

    __slots__ = ("at", "data", "end", "sock", "unanswered")

    def __init__(self, sock: socket.socket, data: memoryview) -> None:
        self.sock, self.data, self.at, self.end = sock, data, 0, len(data)
        self.unanswered = 0


def run(args: argparse.Namespace) -> dict[str, float]:
    """Connect, log in, send for `seconds`; frames acknowledged per second between warm-up and end."""
    start_ms = int(time.time() * 1000) - 86_400_000
    each = max(args.window, args.frames // args.terminals)
    terminals: dict[int, Terminal] = {}
    size = 0
    for n in range(args.terminals):
        data, size = frames(n, each, args.records, start_ms=start_ms)
        sock = socket.create_connection(("127.0.0.1", args.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(login(f"{args.first + n:015d}"))
        terminals[sock.fileno()] = Terminal(sock, memoryview(data))
    poll = select.epoll()
    for descriptor, terminal in terminals.items():
        while terminal.sock.recv(1) != b"\x01":
            pass
        terminal.sock.setblocking(False)
        poll.register(descriptor, select.EPOLLIN)
    window = args.window
    begun = time.perf_counter()
    for terminal in terminals.values():
        terminal.sock.send(terminal.data[: size * window])
        terminal.at = size * window
    acked = warm = 0
    warm_at = begun
    deadline = begun + args.seconds
    exhausted = False
    while not exhausted:
        for descriptor, _ in poll.poll(1.0):
            terminal = terminals[descriptor]
            count = len(terminal.sock.recv(65536)) >> 2
            if not count:
                raise SystemExit("the server closed a connection")
            acked += count
            end = terminal.at + count * size
            if end > terminal.end:
                if not args.wrap:
                    exhausted = True
                    break
                terminal.at, end = 0, count * size
            terminal.sock.send(terminal.data[terminal.at : end])
            terminal.at = end
        now = time.perf_counter()
        if not warm and now > begun + args.warm:
            warm, warm_at = acked, now
        if now > deadline:
            break
    seconds = time.perf_counter() - warm_at
    return {"frames_per_s": (acked - warm) / seconds, "frames": acked, "seconds": seconds, "exhausted": exhausted}


def paced(args: argparse.Namespace) -> dict[str, float]:
    """Send `rate` frames a second, evenly; how long each waits for its ack."""
    start_ms = int(time.time() * 1000) - 86_400_000
    each = int(args.rate * args.seconds / args.terminals) + 2
    connected = []
    size = 0
    for n in range(args.terminals):
        data, size = frames(n, each, args.records, start_ms=start_ms)
        sock = socket.create_connection(("127.0.0.1", args.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(login(f"{args.first + n:015d}"))
        connected.append(Terminal(sock, memoryview(data)))
    poll = select.epoll()
    sent_at: dict[int, list[float]] = {}
    by_descriptor = {t.sock.fileno(): t for t in connected}
    for terminal in connected:
        while terminal.sock.recv(1) != b"\x01":
            pass
        terminal.sock.setblocking(False)
        poll.register(terminal.sock.fileno(), select.EPOLLIN)
        sent_at[terminal.sock.fileno()] = []
    waited: list[float] = []
    begun = time.perf_counter()
    sent = 0
    total = int(args.rate * args.seconds)
    while sent < total or any(sent_at.values()):
        now = time.perf_counter()
        due = min(total, int((now - begun) * args.rate))
        while sent < due:
            terminal = connected[sent % len(connected)]
            terminal.sock.send(terminal.data[terminal.at : terminal.at + size])
            terminal.at += size
            sent_at[terminal.sock.fileno()].append(time.perf_counter())
            sent += 1
        for descriptor, _ in poll.poll(0.0002):
            count = len(by_descriptor[descriptor].sock.recv(65536)) >> 2
            now = time.perf_counter()
            times = sent_at[descriptor]
            waited += [now - t for t in times[:count]]
            del times[:count]
        if now - begun > args.seconds + 10:
            raise SystemExit("acks are missing")
    low, high = np.percentile(np.array(waited[len(waited) // 10 :]) * 1000, [50, 99])
    return {"frames_per_s": sent / (time.perf_counter() - begun), "p50_ms": float(low), "p99_ms": float(high)}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--terminals", type=int, default=1000)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--records", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warm", type=float, default=0.5)
    parser.add_argument("--frames", type=int, default=300_000, help="prepared in all")
    parser.add_argument("--first", type=int, default=350_000_000_000_000, help="first IMEI")
    parser.add_argument("--wrap", action="store_true", help="send the same frames again when they run out")
    parser.add_argument("--rate", type=float, default=0.0, help="frames a second; 0: as fast as acks come")
    args = parser.parse_args()
    print(json.dumps(paced(args) if args.rate else run(args)))


if __name__ == "__main__":
    main()
