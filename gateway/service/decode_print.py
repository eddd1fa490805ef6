"""How `dozor decode` shows events: as JSON, one object a line, or as text for people."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from gateway.record_objects import plain, record_objects
from protocols.measures import describe
from protocols.records import (
    Close,
    Event,
    Frame,
    Identified,
    Login,
    Malformed,
    Message,
    Quarantined,
    Reply,
)
from protocols.registry import WireProtocol

_HIDDEN = "…"
_NO_UNITS = ("", "raw", "code", "number", "bits", "0/1", "text", "hex")
_LONGEST = 200  # characters of one value in the text form


@dataclass(slots=True)
class FrameReading:
    """One frame as shown: its records and refused members in wire order, and its tree."""

    members: list[dict[str, Any] | Quarantined] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    tree: Any = None


class Printer(ABC):
    """Where events go; one method a kind of line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def read(self, wire: WireProtocol, frames: Sequence[Frame]) -> list[FrameReading]:
        """Decode frames and lay records and refused members in the wire's order."""
        readings = [FrameReading() for _ in frames]
        if not frames:
            return readings
        decoded = wire.decode(frames)
        records: list[list[tuple[int, dict[str, Any]]]] = [[] for _ in frames]
        for frame, position, record in record_objects(decoded.batch):
            named = frames[frame].terminal
            told_by = {"event": record["event"], "terminal": named, **record} if named else record
            records[frame].append((position, told_by))
        for quarantined in decoded.quarantined:
            readings[quarantined.frame].quarantined.append(quarantined)
        for reading, told in zip(readings, records, strict=True):
            reading.members = list(_in_order(told, reading.quarantined))
        return readings

    @abstractmethod
    def protocol(self, name: str | None) -> None:
        """Which protocol the bytes turned out to be; None: nobody can tell."""

    @abstractmethod
    def field(self, offset: int, data: bytes, name: str, value: Any) -> None:
        """Bytes of a frame, what they are called and what they say."""

    @abstractmethod
    def event(self, event: Event, base: int) -> None:
        """Anything but a frame; `base` is added to its offset."""

    @abstractmethod
    def frame(self, frame: Frame, reading: FrameReading, base: int) -> None:
        """A frame's records and refused members."""

    @abstractmethod
    def reply(self, data: bytes, when: str) -> None:
        """An answer; nothing if there is none."""


def _in_order(
    records: Sequence[tuple[int, dict[str, Any]]], quarantined: Sequence[Quarantined]
) -> Iterator[dict[str, Any] | Quarantined]:
    """A refused member left a gap in the positions: it stands there; further ones come last."""
    waiting = iter(quarantined)
    expected = 0
    for position, record in records:
        for _ in range(expected, position):
            yield from (member for member in [next(waiting, None)] if member is not None)
        yield record
        expected = position + 1
    yield from waiting


class JsonPrinter(Printer):
    """The contract's events. What it does not name (a closing, a version learnt later) is not shown."""

    def protocol(self, name: str | None) -> None:
        """Null where nobody can tell."""
        self._line({"event": "protocol", "protocol": name})

    def field(self, offset: int, data: bytes, name: str, value: Any) -> None:
        """One object a field."""
        told = {"offset": offset, "hex": data.hex(), "field": name, "value": _plainly(value)}
        self._line({"event": "bytes", **told})

    def event(self, event: Event, base: int) -> None:
        """Login, message, reply or damage."""
        if isinstance(event, Login):
            self._line({"event": "login", "terminal": event.terminal, "firmware": event.firmware})
        elif isinstance(event, Message):
            self._line({"event": "message", "text": event.text, "hex": event.data.hex()})
        elif isinstance(event, Reply):
            self.reply(event.data, "now")
        elif isinstance(event, Malformed):
            self._line({"event": "malformed", "reason": event.reason, "offset": base + event.offset})

    def frame(self, frame: Frame, reading: FrameReading, base: int) -> None:
        """One object a record or refused member."""
        for member in reading.members:
            if isinstance(member, Quarantined):
                self._line({"event": "quarantined", "reason": member.reason, "offset": base + frame.offset})
            else:
                self._line(member)

    def reply(self, data: bytes, when: str) -> None:
        """`when` is now or after commit."""
        if data:
            self._line({"event": "reply", "hex": data.hex(), "when": when})

    def _line(self, told: dict[str, Any]) -> None:
        print(json.dumps(told, separators=(",", ":"), allow_nan=False), file=self._out)


