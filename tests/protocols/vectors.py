"""Worked packets with their sources; `protocols/README.md` lists the sources, see `tools.protocols_doc`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vector:
    """Bytes on the wire. `source` is the document they follow, `checked_with` an implementation of
    others that confirmed them."""

    name: str
    source: str
    wire: bytes
    checked_with: str = ""
