"""Which protocols there are. A new one costs one line in `PROTOCOLS`, one of a serial line one in `LINES`.

Whatever names protocols asks here: listeners and their ports, the dictionary of measures, metrics, commands and their
help, the simulator, the demo, the bench, and the tests that hold for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from protocols.commands import MAX_COMMAND, text_problem
from protocols.errors import UnknownProtocolError
from protocols.records import Decoded, Frame, Named, Session

if TYPE_CHECKING:
    from protocols.anatomy import Unit
    from protocols.lines import LineProtocol
    from protocols.terminals import Terminal


@dataclass(frozen=True, slots=True)
class WireProtocol:
    """Everything the gateway knows of a protocol.

    Attributes
    ----------
    name : as in `dozor decode` and the configuration.
    new_session : ``new_session(transport="tcp" | "udp", max_frame=bytes or None) -> Session``. A UDP session
        is made anew for each datagram. Of a line, "line" takes finished rounds, "tcp" the bytes on the wire.
    decode : frames -> columns; never raises on any bytes.
    tree : one frame's bytes (`Frame.data`) -> nested containers from the declaration, for people.
    measures : what only this protocol tells: name -> (unit, meaning).
    shared_measures : names out of `protocols.measures.SHARED` that it tells besides.
    max_frame : bytes of the largest frame that is read; `new_session` may be given less.
    transports : where the protocol is spoken.
    time_digits : of a second's fraction, that its records always tell; the store keeps microseconds.
    parts : ``parts(frame, most) -> frames`` of at most `most` records each, only to be decoded, which together hold
        the same records in the same order; None: its frames are never so many that it matters.
    called_by_imei : a terminal's identity is its IMEI, and nothing else.
    member : one member's bytes as quarantine keeps them (`Quarantined.data`) -> nested containers, for people; None
        where they are a whole frame. Never raises.
    named : (model, measure) -> what a measure without one meaning is called on that model, if anybody says.
    missing_login : the first bytes of a connection -> a login that would let them be read, where they begin with a
        frame that stands behind one; else empty.
    packet_text, answer_text : where a terminal's packet, a server's answer begins in a line of a log; None: no text.
    anatomy : ``anatomy(data, udp=False) -> units``: every byte of a connection, or of a datagram, by name
        (`protocols.anatomy`). Never raises.
    begins : ``begins(data, transport) -> bool | None``: whether a connection, or a datagram, of this protocol begins
        so; None: more bytes would tell. In place of the function: it cannot be told by its first bytes.
    on_wire : a frame as the terminal sent it, where `Frame.data` is not that.
    command_problem : a command's text -> why it is none, empty if it is one; None: the protocol has no commands.
    archive_command : ``archive_command(since, until) -> text``, unix seconds: the command that makes a terminal send
        its archive of that span again, whatever was acknowledged; None: as far as it is public, there is none.
    closes_on_damage : acks are cumulative or bare counts, so that one behind a damaged frame would release it.
    keyed : `new_session` takes besides `secret`, bytes that only this instance knows, and what the configuration's
        table of the protocol's name holds.
    """

    name: str
    new_session: Callable[..., Session]
    decode: Callable[[Sequence[Frame]], Decoded]
    tree: Callable[[Frame], Any]
    measures: Mapping[str, tuple[str, str]]
    max_frame: int
    member: Callable[[bytes, int], Any]
    missing_login: Callable[[bytes], bytes]
    shared_measures: tuple[str, ...] = ()
    named: Callable[[str, str], Named | None] = lambda _model, _measure: None
    transports: tuple[str, ...] = ("tcp",)
    packet_text: re.Pattern[str] | None = None
    answer_text: re.Pattern[str] | None = None
    anatomy: Callable[..., Iterator[Unit]] | None = None
    begins: Callable[[bytes, str], bool | None] | None = None
    on_wire: Callable[[Frame], bytes] = lambda frame: frame.data
    command_problem: Callable[[str], str] | None = None
    archive_command: Callable[[float, float], str] | None = None
    closes_on_damage: bool = False
    keyed: bool = False
    time_digits: int = 0
    parts: Callable[[Frame, int], list[Frame]] | None = None
    called_by_imei: bool = False


class Registered(NamedTuple):
    """What is known of a protocol before its module is imported.

    Attributes
    ----------
    module : holds `PROTOCOL: WireProtocol`; its module `terminal` holds `TERMINALS`, the terminal's side.
    port : the customary port.
    served : listened for, and simulated in a mixed fleet, where nothing else is asked for.
    """

    module: str
    port: int
    served: bool = False


PROTOCOLS = {
    "teltonika": Registered("protocols.teltonika", 5027, served=True),
    "omnicomm": Registered("protocols.omnicomm", 9977, served=True),
    "wialon-ips": Registered("protocols.wialon_ips", 20332, served=True),
    "egts": Registered("protocols.egts", 20629),
    "wialon-retranslator": Registered("protocols.wialon_retranslator", 20163),
    "wialon-combine": Registered("protocols.wialon_combine", 20333),
    "galileosky": Registered("protocols.galileosky", 5034),
    "jt808": Registered("protocols.jt808", 5015),
    "flex": Registered("protocols.flex", 5019),
    "arnavi": Registered("protocols.arnavi", 5100),
    "ruptela": Registered("protocols.ruptela", 5046),
    "gt06": Registered("protocols.gt06", 5023),
    "h02": Registered("protocols.h02", 5013),
    "tk103": Registered("protocols.tk103", 5002),
    "osmand": Registered("protocols.osmand", 5055),
}

# What is spoken on serial lines, where the gateway asks: nobody listens for these.
LINES = {
    "lls": "protocols.lls",
    "modbus-fuel": "protocols.modbus_fuel",
}

UNKNOWN = "unknown"

# What payloads of a broker hold besides frames of the protocols above: known to the pipeline, spoken over no socket.
CARRIED = {
    "json": Registered("protocols.json_records", 0),
    UNKNOWN: Registered("protocols.unknown", 0),  # kept raw
}

# All that records, quarantine and metrics may be of. A protocol's number is its place here while the service runs;
# store and spool keep its name, so that lines may be added anywhere.
RECEIVED = (*PROTOCOLS, *LINES, *CARRIED)


def every() -> tuple[str, ...]:
    """Whose records there may be: what is listened for, then what is spoken on lines."""
    return (*PROTOCOLS, *LINES)


def served() -> dict[str, int]:
    """Protocol -> port of those that are listened for where nothing else is asked for."""
    return {name: entry.port for name, entry in PROTOCOLS.items() if entry.served}


@cache
def protocol(name: str) -> WireProtocol:
    """Look a protocol up by name.

    Raises
    ------
    UnknownProtocolError
        If there is none of that name; the message lists those there are.
    """
    found: WireProtocol = import_module(LINES[name] if name in LINES else _entry(name).module).PROTOCOL
    return found


@cache
def line(name: str) -> LineProtocol:
    """How sensors on a serial line are asked, by the name of their protocol.

    Raises
    ------
    UnknownProtocolError
        If that is no protocol of a line.
    """
    if name not in LINES:
        raise UnknownProtocolError(f"unknown protocol of a line {name!r}: known are {', '.join(LINES)}")
    found: LineProtocol = import_module(LINES[name]).LINE
    return found


@cache
def terminals(name: str) -> Mapping[str, type[Terminal]]:
    """The terminal's side of a protocol by transport; "tcp" is always there.

    Raises
    ------
    UnknownProtocolError
        As `protocol`.
    """
    found: Mapping[str, type[Terminal]] = import_module(f"{_entry(name).module}.terminal").TERMINALS
    return found


def no_commands(name: str | None) -> str:
    """Why a terminal that speaks `name` cannot be sent commands; empty: it can, or nobody knows what it speaks."""
    if name not in RECEIVED or protocol(name).command_problem is not None:
        return ""
    return f"{name} has no commands: as far as the protocol is public, a server cannot send one"


def command_problem(name: str | None, text: str) -> str:
    """Why `text` is no command of a terminal that speaks `name`, empty if it is one; unknown: what holds for all."""
    problem = protocol(name).command_problem if name in PROTOCOLS else None
    return problem(text) if problem is not None else text_problem(text, MAX_COMMAND)


def archive_command(name: str | None, since: float, until: float) -> str:
    """What makes a terminal that speaks `name` send its archive of a span again; empty: there is no such command."""
    if name not in RECEIVED:
        return ""
    asked = protocol(name).archive_command
    return "" if asked is None else asked(since, until)


def _entry(name: str) -> Registered:
    found = PROTOCOLS.get(name) or CARRIED.get(name)
    if found is None:
        raise UnknownProtocolError(f"unknown protocol {name!r}: known are {', '.join(every())}")
    return found
