"""`dozor decode`: what is in these bytes, and what would we answer.

The bytes are those of one connection from its start (with ``--udp`` one datagram a line). They pass through the
session and the decoder that serve real connections; every frame counts as committed at once, so its
acknowledgement follows its records. End of input is a close.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from gateway.commands.decode_print import JsonPrinter, Printer, TextPrinter
from gateway.config import ConfigError, load
from protocols.errors import UnknownProtocolError
from protocols.records import Close, Event, Frame, Login, Message, Session
from protocols.registry import PROTOCOLS, WireProtocol, protocol

_HEX = frozenset("0123456789abcdefABCDEF")


class HexError(ValueError):
    """The input is no hex; the message names line and column, both from 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("protocol", metavar="PROTOCOL", help=", ".join(PROTOCOLS))
    source = parser.add_argument(
        "hex",
        metavar="HEX|-",
        default="-",
        help="the bytes as hex; - reads stdin, each line one piece as the socket gave it (default: -)",
    )
    source.required = False  # nargs="?" would not find it behind an option
    parser.add_argument("--json", action="store_true", help="one JSON object an event, one event a line")
    parser.add_argument("--udp", action="store_true", help="each line is one datagram")
    parser.add_argument(
        "--now", type=_instant, metavar="ISO", help="the time for replies that carry it, UTC unless it says otherwise"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration, for its limits")


def run(args: argparse.Namespace) -> int:
    """0 also for damaged bytes: damage is an event. 2 where the question itself is wrong; stderr says why."""
    try:
        wire = protocol(args.protocol)
        if args.udp and "udp" not in wire.transports:
            raise UnknownProtocolError(f"{wire.name} is not spoken over UDP")
        limit = load(args.config).limits.frame_bytes
        pieces = list(parse_hex(sys.stdin.buffer.read().decode("utf-8", "replace") if args.hex == "-" else args.hex))
    except (UnknownProtocolError, HexError) as error:
        print(f"dozor decode: {error}", file=sys.stderr)
        return 2
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may send letters that stdout cannot
        sys.stdout.reconfigure(errors="backslashreplace")
    printer: Printer = JsonPrinter(sys.stdout) if args.json else TextPrinter(sys.stdout)
    now = time.time() if args.now is None else args.now
    talk = _datagrams if args.udp else _connection
    for session, base, events in talk(wire, pieces, now, limit):
        _show(printer, wire, session, base, events)
    return 0


def parse_hex(text: str) -> Iterator[bytes]:
    """Lines of hex as bytes; white space inside a line and empty lines do not count.

    Raises
    ------
    HexError
        At the first character that is no hex digit, or a line that ends inside a byte.
    """
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        digits = []
        for column, character in enumerate(line, 1):
            if character in _HEX:
                digits.append(character)
                last = column
            elif not character.isspace():
                raise HexError(f"line {number}, column {column}: {character!r} is no hex digit")
        if len(digits) % 2:
            raise HexError(f"line {number}, column {last}: the last byte has only one digit")
        if digits:
            yield bytes.fromhex("".join(digits))


def _instant(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO date and time such as 2026-11-21T10:00:00Z") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _connection(
    wire: WireProtocol, pieces: list[bytes], now: float, limit: int | None
) -> Iterator[tuple[Session, int, list[Event]]]:
    """The events of one connection, piece by piece, until the session closes or the input ends."""
    session = wire.new_session(transport="tcp", max_frame=limit)
    for piece in pieces:
        events = _settle(session, list(session.receive_data(piece, now)), now)
        yield session, 0, events
        if any(isinstance(event, Close) for event in events):
            return
    yield session, 0, _settle(session, list(session.end_of_stream()), now)


def _datagrams(
    wire: WireProtocol, pieces: list[bytes], now: float, limit: int | None
) -> Iterator[tuple[Session, int, list[Event]]]:
    """The events of each datagram; offsets count on from one to the next."""
    base = 0
    for piece in pieces:
        session = wire.new_session(transport="udp", max_frame=limit)
        events = _settle(session, list(session.receive_data(piece, now)), now)
        yield session, base, events + _settle(session, list(session.end_of_stream()), now)
        base += len(piece)


def _settle(session: Session, events: list[Event], now: float) -> list[Event]:
    """Accept the logins among `events`; what waited behind them follows."""
    settled: list[Event] = []
    while events:
        settled += events
        login = any(isinstance(event, Login) for event in events)
        events = list(session.accept(now)) if login else []
    return settled


def _show(printer: Printer, wire: WireProtocol, session: Session, base: int, events: list[Event]) -> None:
    frames = [event for event in events if isinstance(event, Frame)]
    decoded = iter(printer.read(wire, frames))
    for event in events:
        if isinstance(event, Frame):
            shown = next(decoded)
            printer.frame(event, shown, base)
            printer.reply(session.acknowledge(event, shown.quarantined), "after commit")
        else:
            printer.event(event, base)
            if isinstance(event, Message):
                printer.reply(session.acknowledge(event), "after commit")
