"""The load in any protocol: terminals that each send their next frame once the last one is acknowledged.

Who logs in is the protocol's own terminal (`registry.terminals`). What it will send after that, and what it must hear
for each frame, is found out beforehand by talking to a session of ours, so that while it is measured the load only
sends and compares, to the byte: a word that is not the expected ack ends it.
Run as ``python -m bench.speakers --protocol P``; prints one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import resource
import select
import socket
import time
from collections import deque
from dataclasses import replace
from typing import NamedTuple

from bench.generator import CpuMeter
from gateway.simulator.fleet import Vehicle, make_fleet
from gateway.simulator.scenario import Profiles, Scenario
from gateway.simulator.truth import Truth
from protocols.records import Frame, Login, Message, Reply, Session
from protocols.registry import PROTOCOLS, protocol, terminals
from protocols.terminals import Reading, Terminal, TerminalSpec

_VEHICLES = 20  # whose data all terminals send
_PATIENCE = 30.0  # s for an answer while nothing is measured
_MORE = 0.3  # s within which all is said that follows a login
_STEP = 1000  # ms between two records: the finest time that every wire tells


class Script(NamedTuple):
    """One terminal after its login: its frames, and the answer to each."""

    frames: list[bytes]
    answers: list[bytes]


def fleet(name: str, count: int) -> tuple[list[TerminalSpec], Scenario]:
    """So many terminals of a protocol, all on the road."""
    scenario = Scenario(seed=7, terminals=count, mix={name: 1.0}, profiles=Profiles(10, 0, 0, 0))
    return make_fleet(scenario), scenario


def readings(specs: list[TerminalSpec], scenario: Scenario, count: int, start_ms: int) -> list[list[Reading]]:
    """`count` readings of each of some vehicles, a second apart."""
    told = []
    for spec in specs[:_VEHICLES]:
        vehicle = Vehicle(spec, scenario)
        some = [vehicle.read(vehicle.due, start_ms) for _ in range(count)]
        told.append([replace(one, time=start_ms + n * _STEP, changed=False) for n, one in enumerate(some)])
    return told


def terminal_of(spec: TerminalSpec) -> Terminal:
    """The terminal's side."""
    kind = terminals(spec.protocol)["tcp"]
    return kind(spec, Truth(), firmware=kind.models[spec.model][3])


def script(spec: TerminalSpec, some: list[Reading], now: float) -> Script:
    """What it says and hears behind its login.

    Raises
    ------
    RuntimeError
        If terminal and session do not agree.
    """
    terminal, session = terminal_of(spec), protocol(spec.protocol).new_session()
    terminal.connect(now)
    while data := terminal.data_to_send(now):
        terminal.receive(_answers(session, data, now), now)
    frames, answers = [], []
    for reading in some:
        terminal.record(reading)
        data = terminal.data_to_send(now)
        heard = _answers(session, data, now)
        terminal.receive(heard, now)
        if not terminal.ready or not heard or terminal.pending or terminal.wants_close:
            raise RuntimeError(f"{spec.protocol}: no ack of {data.hex()}, but {heard.hex()!r}")
        frames.append(data)
        answers.append(heard)
    return Script(frames, answers)


def _answers(session: Session, data: bytes, now: float) -> bytes:
    """What a server with this session says to that."""
    said = b""
    events = deque(session.receive_data(data, now))
    while events:
        event = events.popleft()
        if isinstance(event, Login):
            events.extendleft(reversed(session.accept(now)))
        elif isinstance(event, Reply):
            said += event.data
        elif isinstance(event, Frame | Message):
            said += session.acknowledge(event)
    return said


class Speaker:
    """One connection, and how far it has come in its script."""

    __slots__ = ("answers", "at", "frames", "heard", "sock")

    def __init__(self, sock: socket.socket, its: Script) -> None:
        self.sock = sock
        self.frames, self.answers = its
        self.at = 0
        self.heard = b""

    def hear(self) -> bool:
        """Read what has come; whether the frame that is out is acknowledged."""
        data = self.sock.recv(65536)
        if not data:
            raise SystemExit("the server closed a connection")
        if self.heard:
            data = self.heard + data
        answer = self.answers[self.at]
        if data == answer:
            self.heard = b""
            self.at += 1
            return True
        if not answer.startswith(data):
            raise SystemExit(f"no ack: {data.hex()} in place of {answer.hex()} for {self.frames[self.at].hex()}")
        self.heard = data
        return False


