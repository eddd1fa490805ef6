"""`dozor decode`: what is in these bytes, and what would we answer.

The bytes are those of one connection (with ``--udp`` one datagram a line), from its start or behind its login. They
pass through the session and the decoder that serve real connections; every frame counts as committed at once, so its
acknowledgement follows its records. End of input is a close.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from gateway.commands.decode_errors import HexError
from gateway.commands.decode_input import Input, read_input
from gateway.configuration.reading import ConfigError, load
from gateway.configuration.speaking import profile
from gateway.configuration.values import Origin, WrongValueError
from gateway.service.byte_names import ByteNames
from gateway.service.decode_print import JsonPrinter, Printer, TextPrinter
from protocols.anatomy import REMAINDER
from protocols.auto import AUTO, begun, told_apart
from protocols.errors import UnknownProtocolError
from protocols.records import Close, Event, Frame, Login, Malformed, Message, Session, identity_of
from protocols.registry import LINES, PROTOCOLS, WireProtocol, every, line, protocol


class _TerminalError(ValueError):
    """`--terminal` cannot hold here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("protocol", metavar="PROTOCOL", help=f"{', '.join(every())}; {AUTO}: the bytes tell")
    source = parser.add_argument(
        "hex",
        metavar="HEX|-",
        default="-",
        help="the bytes as hex in any usual spelling, hex dumps, log lines, or a text protocol's text; - reads stdin, "
        "each line one piece as the socket gave it (default: -)",
    )
    source.required = False  # nargs="?" would not find it behind an option
    parser.add_argument("--json", action="store_true", help="one JSON object an event, one event a line")
    parser.add_argument("--terminal", metavar="ID", help="the bytes begin behind the login of this terminal")
    parser.add_argument("--tree", action="store_true", help="name every byte, each frame's before its events")
    parser.add_argument("--udp", action="store_true", help="each line is one datagram")
    parser.add_argument(
        "--now", type=_instant, metavar="ISO", help="the time for replies that carry it, UTC unless it says otherwise"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration, for its limits")
    parser.add_argument(
        "--profile", metavar="NAME|FILE", help="modbus-fuel: what the registers mean (default: daviteq-cap10)"
    )


def run(args: argparse.Namespace) -> int:
    """0 also for damaged bytes: damage is an event. 2 where the question itself is wrong; stderr says why."""
    try:
        wire = None if args.protocol == AUTO else _with_profile(protocol(args.protocol), args.profile)
        if wire and args.udp and "udp" not in wire.transports:
            raise UnknownProtocolError(f"{wire.name} is not spoken over UDP")
        limit = load(args.config).limits.frame_bytes
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if args.hex == "-" else args.hex
        given = _given(text, wire)
        found = wire or _told(given, udp=args.udp)
        login = _login(found, given, args.terminal, udp=args.udp) if found else b""
        if found and args.tree and found.anatomy is None:
            raise UnknownProtocolError(f"{found.name}: its bytes have no names yet: leave --tree out")
    except (UnknownProtocolError, HexError, _TerminalError, WrongValueError) as error:
        print(f"dozor decode: {error}", file=sys.stderr)
        return 2
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may send letters that stdout cannot
        sys.stdout.reconfigure(errors="backslashreplace")
    for note in given.notes:
        print(f"dozor decode: {note}", file=sys.stderr)
    printer: Printer = JsonPrinter(sys.stdout) if args.json else TextPrinter(sys.stdout, trees=not args.tree)
    now = time.time() if args.now is None else args.now
    if wire is None:
        printer.protocol(found.name if found else None)
    if found is None:  # as a listener has it: none fits, or the bytes ended before one did
        data = b"".join(given.pieces)
        reason = "structure" if begun(data, "udp" if args.udp else "tcp").hopeless else "truncated"
        if args.tree and data:
            printer.field(0, data, REMAINDER, None)
        if data:
            printer.event(Malformed(reason), 0)
        return 0
    if args.udp:
        _show_datagrams(printer, found, given.pieces, now, limit, tree=args.tree)
    else:
        names = _names(found, [login, *given.pieces], len(login)) if args.tree else ByteNames()
        for session, events in _connection(found, given.pieces, now, limit, login):
            _show(printer, found, session, -len(login), events, names)
        names.rest(printer, -len(login))
    return 0


def _given(text: str, wire: WireProtocol | None) -> Input:
    """The bytes; where the protocol is not known, a packet of a text protocol in them tells that they are text."""
    if wire is None:
        spoken = [known for known in map(protocol, PROTOCOLS) if known.packet_text and known.packet_text.search(text)]
        wire = spoken[0] if len(spoken) == 1 else None
    return read_input(text, wire.packet_text if wire else None, wire.answer_text if wire else None)


def _told(given: Input, *, udp: bool) -> WireProtocol | None:
    """The protocol that the first bytes are; None where they do not tell, with a note why."""
    data = (given.pieces or [b""])[0] if udp else b"".join(given.pieces)
    seen = begun(data, "udp" if udp else "tcp")
    if seen.name is not None:
        return protocol(seen.name)
    known = ", ".join(told_apart())
    if seen.hopeless:
        given.notes.append(f"no protocol that is told by its first bytes begins so: {known}")
    else:
        given.notes.append(f"may be {', '.join((*seen.fits, *seen.may))}: more bytes would tell, or name the protocol")
    return None


def _names(wire: WireProtocol, pieces: list[bytes], skipped: int) -> ByteNames:
    data = b"".join(pieces)
    return ByteNames(data, wire.anatomy(data) if wire.anatomy else (), skipped)


def _with_profile(wire: WireProtocol, name: str | None) -> WireProtocol:
    """A protocol whose registers a profile explains."""
    if name is None:
        return wire
    if wire.name not in LINES or not line(wire.name).takes_profile:
        raise UnknownProtocolError(f"--profile: {wire.name} has none")
    found = profile(name, Origin(Path.cwd(), text=True)).registers
    return replace(wire, new_session=partial(wire.new_session, profile=found))


def _login(wire: WireProtocol, given: Input, terminal: str | None, *, udp: bool) -> bytes:
    """The login to put before the bytes, which lack theirs; empty: they do not.

    Raises
    ------
    _TerminalError
        If a terminal is named that cannot be, or that each datagram names already.
    """
    if terminal is not None and not identity_of(terminal):
        raise _TerminalError(f"--terminal {terminal!r}: an identity has 1 to 64 printable characters")
    if udp:
        if terminal is not None:
            raise _TerminalError("--terminal: over UDP every datagram names its terminal")
        return b""
    login = wire.missing_login(b"".join(given.pieces))
    if login and terminal is None:
        given.notes.append("no login at the start: one is assumed; --terminal ID says whose bytes these are")
    elif terminal is not None and not login:
        given.notes.append("--terminal is not used: the bytes do not begin with a frame behind a login")
    return login


def _instant(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO date and time such as 2026-11-21T10:00:00Z") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _connection(
    wire: WireProtocol, pieces: list[bytes], now: float, limit: int | None, login: bytes
) -> Iterator[tuple[Session, list[Event]]]:
    """The events of one connection, piece by piece, until the session closes or the input ends.

    What an assumed login brings about is not shown.
    """
    session = wire.new_session(transport="tcp", max_frame=limit)
    _settle(session, list(session.receive_data(login, now)), now)
    for piece in pieces:
        events = _settle(session, list(session.receive_data(piece, now)), now)
        yield session, events
        if any(isinstance(event, Close) for event in events):
            return
    yield session, _settle(session, list(session.end_of_stream()), now)


def _show_datagrams(
    printer: Printer, wire: WireProtocol, pieces: list[bytes], now: float, limit: int | None, *, tree: bool
) -> None:
    """The events of each datagram; offsets count on from one to the next."""
    base = 0
    for piece in pieces:
        session = wire.new_session(transport="udp", max_frame=limit)
        events = _settle(session, list(session.receive_data(piece, now)), now)
        events += _settle(session, list(session.end_of_stream()), now)
        names = ByteNames(piece, wire.anatomy(piece, udp=True)) if tree and wire.anatomy else ByteNames()
        _show(printer, wire, session, base, events, names)
        names.rest(printer, base)
        base += len(piece)


def _settle(session: Session, events: list[Event], now: float) -> list[Event]:
    """Accept the logins among `events`; what waited behind them follows."""
    settled: list[Event] = []
    while events:
        settled += events
        login = any(isinstance(event, Login) for event in events)
        events = list(session.accept(now)) if login else []
    return settled


def _show(
    printer: Printer, wire: WireProtocol, session: Session, base: int, events: list[Event], names: ByteNames
) -> None:
    frames = [event for event in events if isinstance(event, Frame)]
    decoded = iter(printer.read(wire, frames))
    for event in events:
        names.before(event, printer, base)
        if isinstance(event, Frame):
            shown = next(decoded)
            printer.frame(event, shown, base)
            printer.reply(session.acknowledge(event, shown.quarantined), "after commit")
        else:
            printer.event(event, base)
            if isinstance(event, Message):
                printer.reply(session.acknowledge(event), "after commit")
