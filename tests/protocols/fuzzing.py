"""Mutated bytes of every protocol through session and decoder: nothing escapes, and nothing is invented.

    python -m tests.protocols.fuzzing [--bytes 1e8] [--protocol P …] [--seed N]

Connections are what a simulated terminal and the worked packets send, with bits turned, bytes lost, doubled, put in,
pieces moved and cut, in pieces of any size. An *escape* is an exception, a buffer that grows, an answer of the decoder
that is none; a *phantom* is a frame whose checksum, told by the bytes' names (`anatomy`), is not right. It ends by
itself after so many bytes of each protocol, with 1 if anything was found, whose seed repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from protocols.anatomy import placed
from protocols.records import MALFORMED_REASONS, TIME_UNKNOWN, Close, Frame, Login, Malformed, Message
from protocols.registry import PROTOCOLS, protocol
from tests.protocols import form

DEFAULT = 100_000_000  # bytes of each protocol
_BATCH = 40  # frames that are decoded together


@dataclass
class Found:
    """What came out; `wrong` is empty unless there is something to mend."""

    data: int = 0
    connections: int = 0
    frames: int = 0
    malformed: int = 0
    wrong: list[str] = field(default_factory=list)


def mutate(stream: bytes, others: Sequence[bytes], dice: random.Random) -> bytes:
    """The stream with some damage; none in one of eight."""
    data = bytearray(stream)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 5, 12))):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(10):
            case 0 | 1 | 2:
                if at < len(data):
                    data[at] ^= 1 << dice.randrange(8)
            case 3:
                if at < len(data):
                    data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 4:
                del data[at : at + dice.randrange(1, 9)]
            case 5:
                data[at:at] = dice.randbytes(dice.randrange(1, 9))
            case 6:
                data[at:at] = data[at : at + dice.randrange(1, 40)]
            case 7:
                other = dice.choice(others)
                cut = dice.randrange(len(other))
                data[at:at] = other[cut : cut + dice.randrange(1, 200)]
            case 8:
                data[at : at + 4] = dice.randrange(1 << 32).to_bytes(4, dice.choice(("big", "little")))
            case _:
                del data[at:]
    return bytes(data)


def pieces(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """As the network cuts it."""
    size = dice.choice((1, 7, 100, 1500, 1 << 20)) if len(data) < 4000 else dice.choice((1500, 1 << 20))
    for at in range(0, len(data), size):
        yield data[at : at + size]


def fuzz(name: str, amount: int, seed: int) -> Found:
    """So many mutated bytes of one protocol."""
    found = Found()
    login, frames = form.spoken(name, 40, 2)
    _, long = form.spoken(name, 6, 20)
    streams = [*form.streams(name), login + b"".join(long)]
    streams = [stream for stream in streams if stream]
    trusted = form.checked(name)
    known: set[bytes] = set()
    for stream in (*streams, login + b"".join(frames)):
        known |= {frame.data for frame in form.frames_of(form.heard(name, stream))}
    waiting: list[Frame] = []
    turn = 0
    while found.data < amount and len(found.wrong) < 10:
        turn += 1
        dice = random.Random(f"{name} {seed} {turn}")
        start = dice.randrange(len(frames))
        stream = login + b"".join(frames[start : start + 6]) if dice.randrange(3) else dice.choice(streams)
        data = mutate(stream, streams, dice)
        found.connections += 1
        found.data += len(data)
        try:
            heard = _connection(name, data, dice, found)
        except Exception as error:
            found.wrong.append(f"seed {seed}, turn {turn}: {type(error).__name__}: {error}: {data[:400].hex()}")
            continue
        for frame in heard:
            if trusted and frame.data not in known and (what := _phantom(name, data, frame)):
                found.wrong.append(f"seed {seed}, turn {turn}: phantom at {frame.offset}, {what}: {data[:400].hex()}")
        waiting += heard
        if len(waiting) >= _BATCH:
            _decode(name, waiting, found, f"seed {seed}, turn {turn}")
            waiting = []
    _decode(name, waiting, found, f"seed {seed}, end")
    return found


def _connection(name: str, data: bytes, dice: random.Random, found: Found) -> list[Frame]:
    """One connection as the gateway has it: what follows a `Close` is not looked at."""
    session = protocol(name).new_session(transport="tcp")
    frames: list[Frame] = []
    for piece in pieces(data, dice):
        pending = list(session.receive_data(piece, form.NOW))
        while pending:
            event = pending.pop(0)
            match event:
                case Login():
                    assert event.terminal, "a login of nobody"
                    pending[:0] = session.accept(form.NOW) if dice.randrange(20) else session.refuse()
                case Frame():
                    assert event.records > 0, "a frame of no records"
                    frames += event.singles()
                    session.acknowledge(event)
                case Message():
                    session.acknowledge(event)
                case Malformed():
                    assert event.reason in MALFORMED_REASONS, event.reason
                    found.malformed += 1
                case Close():
                    found.frames += len(frames)
                    return frames
    for event in session.end_of_stream():
        assert isinstance(event, Malformed | Frame | Close), event
    found.frames += len(frames)
    return frames


def _phantom(name: str, data: bytes, frame: Frame) -> str:
    """Why a frame that was taken is none, by the names of its bytes; empty: it is one."""
    anatomy = protocol(name).anatomy
    assert anatomy is not None
    first = next(anatomy(data)).size  # the login tells the version of what follows
    size = len(protocol(name).on_wire(frame)) + 64
    for start, stream in ((0, data), (frame.offset - first, data[:first] + data[frame.offset : frame.offset + size])):
        for at, unit in placed(anatomy(stream)):
            if at + start == frame.offset:
                values = [str(span.value) for span in unit.spans if "crc" in span.name or "checksum" in span.name]
                wrong = [value for value in values if value.startswith(("wrong", "no checksum"))]
                return "unreadable" if unit.kind == "unreadable" else "".join(wrong)
    return ""  # it stood in a container: its own checksum is not told apart here


def _decode(name: str, frames: list[Frame], found: Found, where: str) -> None:
    if not frames:
        return
    try:
        decoded = protocol(name).decode(frames)
        batch = decoded.batch
        assert all(0 <= place < len(frames) for place in batch.frame.tolist()), "a record of no frame"
        assert all(0 <= bad.frame < len(frames) and bad.reason for bad in decoded.quarantined), "a frame that is none"
        for stamp in batch.time.tolist():
            assert stamp == TIME_UNKNOWN or abs(stamp) < 253_402_300_800_000_000, f"time {stamp}"
        keys = set(zip(batch.frame.tolist(), batch.position.tolist(), strict=True))
        assert len(keys) == len(batch), "two records in one place"
    except Exception as error:
        found.wrong.append(f"{where}: {type(error).__name__}: {error}: {[frame.data[:200].hex() for frame in frames]}")


def main() -> int:
    """Fuzz, tell, 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocols.fuzzing", description=__doc__)
    parser.add_argument("--bytes", type=float, default=DEFAULT, help="mutated bytes of each protocol")
    parser.add_argument("--protocol", action="append", choices=list(PROTOCOLS), help="some of them; default: all")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    wrong = False
    for name in args.protocol or PROTOCOLS:
        begun = time.perf_counter()
        found = fuzz(name, int(args.bytes), args.seed)
        took = time.perf_counter() - begun
        print(
            f"{name:20} {found.data / 1e6:8.1f} MB  {found.connections:9} connections  {found.frames:9} frames  "
            f"{found.malformed:9} malformed  {took:6.0f} s  {len(found.wrong)} wrong",
            flush=True,
        )
        for line in found.wrong:
            print(f"  {line}", file=sys.stderr, flush=True)
        wrong = wrong or bool(found.wrong)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