class TextPrinter(Printer):
    """For people: events with units, the frame's tree, the answers. Nothing from the wire is printed unescaped."""

    def __init__(self, out: TextIO, *, trees: bool = True) -> None:
        super().__init__(out)
        self._trees = trees

    def read(self, wire: WireProtocol, frames: Sequence[Frame]) -> list[FrameReading]:
        """As the base, and with `trees` the tree of each frame."""
        readings = super().read(wire, frames)
        if not self._trees:
            return readings
        for frame, reading in zip(frames, readings, strict=True):
            reading.tree = wire.tree(frame)
        return readings

    def protocol(self, name: str | None) -> None:
        """Its name."""
        self._line(0, f"protocol   {name or 'cannot be told'}")

    def field(self, offset: int, data: bytes, name: str, value: Any) -> None:
        """One line a field: offset, hex, name, value."""
        told = "" if value is None else f"  {_leaf(_plainly(value))}"
        self._line(1, f"{offset:>6}  {_short(data.hex()):<16}  {safe(name)}{told}")

    def event(self, event: Event, base: int) -> None:
        """One line, or a few."""
        if isinstance(event, Login):
            firmware = f", firmware {safe(event.firmware)}" if event.firmware else ""
            model = f", model {safe(event.model)}" if event.model else ""
            self._line(0, f"login      {safe(event.terminal)}{firmware}{model}")
        elif isinstance(event, Message):
            self._line(0, f"message    {safe(event.kind)} at {base + event.offset}: {event.data.hex()}")
            if event.text is not None:
                self._line(1, safe(event.text))
        elif isinstance(event, Reply):
            self.reply(event.data, "now")
        elif isinstance(event, Malformed):
            detail = f" ({safe(event.detail)})" if event.detail else ""
            self._line(0, f"malformed  {event.reason} at {base + event.offset}{detail}")
        elif isinstance(event, Identified):
            told = ", ".join(f"{what} {safe(value)}" for what, value in event.facts.items())
            self._line(0, f"identified {told}")
        elif isinstance(event, Close):
            self._line(0, f"close      {safe(event.reason)}")

    def frame(self, frame: Frame, reading: FrameReading, base: int) -> None:
        """Records first, then the tree they were read from."""
        self._line(0, f"frame      {len(frame.data)} bytes at {base + frame.offset}")
        for member in reading.members:
            if isinstance(member, Quarantined):
                kept = "" if member.data is None else f": {_short(member.data.hex())}"
                self._line(1, f"quarantined {member.reason}{kept}")
            else:
                self._record(member)
        if reading.tree is not None:
            self._line(1, "tree")
            self._tree(reading.tree, 2)

    def reply(self, data: bytes, when: str) -> None:
        """Hex, and as text where it is one."""
        if data:
            text = data.decode("ascii", "replace").rstrip("\r\n")
            shown = f"  {safe(text)}" if text.isascii() and text.isprintable() else ""
            self._line(0, f"reply      {data.hex()}  {when}{shown}")

    def tree(self, node: Any) -> None:
        """Nested containers, without a frame."""
        self._tree(node, 0)

    def _record(self, record: Mapping[str, Any]) -> None:
        place = "no position" if record["lat"] is None else f"{record['lat']:.7f} {record['lon']:.7f}"
        moving = [
            f"{record[name]} {unit}"
            for name, unit in (("altitude", "m"), ("speed", "km/h"), ("course", "°"), ("satellites", "satellites"))
            if record[name] is not None
        ]
        archive = ["archive"] if record["archive"] else []
        whose = [f"of {safe(record['terminal'])}"] if "terminal" in record else []
        self._line(1, ", ".join([f"record {record['time'] or 'without a time'}", *whose, place, *moving, *archive]))
        for name, value in record["measures"].items():
            known = describe(name)
            unit = f" {known.unit}" if known and known.unit not in _NO_UNITS and not isinstance(value, str) else ""
            self._line(2, f"{safe(name)} = {_short(safe(value) if isinstance(value, str) else str(value))}{unit}")

    def _tree(self, node: Any, depth: int) -> None:
        if isinstance(node, Mapping):
            items = [(str(name), value) for name, value in node.items() if not str(name).startswith("_")]
        elif isinstance(node, list | tuple):
            items = [(str(number), value) for number, value in enumerate(node)]
        else:
            self._line(depth, _leaf(node))
            return
        for name, value in items:
            if isinstance(value, Mapping | list | tuple):
                if value:
                    self._line(depth, safe(name))
                    self._tree(value, depth + 1)
            elif value is not None:
                self._line(depth, f"{safe(name)}: {_leaf(value)}")

    def _line(self, depth: int, text: str) -> None:
        print("  " * depth + text, file=self._out)


def _plainly(value: Any) -> Any:
    return [plain(each) for each in value] if isinstance(value, list) else plain(value)


def _leaf(value: Any) -> str:
    return _short(bytes(value).hex() if isinstance(value, bytes | bytearray) else safe(str(value)))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + _HIDDEN


def safe(text: str) -> str:
    """Control characters (a terminal would obey them) as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
