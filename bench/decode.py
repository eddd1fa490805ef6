"""Records decoded per second, per protocol, in frames of 20 records.

Each figure is one core's CPU time, from the bytes of a connection to the finished columns, checksums included: what
the session cuts out of each read goes to the decoder, 200 frames at a time, as a batch of the gateway does.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import loops, public
from bench.samples import RECORDS, wire_frames
from protocols.records import Frame, Login
from protocols.registry import PROTOCOLS, protocol

BATCH = 200  # frames; 4 000 records, the gateway's largest batch
_TURN = 0.03  # s


def measure(name: str, *, seconds: float, with_public: bool) -> dict[str, Any]:
    """One entry of the contract's `decode`, and what explains it."""
    login, wires = wire_frames(name, BATCH)
    frames = _frames(name, login, wires)
    decode = protocol(name).decode
    batch = decode(frames).batch
    if len(batch) != BATCH * RECORDS:
        raise RuntimeError(f"{name}: {len(batch)} records out of {BATCH * RECORDS}")
    plainly = loops.loop(name)
    some = frames[: 10 * len(frames) // len(wires)]
    ways: dict[str, Callable[[], object]] = {
        "records_per_s": _session(name, login, wires),
        "construct_records_per_s": lambda: _declared(name, some),
        "decoder_records_per_s": lambda: decode(frames),
    }
    if plainly is not None:
        if not loops.same(batch, plainly(wires)):
            raise RuntimeError(f"{name}: the struct loop and the decoder disagree")
        ways["struct_records_per_s"] = lambda: plainly(wires)
    rates = _rates(ways, seconds)
    told: dict[str, Any] = {
        "records_per_frame": RECORDS,
        "records_per_s": rates["records_per_s"],
        "construct_records_per_s": round(rates["construct_records_per_s"] * 10 / BATCH, 1),
        "struct_records_per_s": rates.get("struct_records_per_s"),
        "public": {},
        "decoder_records_per_s": rates["decoder_records_per_s"],
        "bytes_per_record": round(sum(map(len, wires)) / len(wires) / RECORDS, 1),
    }
    if with_public:
        told["public"] = _public(name, wires, seconds)
    return told


def _frames(name: str, login: bytes, wires: list[bytes]) -> list[Frame]:
    session = protocol(name).new_session()
    if login and not any(isinstance(event, Login) for event in session.receive_data(login, 0.0)):
        raise RuntimeError(f"{name}: no login")
    session.accept(0.0)
    found = [event for wire in wires for event in session.receive_data(wire, 0.0) if isinstance(event, Frame)]
    if sum(frame.records for frame in found) != len(wires) * RECORDS:
        raise RuntimeError(f"{name}: {len(found)} frames out of {len(wires)} pieces")
    return found


def _session(name: str, login: bytes, wires: list[bytes]) -> Callable[[], object]:
    """Session and decoder: a read a frame, taken as a conversation takes it."""
    session = protocol(name).new_session()
    session.receive_data(login, 0.0)
    session.accept(0.0)
    usual, receive, decode = session.run, session.receive_data, protocol(name).decode

    def work() -> object:
        frames: list[Frame] = []
        for wire in wires:
            run = usual(wire)
            if run is not None:
                frames.append(run)
            else:
                frames += [event for event in receive(wire, 0.0) if type(event) is Frame]
        return decode(frames)

    return work


def _declared(name: str, frames: list[Frame]) -> object:
    """The readable declaration: construct; for Omnicomm with protobuf's reader; for text its plain parser."""
    return [protocol(name).tree(frame) for frame in frames]


def _rates(ways: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Records per second of each, `BATCH` frames a turn: medians of turns that last `seconds` a way together.

    They take turns, so that each has its share of what the machine does meanwhile.
    """
    for work in ways.values():
        work()
    gc.collect()
    gc.freeze()  # as the service does
    took: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds * len(ways)
    while not all(took.values()) or time.perf_counter() < end:
        for name, work in ways.items():
            work()  # the way before it has filled the processor's caches
            until = time.perf_counter() + _TURN
            while not took[name] or time.perf_counter() < until:
                begun = time.thread_time()
                work()
                took[name].append(time.thread_time() - begun)
    gc.unfreeze()
    return {name: round(BATCH * RECORDS / statistics.median(its), 1) for name, its in took.items()}


def _public(name: str, wires: list[bytes], seconds: float) -> dict[str, float]:
    if name not in public.PACKAGES:
        return {}
    with tempfile.TemporaryDirectory(prefix="dozor-bench-public-") as folder:
        file = Path(folder) / "frames"
        file.write_text("\n".join(wire.hex() for wire in wires[:20]))
        try:
            return public.measure(name, file, seconds)
        except public.PackageMissingError as error:
            print(f"  public decoder left out: {error}", file=sys.stderr)
            return {}


def names() -> list[str]:
    """The protocols there are."""
    return list(PROTOCOLS)