def log_in(specs: list[TerminalSpec], port: int) -> list[socket.socket]:
    """Connections of terminals that are logged in."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    talks: list[tuple[Terminal, socket.socket]] = []
    for spec in specs:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.settimeout(_PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        terminal = terminal_of(spec)
        terminal.connect(time.time())
        sock.sendall(terminal.data_to_send(time.time()))
        talks.append((terminal, sock))
    while waiting := [talk for talk in talks if not talk[0].ready]:
        for terminal, sock in waiting:
            heard = sock.recv(65536)
            terminal.receive(heard, time.time())
            if not heard or terminal.wants_close:
                raise SystemExit(f"{terminal.spec.identity} was not let in: {heard.hex()}")
            sock.sendall(terminal.data_to_send(time.time()))
    time.sleep(_MORE)
    for terminal, sock in talks:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            terminal.receive(sock.recv(65536), time.time())
        if terminal.wants_close:
            raise SystemExit(f"{terminal.spec.identity} was told what it does not understand")
        sock.setblocking(True)
        sock.sendall(terminal.data_to_send(time.time()))
    return [sock for _, sock in talks]


def run(args: argparse.Namespace) -> dict[str, float]:
    """Frames acknowledged per second between warm-up and end, and what they cost."""
    specs, scenario = fleet(args.protocol, args.terminals)
    some = readings(specs, scenario, max(2, args.frames // args.terminals), args.start_ms)
    now = time.time()
    scripts = [script(spec, some[n % len(some)], now) for n, spec in enumerate(specs)]
    gc.collect()
    gc.disable()
    speakers = {}
    for sock, its in zip(log_in(specs, args.port), scripts, strict=True):
        speakers[sock.fileno()] = Speaker(sock, its)
    for speaker in speakers.values():
        speaker.sock.sendall(speaker.frames[0])
    poll = select.epoll()
    for descriptor, speaker in speakers.items():
        while not speaker.hear():
            pass
        poll.register(descriptor, select.EPOLLIN)
    meter = CpuMeter(args.server, args.store)
    begun = time.perf_counter()
    warm_until, deadline = begun + args.warm, begun + args.warm + args.seconds
    for speaker in speakers.values():
        speaker.sock.send(speaker.frames[1])
    acked = warm = 0
    warm_at, before = begun, meter.read()
    exhausted = False
    while not exhausted:
        for descriptor, _ in poll.poll(10.0):
            speaker = speakers[descriptor]
            if speaker.hear():
                acked += 1
                if speaker.at == len(speaker.frames):
                    exhausted = True
                    break
                speaker.sock.send(speaker.frames[speaker.at])
        now = time.perf_counter()
        if not warm and now > warm_until:
            warm, before, warm_at = acked, meter.read(), time.perf_counter()
        if now > deadline:
            break
    after, seconds = meter.read(), time.perf_counter() - warm_at
    frames = max(acked - warm, 1)
    server, store, mine = (1e6 * (b - a) / frames for a, b in zip(before, after, strict=True))
    return {
        "frames_per_s": frames / seconds,
        "frames": acked,
        "exhausted": exhausted,
        "cpu_us_per_frame": server,
        "store_cpu_us_per_frame": store,
        "generator_busy": mine * frames / seconds / 1e6,
        "bytes_per_frame": sum(map(len, scripts[0].frames)) / len(scripts[0].frames),
        "last_ms": args.start_ms + len(some[0]) * _STEP,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--terminals", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured, after the warm-up")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before anything counts")
    parser.add_argument("--frames", type=int, default=100_000, help="made in all; the run ends when they run out")
    parser.add_argument("--start-ms", type=int, default=0, help="time of the first record; default: ten minutes ago")
    parser.add_argument("--server", type=int, default=0, help="process whose CPU time is told")
    parser.add_argument("--store", type=int, default=0, help="PostgreSQL's first process, likewise")
    args = parser.parse_args()
    args.start_ms = args.start_ms or int(time.time()) * 1000 - 600_000
    print(json.dumps(run(args)))


if __name__ == "__main__":
    main()
