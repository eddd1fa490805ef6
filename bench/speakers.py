"""The load in any protocol: terminals that each send their next frame once the last one is acknowledged.

Who logs in is the protocol's own terminal (`registry.terminals`). What it will send after that, and what it must hear
for each frame, is found out beforehand by talking to a session of ours, so that while it is measured the load only
sends and compares, to the byte: a word that is not the expected ack ends it. With ``--beside`` Teltonika's terminals
are there too, and both kinds take turns of a fraction of a second, so that the machine is the same for both.
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
import statistics
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
_TURN = 0.4  # s
_MORE = 0.3  # s within which all is said that follows a login
_AGO = 780_000  # ms: what is older than a quarter of an hour counts as told late


class Script(NamedTuple):
    """One terminal after its login: its frames, and the answer to each."""

    frames: list[bytes]
    answers: list[bytes]


def fleet(name: str, count: int) -> tuple[list[TerminalSpec], Scenario]:
    """So many terminals of a protocol, all on the road."""
    scenario = Scenario(seed=7, terminals=count, mix={name: 1.0}, profiles=Profiles(10, 0, 0, 0))
    return make_fleet(scenario), scenario


def readings(specs: list[TerminalSpec], scenario: Scenario, count: int, start_ms: int) -> list[list[Reading]]:
    """`count` readings of each of some vehicles, one after the other as finely as the wire tells time."""
    step = terminals(specs[0].protocol)["tcp"].resolution
    told = []
    for spec in specs[:_VEHICLES]:
        vehicle = Vehicle(spec, scenario)
        some = [vehicle.read(vehicle.due, start_ms) for _ in range(count)]
        told.append(
            [replace(one, time=start_ms // step * step + n * step, changed=False) for n, one in enumerate(some)]
        )
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


class Party:
    """All terminals of one protocol."""

    def __init__(self, args: argparse.Namespace, name: str, port: int) -> None:
        specs, scenario = fleet(name, args.terminals)
        now = time.time()
        begin = args.start_ms if name == args.protocol else int(now * 1000) - _AGO
        some = readings(specs, scenario, max(2, args.frames // args.terminals), begin)
        scripts = [script(spec, some[n % len(some)], now) for n, spec in enumerate(specs)]
        self.last_ms = some[0][-1].time + 1000
        self.bytes_per_frame = sum(map(len, scripts[0].frames)) / len(scripts[0].frames)
        self._poll = select.epoll()
        self._speakers = {}
        for sock, its in zip(log_in(specs, port), scripts, strict=True):
            self._speakers[sock.fileno()] = Speaker(sock, its)
            self._poll.register(sock.fileno(), select.EPOLLIN)
        self.exhausted = False
        self.turns: list[tuple[float, tuple[float, float, float]]] = []  # frames/s, CPU µs a frame as the meter's

    def turn(self, seconds: float, meter: CpuMeter) -> None:
        """Everybody sends, for so long; then what is out is heard."""
        for speaker in self._speakers.values():
            speaker.sock.send(speaker.frames[speaker.at])
        out, acked = len(self._speakers), 0
        before, begun = meter.read(), time.perf_counter()
        deadline = begun + seconds
        while time.perf_counter() < deadline and not self.exhausted:
            for descriptor, _ in self._poll.poll(10.0):
                speaker = self._speakers[descriptor]
                if speaker.hear():
                    acked += 1
                    if speaker.at == len(speaker.frames):
                        self.exhausted = True
                        out -= 1
                        break
                    speaker.sock.send(speaker.frames[speaker.at])
        after, took = meter.read(), time.perf_counter() - begun
        frames = max(acked, 1)
        cpu = tuple(1e6 * (b - a) / frames for a, b in zip(before, after, strict=True))
        self.turns.append((acked / took, cpu))  # type: ignore[arg-type]
        while out:
            heard = self._poll.poll(10.0)
            if not heard:
                raise SystemExit("acks are missing")
            out -= sum(self._speakers[descriptor].hear() for descriptor, _ in heard)
        self.exhausted = self.exhausted or any(it.at == len(it.frames) for it in self._speakers.values())


def run(args: argparse.Namespace) -> dict[str, float]:
    """Frames acknowledged per second in the middle of the turns, and what they cost; the first turn is no measure."""
    parties = [Party(args, args.protocol, args.port)]
    if args.beside:
        parties.insert(0, Party(args, "teltonika", args.beside))
    gc.collect()
    gc.disable()
    meter = CpuMeter(args.server, args.store)
    for _ in range(1 + max(1, round(args.seconds / _TURN))):
        if any(party.exhausted for party in parties):
            break
        for party in parties:
            party.turn(min(_TURN, args.seconds), meter)
    turns = [party.turns[1:] or party.turns for party in parties]
    server, store, mine = (statistics.median(cpu[n] for _, cpu in turns[-1]) for n in range(3))
    rate, beside = (statistics.median(each for each, _ in its) for its in (turns[-1], turns[0]))
    ratios = [one / other for (one, _), (other, _) in zip(turns[-1], turns[0], strict=True)]
    return {
        "frames_per_s": rate,
        "beside_frames_per_s": beside,
        "ratio": statistics.median(ratios),
        "turns": len(ratios),
        "cpu_us_per_frame": server,
        "beside_cpu_us_per_frame": statistics.median(cpu[0] for _, cpu in turns[0]),
        "store_cpu_us_per_frame": store,
        "generator_busy": mine * rate / 1e6,
        "bytes_per_frame": parties[-1].bytes_per_frame,
        "last_ms": parties[-1].last_ms,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--terminals", type=int, default=1000)
    parser.add_argument("--beside", type=int, default=0, help="Teltonika's port: its terminals take turns with these")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured, of each kind")
    parser.add_argument("--frames", type=int, default=100_000, help="made in all; the run ends when they run out")
    parser.add_argument("--start-ms", type=int, default=0, help="time of the first record; default: ten minutes ago")
    parser.add_argument("--server", type=int, default=0, help="process whose CPU time is told")
    parser.add_argument("--store", type=int, default=0, help="PostgreSQL's first process, likewise")
    args = parser.parse_args()
    args.start_ms = args.start_ms or int(time.time()) * 1000 - 600_000
    print(json.dumps(run(args)))


if __name__ == "__main__":
    main()
