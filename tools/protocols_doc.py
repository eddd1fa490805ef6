"""Write the table of protocols/README.md, and the first part of docs/protocols.md: `python -m tools.protocols_doc`.

The column "checked against" comes from the sources of the test vectors, what a protocol begins with from its `begins`.
What other readers make of the same bytes is written by hand, behind `HAND`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from protocols.registry import LINES, PROTOCOLS, protocol
from tests.protocols.vectors import Vector

PAGE = Path(__file__).parent.parent / "protocols" / "README.md"
BEGINNINGS = Path(__file__).parent.parent / "docs" / "protocols.md"
_TABLE = re.compile(r"\| protocol \|.*?\n(?=\n)", re.DOTALL)
_LINES = re.compile(r"\| on a serial line \|.*?\n(?=\n)", re.DOTALL)


def page() -> str:
    """The whole page, its table made anew."""
    text = _TABLE.sub(lambda _: _table(), PAGE.read_text(encoding="utf-8"), count=1)
    return _LINES.sub(lambda _: _line_table(), text, count=1)


_BEGINNINGS = """\
# Protocols by their first bytes

[A listener](configuration.md#listen-once-for-each-listener) with `protocol = "auto"` and `dozor decode auto` tell a
protocol by the first bytes of a connection, or of a datagram. What is undecided waits for more bytes, on a socket
until `login.timeout`; what begins like no protocol, or still like several, is never guessed: it is `malformed`
(`structure`, of the protocol `unknown`) and the connection closes. What was decided holds for the whole connection.
What is known of each protocol besides stands in [protocols](../protocols/README.md).

| protocol | begins with |
|---|---|
{told}

Not told apart, and to be named: {others}.

This part of the page is generated: `python -m tools.protocols_doc`.
"""
HAND = "\n## What other readers make of the same bytes\n"


def beginnings() -> str:
    """The page of what is told apart, and what stands behind that."""
    begins = {name: protocol(name).begins for name in PROTOCOLS}
    told = [
        f"| `{name}` | {' '.join((known.__doc__ or '').split())} |"
        for name, known in begins.items()
        if known is not None
    ]
    others = ", ".join(f"`{name}`" for name, known in begins.items() if known is None)
    _, hand, rest = BEGINNINGS.read_text(encoding="utf-8").partition(HAND)
    return _BEGINNINGS.format(told="\n".join(told), others=others or "none") + hand + rest


def vectors(name: str) -> Sequence[Vector]:
    """The worked packets of a protocol."""
    found: Sequence[Vector] = import_module(f"tests.protocols.{name.replace('-', '_')}_vectors").VECTORS
    return found


def _table() -> str:
    lines = ["| protocol | spoken over | port | largest frame | checked against |", "|---|---|---|---|---|"]
    for name, entry in PROTOCOLS.items():
        wire = protocol(name)
        size = f"{wire.max_frame:,}".replace(",", " ")
        over = ", ".join(transport.upper() for transport in wire.transports)
        lines.append(f"| `{name}` | {over} | {entry.port} | {size} bytes | {_checked(vectors(name))} |")
    return "\n".join(lines) + "\n"


def _line_table() -> str:
    lines = ["| on a serial line | checked against |", "|---|---|"]
    lines += [f"| `{name}` | {_checked(vectors(name))} |" for name in LINES]
    return "\n".join(lines) + "\n"


def _checked(packets: Sequence[Vector]) -> str:
    """The documents without their chapters, and the implementations that confirmed the packets."""
    parts: dict[str, list[str]] = {}
    for packet in packets:
        document, _, chapter = packet.source.rpartition(", ")
        parts.setdefault(document, []).append(chapter)
    told = [f"{document} ({', '.join(dict.fromkeys(chapters))})" for document, chapters in parts.items()]
    readers = dict.fromkeys(packet.checked_with for packet in packets if packet.checked_with)
    checked = sum(bool(packet.checked_with) for packet in packets)
    read = f"; {checked} packets checked with {', '.join(readers)}" if readers else ""
    return "; ".join(told) + read


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    BEGINNINGS.write_text(beginnings(), encoding="utf-8")
