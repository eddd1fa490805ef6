"""`dozor clock`: when is it due, and why. One question from options, or many from a file, one JSON object a line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO

import msgspec

from ticketing.clocks.requests import REQUIRED, TEXT_FIELDS, answer
from ticketing.clocks.words import explain
from ticketing.working_time.errors import ClockError

MAX_LINE = 1 << 20  # a question is some hundred bytes; a longer line is an error and is not kept in memory

_OPTIONS = {
    "policy": ("P", "policy, such as integrator-standard, or NAME@VERSION"),
    "clock": ("C", "clock of that policy, such as reaction-remote"),
    "start": ("ISO", "when the clock starts; without an offset, wall time in the clock's zone"),
    "calendar": ("NAME", "RU, BY, KZ, CN or none instead of the policy's; brings its own zone"),
    "time_zone": ("ZONE", "IANA zone, such as Europe/Minsk"),
    "hours": ("H", "09:00-13:00,14:00-18:00, or 22:00-06:00 for a shift past midnight"),
    "days": ("D", "Mon-Fri, Sun, or Mon,Wed,Fri"),
    "budget": ("B", "90m or 8h; 5d for a working-days clock"),
    "at": ("ISO", "add how the clock stands at that instant"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; what goes together is checked in `run`, so that the message names the remedy."""
    for name in TEXT_FIELDS:
        metavar, text = _OPTIONS[name]
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)
    parser.add_argument(
        "--pause",
        metavar="FROM..TO",
        action="append",
        dest="pauses",
        help="waiting for the client; repeatable; FROM.. while it is still open",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--batch", metavar="FILE", help="many questions, one JSON object a line; - for stdin")


def run(args: argparse.Namespace) -> int:
    """Answer on stdout; 2 with a message on stderr if the question cannot be answered."""
    fields = {name: getattr(args, name) for name in (*TEXT_FIELDS, "pauses")}
    given = [name for name, value in fields.items() if value is not None]
    if args.batch is not None:
        if given:
            option = "pause" if given[0] == "pauses" else given[0].replace("_", "-")
            return _refuse(f"--{option}: it does not go with --batch. Write it into each line instead")
        return _batch(args.batch)
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        return _refuse(f"--{missing[0]}: it is missing. Give --policy, --clock and --start, or --batch FILE")
    try:
        result, at = answer(fields)
        text = msgspec.json.encode(result.as_json(at)).decode() if args.json else explain(result, at)
    except ClockError as error:
        return _refuse(str(error))
    print(text)
    return 0


def _refuse(message: str) -> int:
    print(f"dozor clock: {message}", file=sys.stderr)
    return 2


def _batch(name: str) -> int:
    with ExitStack() as stack:
        try:
            source = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
        except OSError as error:
            return _refuse(f"--batch: cannot read {name!r} ({error.strerror}). Give a readable file, or - for stdin")
        for line in _lines(source):
            sys.stdout.write(_one(line))
            sys.stdout.flush()
    return 0


def _lines(source: IO[bytes]) -> Iterator[bytes | None]:
    """Lines as they come; None for one that is too long, its rest skipped."""
    while line := source.readline(MAX_LINE):
        if len(line) < MAX_LINE or line.endswith(b"\n"):
            yield line
            continue
        while (rest := source.readline(MAX_LINE)) and not rest.endswith(b"\n"):
            pass
        yield None


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def _one(line: bytes | None) -> str:
    """The answer to one line, an error included: the run goes on."""
    if line is None:
        return _error(f"the line is longer than {MAX_LINE} bytes. Write one question a line")
    try:
        fields = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _error(f"no JSON ({error}). Write one object a line")
    if not isinstance(fields, dict):
        return _error('no object. Write {"policy":…,"clock":…,"start":…}')
    try:
        result, at = answer(fields)
        return _encode(result.as_json(at)).decode() + "\n"
    except ClockError as error:
        return _error(str(error))


def _error(message: str) -> str:
    return _encode({"error": message}).decode() + "\n"
